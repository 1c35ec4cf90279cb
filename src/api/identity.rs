//! `/v1/identity/...`: the identities in the config.

pub mod describe;
pub mod list;
pub mod self_describe;
