//! `GET /v1/identity/list/PREFIX`: the identities that the config names.

use axum::response::Response;
use serde::Serialize;

use crate::api::pattern::Pattern;
use crate::api::{Call, reply};
use crate::error::ApiError;
use crate::identity::Identity;

#[derive(Serialize)]
struct Identities<'a> {
    identities: Vec<&'a Identity>,
    /// Always empty: all identities of a config fit on one page.
    continue_at: &'static str,
}

/// Answers with identities in byte order, the admin among them.
///
/// # Errors
/// [`ApiError::InvalidPattern`].
pub async fn list(call: Call) -> Result<Response, ApiError> {
    let pattern = Pattern::parse(&call.argument)?;
    let mut identities = call.state.policies.identities();
    identities.retain(|identity| identity.as_str().starts_with(&pattern.prefix));
    reply(&Identities { identities, continue_at: "" })
}
