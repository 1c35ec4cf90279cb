//! `GET /v1/identity/list/PREFIX`: the identities in the config.

use axum::response::Response;
use serde::Serialize;

use crate::api::error::ApiError;
use crate::api::listing::Listing;
use crate::api::{Call, reply};
use crate::identity::Identity;

#[derive(Serialize)]
struct Identities<'a> {
    identities: Vec<&'a Identity>,
    /// Always empty: all identities fit on one page.
    continue_at: &'static str,
}

/// Returns identities in byte order, including the admin.
///
/// # Errors
/// [`ApiError::InvalidPattern`].
pub fn list(call: &Call) -> Result<Response, ApiError> {
    let listing = Listing::parse(&call.argument)?;
    let mut identities = call.state.policies.identities();
    identities.retain(|identity| identity.as_str().starts_with(&listing.prefix));
    reply(&Identities { identities, continue_at: "" })
}
