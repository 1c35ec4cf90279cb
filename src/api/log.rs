//! `/v1/log/...`: event streams, one JSON object per line, until the client disconnects or the server stops.

pub mod audit;
pub mod error;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;

use crate::api::error::ApiError;
use crate::state::State;
use crate::telemetry::stream::Broadcast;

/// An endless response with the lines that are sent to `events` from now on. A slow subscriber misses lines and never
/// blocks others.
fn stream(state: &State, events: &Broadcast) -> Result<Response, ApiError> {
    let limit = state.config.limits.subscribers;
    let receiver = events.subscribe(limit).ok_or(ApiError::TooManySubscribers(limit))?;
    let counter = events.missed_counter();
    let lines = BroadcastStream::new(receiver).filter_map(move |line| {
        let line = match line {
            Ok(line) => Some(Ok::<Bytes, std::convert::Infallible>(line)),
            Err(tokio_stream::wrappers::errors::BroadcastStreamRecvError::Lagged(missed)) => {
                counter.inc_by(missed);
                None
            }
        };
        std::future::ready(line)
    });
    let lines = lines.take_until(state.running.stopping.clone().cancelled_owned());
    let json_lines = HeaderValue::from_static("application/x-ndjson");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, json_lines)], Body::from_stream(lines)).into_response())
}
