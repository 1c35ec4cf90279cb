//! `/v1/identity/...`: what the config says of identities.

pub mod describe;
pub mod list;
pub mod self_describe;
