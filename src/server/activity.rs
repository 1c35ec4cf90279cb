//! The activity of a connection: open requests, and when the last one ended.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::server::record::Record;
use crate::state::limits::Reservation;

/// Shared between a connection and its requests.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    opened: Instant,
    /// Requests whose response is not complete.
    open: AtomicUsize,
    /// All requests so far.
    begun: AtomicUsize,
    /// Milliseconds from `opened` to the last start or end of a request.
    last: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            opened: Instant::now(),
            open: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            last: AtomicU64::new(0),
        }))
    }

    /// Starts a request, which is open until the guard is dropped.
    pub(super) fn begin(&self) -> Open {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        self.0.begun.fetch_add(1, Ordering::AcqRel);
        self.touch();
        Open(self.clone())
    }

    /// Whether no request is open.
    pub(super) fn is_idle(&self) -> bool {
        self.0.open.load(Ordering::Acquire) == 0
    }

    /// The number of requests so far.
    pub(super) fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Acquire)
    }

    /// When a request last started or ended, or the connection was opened.
    pub(super) fn last(&self) -> Instant {
        self.0.opened + Duration::from_millis(self.0.last.load(Ordering::Acquire))
    }

    /// Counts as activity now.
    pub(super) fn touch(&self) {
        let now = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.fetch_max(now, Ordering::AcqRel);
    }
}

/// An open request.
#[derive(Debug)]
pub(super) struct Open(Activity);

impl Open {
    /// Keeps the request open, and its record counted, until the body ends.
    pub(super) fn until_end_of(self, body: Body, record: Option<Arc<Record>>) -> Tracked {
        Tracked { body, _open: self, record }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.touch();
    }
}

/// A response body that keeps its request open.
#[derive(Debug)]
pub(super) struct Tracked {
    body: Body,
    _open: Open,
    record: Option<Arc<Record>>,
}

/// Response bytes that keep their reservation until they are sent: HTTP/2 buffers all of them and then waits for the
/// client.
struct Counted {
    bytes: Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl hyper::body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let Some(reservation) = self.record.as_ref().and_then(|record| record.reservation()) else { return frame };
        let counted = |bytes| Bytes::from_owner(Counted { bytes, _reservation: reservation.clone() });
        frame.map_ok(|frame| frame.map_data(counted))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_open_until_its_body_is_dropped() {
        let activity = Activity::new();
        assert!(activity.is_idle());
        let body = activity.begin().until_end_of(Body::empty(), None);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(!activity.is_idle());
        let before = activity.last();
        drop(body);
        assert!(activity.is_idle() && activity.last() == before + Duration::from_secs(3));
        assert_eq!(activity.begun(), 1);
    }
}
