//! A request's time and its body: the deadline of everything that follows the head, and the bytes that are still to come.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::record::Record;
use crate::api::error::ApiError;
use crate::state::limits::{Room, SMALL_BODY};

/// Bytes of an unread body that are read and thrown away, so that the client gets its answer and not a reset.
const MAX_DRAIN: usize = 4 << 20;

/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// The end of a request's time.
pub(super) struct Deadline {
    at: Option<tokio::time::Instant>,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self { at: (!timeout.is_zero()).then(|| tokio::time::Instant::now() + timeout), timeout }
    }

    /// What `future` gives, or nothing when the time is up before.
    pub(super) async fn bound<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        // Mostly it is there at once: then no timer is made.
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

/// A request's body, as far as it is not read.
pub(super) struct Unread {
    body: Incoming,
    /// Whether the rest may be read: a client that waits for `100 Continue` has not sent it.
    drain: bool,
}

impl Unread {
    /// The body of a request with these headers.
    pub(super) fn new(body: Incoming, headers: &HeaderMap) -> Self {
        Self { body, drain: !headers.contains_key(header::EXPECT) }
    }

    /// The whole body; nothing when `limit` is 0. A large one waits for room before it is read.
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
            Self::make_room(expected, deadline, record).await?;
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
                return Ok(data); // all at once, as most bodies come
            }
            let length = read.len() + data.len();
            if length > limit {
                return Err(ApiError::BodyTooLarge(limit));
            }
            if length > SMALL_BODY && record.room().is_none() {
                Self::make_room(limit, deadline, record).await?; // it did not say how long it is
            }
            if read.is_empty() {
                read.reserve(expected);
            }
            read.extend_from_slice(&data);
        }
    }

    async fn make_room(bytes: usize, deadline: &Deadline, record: &Record) -> Result<(), ApiError> {
        let room = deadline.bound(Room::take(&record.state().running.load, bytes)).await;
        record.keep(room.ok_or(ApiError::NoRoom)?);
        Ok(())
    }

    /// Reads on for a moment: closing a connection on which bytes are still arriving would reset it, and the
    /// client might never see its answer.
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
