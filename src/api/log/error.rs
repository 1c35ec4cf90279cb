//! `GET /v1/log/error`: the server's warnings and errors.

use axum::response::Response;

use crate::api::Call;
use crate::api::error::ApiError;

/// Streams log lines of level WARN and above as `{"message": "..."}`.
///
/// # Errors
/// [`ApiError::TooManySubscribers`].
pub fn error(call: &Call) -> Result<Response, ApiError> {
    super::stream(call, "/v1/log/error", &call.state.running.errors)
}
