//! `GET /v1/ready` (alias `/ready`): whether keys can be served now.

use axum::response::Response;

use super::{Call, done};
use crate::error::ApiError;

/// Asks the store; 200 when it could serve a key, so that a probe tells the truth. A client that needed its policy to
/// ask is told what is wrong with the store.
///
/// # Errors
/// [`ApiError::NotReady`]: 504 when nobody answers at the store's address, 502 otherwise.
pub async fn ready(call: Call) -> Result<Response, ApiError> {
    let tell = call.trusted;
    call.state.keys.ping().await.map_err(|cause| ApiError::NotReady { cause, tell })?;
    Ok(done())
}
