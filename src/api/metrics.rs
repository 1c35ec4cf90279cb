//! `GET /v1/metrics`: the metrics for Prometheus.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Call;
use crate::api::error::ApiError;
use crate::state::Running;

/// Returns the text format 0.0.4.
///
/// # Errors
/// [`ApiError::Internal`] if the metrics cannot be encoded.
pub fn metrics(call: &Call) -> Result<Response, ApiError> {
    text(&call.state.running)
}

/// The metrics as a response, also for the probe listener.
///
/// # Errors
/// [`ApiError::Internal`] if the metrics cannot be encoded.
pub fn text(running: &Running) -> Result<Response, ApiError> {
    let text = running
        .metrics
        .text(running.started.elapsed(), running.worker_threads)
        .map_err(|_| ApiError::Internal("cannot encode the metrics"))?;
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, content_type)], text).into_response())
}
