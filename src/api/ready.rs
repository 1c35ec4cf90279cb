//! `GET /v1/ready` (alias `/ready`): whether keys can be served.

use axum::response::Response;
use serde_json::json;

use super::{Call, done, reply};
use crate::api::error::ApiError;
use crate::state::State;

/// Pings the keystore: 200 if it could serve a key. A client that was authorized by its policy also gets the reason of
/// a failure, and with 200 the rights that are missing to create or delete keys, as `{"message": "..."}`.
///
/// # Errors
/// [`ApiError::Stopping`]: 503 while the server stops. [`ApiError::NotReady`]: 504 if the keystore is unreachable, 503 if it
/// could not be opened since the server started, 502 otherwise.
pub async fn ready(call: Call) -> Result<Response, ApiError> {
    is_ready(&call.state, call.trusted).await
}

/// The response, also for the probe listener; `with_reason` adds the reason of a failure.
///
/// # Errors
/// As [`ready`].
pub async fn is_ready(state: &State, with_reason: bool) -> Result<Response, ApiError> {
    if state.running.stopping.is_cancelled() {
        return Err(ApiError::Stopping);
    }
    state.keys.ping().await.map_err(|cause| ApiError::NotReady {
        cause,
        with_reason,
        is_starting: state.keys.is_pending(),
    })?;
    match state.keys.missing_rights() {
        Some(missing) if with_reason => reply(&json!({"message": missing})),
        _ => Ok(done()),
    }
}
