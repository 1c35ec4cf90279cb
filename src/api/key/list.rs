//! `GET /v1/key/list/PREFIX`: the names of keys, in pages.

use axum::response::Response;
use backends::Operation;
use serde::Serialize;

use crate::api::error::ApiError;
use crate::api::listing::Listing;
use crate::api::{Call, reply};
use crate::state::limits::MAX_LISTING;

#[derive(Serialize)]
struct Names<'a> {
    names: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continue_at: Option<String>,
}

/// Returns names in byte order. MinIO reads only the first page, so pages are as large as possible.
///
/// # Errors
/// [`ApiError::InvalidPattern`].
pub async fn list(call: Call) -> Result<Response, ApiError> {
    /// Bytes for everything except the names: the braces, the field names and the longest token.
    const ENVELOPE: usize = 256;
    let listing = Listing::parse(&call.argument)?;
    let page = call
        .state
        .keys
        .list(&listing.prefix, listing.after.as_ref(), MAX_LISTING - ENVELOPE)
        .await
        .map_err(|error| ApiError::from_keys(Operation::List, error))?;
    let last = if page.more { page.names.last() } else { None };
    reply(&Names {
        continue_at: last.map(|last| listing.token(last)),
        names: page.names.iter().map(backends::Name::as_str).collect(),
    })
}
