//! `/v1/key/...`: creating, using and deleting keys.

pub mod create;
pub mod decrypt;
pub mod delete;
pub mod describe;
pub mod encrypt;
pub mod generate;
pub mod hmac;
pub mod import;
pub mod list;
