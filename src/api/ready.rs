//! `GET /v1/ready` (alias `/ready`): whether keys can be served now.

use axum::response::Response;
use backends::StoreError;

use super::{Call, done};
use crate::error::ApiError;

/// Asks the store; 200 when it could serve a key, so that a probe tells the truth.
///
/// # Errors
/// [`ApiError::NotReachable`] (504) or [`ApiError::NotAvailable`] (502).
pub async fn ready(call: Call) -> Result<Response, ApiError> {
    match call.state.keys.ping().await {
        Ok(_) => Ok(done()),
        Err(error) if matches!(*error, StoreError::Unreachable { .. }) => Err(ApiError::NotReachable(error)),
        Err(error) => Err(ApiError::NotAvailable(error)),
    }
}
