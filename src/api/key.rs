//! `/v1/key/...`: making, using and removing keys.

pub mod create;
pub mod decrypt;
pub mod delete;
pub mod describe;
pub mod encrypt;
pub mod generate;
pub mod hmac;
pub mod import;
pub mod list;
