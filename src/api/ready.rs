//! `GET /v1/ready` (alias `/ready`): whether keys can be served now.

use axum::response::Response;

use super::{Call, done};
use crate::api::error::ApiError;
use crate::state::State;

/// Asks the store; 200 when it could serve a key, so that a probe tells the truth. A client that needed its policy to
/// ask is told what is wrong with the store.
///
/// # Errors
/// [`ApiError::Stopping`]: 503 once the server has been told to stop. [`ApiError::NotReady`]: 504 when nobody answers at the store's address, 502 otherwise.
pub async fn ready(call: Call) -> Result<Response, ApiError> {
    is_ready(&call.state, call.trusted).await
}

/// The answer, for the probe listener too; with `tell` it says what is wrong with the store.
///
/// # Errors
/// As [`ready`].
pub async fn is_ready(state: &State, tell: bool) -> Result<Response, ApiError> {
    if state.running.stopping.is_cancelled() {
        return Err(ApiError::Stopping);
    }
    state.keys.ping().await.map_err(|cause| ApiError::NotReady { cause, tell })?;
    Ok(done())
}
