//! The deadline and the body of a request.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::record::Record;
use crate::api::error::ApiError;
use crate::state::limits::SMALL_BODY;

/// Bytes of an unread body that are read and discarded, so that the client gets the response and not a reset.
const MAX_DRAIN: usize = 4 << 20;

/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// The deadline of a request.
pub(super) struct Deadline {
    at: Option<tokio::time::Instant>,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self { at: (!timeout.is_zero()).then(|| tokio::time::Instant::now() + timeout), timeout }
    }

    /// The output of `future`, or `None` if the deadline passes first.
    pub(super) async fn bound<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        // Usually it is ready immediately; then no timer is created.
        let mut future = pin!(future);
        if let Poll::Ready(ready) = futures_util::poll!(future.as_mut()) {
            return Some(ready);
        }
        match self.at {
            Some(at) => tokio::time::timeout_at(at, future).await.ok(),
            None => Some(future.await),
        }
    }
}

/// The part of a request's body that is not read yet.
pub(super) struct Unread {
    body: Incoming,
    /// Whether the rest may be read; a client that waits for `100 Continue` has not sent it.
    drain: bool,
}

impl Unread {
    /// The body of a request with these headers.
    pub(super) fn new(body: Incoming, headers: &HeaderMap) -> Self {
        Self { body, drain: !headers.contains_key(header::EXPECT) }
    }

    /// The whole body; empty if `limit` is 0. Memory is reserved for a large body before it is read.
    pub(super) async fn read(&mut self, limit: usize, deadline: &Deadline, record: &Record) -> Result<Bytes, ApiError> {
        if limit == 0 {
            return Ok(Bytes::new());
        }
        let expected = usize::try_from(hyper::body::Body::size_hint(&self.body).lower()).unwrap_or(usize::MAX);
        if expected > limit {
            return Err(ApiError::BodyTooLarge(limit));
        }
        let mut read = BytesMut::new();
        if expected > SMALL_BODY {
            Self::reserve(expected, deadline, record).await?;
        }
        loop {
            let Some(frame) = deadline.bound(self.body.frame()).await else {
                self.drain = false;
                return Err(ApiError::BodyTimeout(deadline.timeout));
            };
            let Some(frame) = frame else { return Ok(read.freeze()) };
            let Ok(frame) = frame else {
                self.drain = false;
                return Err(ApiError::InvalidBody);
            };
            let data = frame.into_data().unwrap_or_default();
            if read.is_empty() && data.len() == expected {
                return Ok(data); // in a single frame, as most bodies are
            }
            let length = read.len() + data.len();
            if length > limit {
                return Err(ApiError::BodyTooLarge(limit));
            }
            if length > SMALL_BODY && record.reservation().is_none() {
                Self::reserve(limit, deadline, record).await?; // its length was not announced
            }
            if read.is_empty() {
                read.reserve(expected);
            }
            read.extend_from_slice(&data);
        }
    }

    async fn reserve(bytes: usize, deadline: &Deadline, record: &Record) -> Result<(), ApiError> {
        deadline.bound(record.reserve(bytes)).await.ok_or(ApiError::NoCapacity)
    }

    /// Reads and discards the rest for a moment: closing a connection on which data still arrives would reset it, and
    /// the client might not receive the response.
    pub(super) async fn drain(mut self) {
        if !self.drain || hyper::body::Body::is_end_stream(&self.body) {
            return;
        }
        let rest = async {
            let mut left = MAX_DRAIN;
            while let Some(Ok(frame)) = self.body.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(less) => left = less,
                    None => break,
                }
            }
        };
        let _ = tokio::time::timeout(DRAIN_TIME, rest).await;
    }
}
