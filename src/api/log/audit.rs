//! `GET /v1/log/audit`: one event for each request, successful or not.

use axum::response::Response;

use crate::api::Call;
use crate::api::error::ApiError;

/// Streams audit events; their shape is [`crate::telemetry::audit::Event`].
///
/// # Errors
/// [`ApiError::TooManySubscribers`].
pub fn audit(call: &Call) -> Result<Response, ApiError> {
    super::stream(call, "/v1/log/audit", &call.state.running.audit)
}
