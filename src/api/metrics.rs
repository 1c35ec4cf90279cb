//! `GET /v1/metrics`: what Prometheus scrapes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Call;
use crate::api::error::ApiError;
use crate::state::Running;

/// Answers in the text format 0.0.4.
///
/// # Errors
/// [`ApiError::Internal`] when the metrics have no text form.
pub async fn metrics(call: Call) -> Result<Response, ApiError> {
    text(&call.state.running)
}

/// The metrics as a response, for the probe listener too.
///
/// # Errors
/// [`ApiError::Internal`] when the metrics have no text form.
pub fn text(running: &Running) -> Result<Response, ApiError> {
    let text = running
        .metrics
        .text(running.started.elapsed(), running.worker_threads)
        .map_err(|_| ApiError::Internal("metrics have no text form"))?;
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, content_type)], text).into_response())
}
