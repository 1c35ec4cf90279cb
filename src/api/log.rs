//! `/v1/log/...`: event streams, one JSON object per line, until the client disconnects, a reload takes its rights, or the
//! server stops.

pub mod audit;
pub mod error;

use std::sync::Weak;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio_stream::wrappers::BroadcastStream;
use tracing::info;

use crate::api::Call;
use crate::api::error::ApiError;
use crate::identity::Identity;
use crate::state::State;
use crate::telemetry::stream::Broadcast;

/// An endless response with the lines that are sent to `events` from now on. A slow subscriber misses lines and never
/// blocks others.
fn stream(call: &Call, path: &'static str, events: &Broadcast) -> Result<Response, ApiError> {
    let state = &call.state;
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
    let stopping = state.running.stopping.clone();
    let removed = until_refused(state.running.in_use.subscribe(), call.identity.clone(), path);
    let lines = lines.take_until(async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = removed => {}
        }
    });
    let json_lines = HeaderValue::from_static("application/x-ndjson");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, json_lines)], Body::from_stream(lines)).into_response())
}

/// Waits until the state in use no longer allows the identity this path.
async fn until_refused(mut states: watch::Receiver<Weak<State>>, identity: Option<Identity>, path: &'static str) {
    loop {
        let state = states.borrow_and_update().upgrade();
        let is_refused =
            |state: &State| identity.as_ref().is_none_or(|identity| state.policies.check(identity, path).is_err());
        if state.is_some_and(|state| is_refused(&state)) {
            let identity = identity.as_ref().map_or("", Identity::as_str);
            info!(path, identity, "ended a log stream: the policies no longer allow it");
            return;
        }
        if states.changed().await.is_err() {
            return; // the process ends
        }
    }
}
