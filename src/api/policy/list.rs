//! `GET /v1/policy/list/PREFIX`: the names of policies.

use axum::response::Response;
use serde::Serialize;

use crate::api::error::ApiError;
use crate::api::listing::Listing;
use crate::api::{Call, reply};

#[derive(Serialize)]
struct Names<'a> {
    names: Vec<&'a str>,
    /// Always empty: all policies fit on one page.
    continue_at: &'static str,
}

/// Returns names in byte order.
///
/// # Errors
/// [`ApiError::InvalidPattern`].
pub fn list(call: &Call) -> Result<Response, ApiError> {
    let listing = Listing::parse(&call.argument)?;
    let names =
        call.state.policies.names().map(|name| &**name).filter(|name| name.starts_with(&listing.prefix)).collect();
    reply(&Names { names, continue_at: "" })
}
