//! A stream that fails if the head of an HTTP/1.1 request arrives too slowly.
//!
//! hyper's header timeout starts at the end of the last request, which makes it an idle timeout; this one starts at the
//! first byte of a head.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Activity;

/// Reads fail with [`io::ErrorKind::TimedOut`] if bytes arrive while no request is open and no request has started
/// `limit` later.
#[derive(Debug)]
pub(super) struct HeaderDeadline<S> {
    stream: S,
    activity: Activity,
    limit: Duration,
    pending: Option<Pending>,
}

/// A head that has started to arrive.
#[derive(Debug)]
struct Pending {
    /// The number of requests that had started before it.
    begun: usize,
    end: Instant,
    /// Created if the head is not complete at the next poll, which is rare.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> HeaderDeadline<S> {
    pub(super) fn new(stream: S, activity: Activity, limit: Duration) -> Self {
        Self { stream, activity, limit, pending: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeaderDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let begun = this.activity.begun();
        if this.pending.as_ref().is_some_and(|pending| pending.begun != begun) {
            this.pending = None;
        }
        if let Some(Pending { end, timer, .. }) = &mut this.pending
            && timer.get_or_insert_with(|| Box::pin(sleep_until(*end))).as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let has_new_bytes = read.is_ready() && buffer.filled().len() > before;
        if has_new_bytes && this.pending.is_none() && this.activity.is_idle() {
            this.pending = Some(Pending { begun, end: Instant::now() + this.limit, timer: None });
        }
        read
    }
}

pass_writes_on!(HeaderDeadline);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_head_times_out_and_an_idle_connection_does_not() {
        let (mut client, server) = duplex(64);
        let activity = Activity::of_a_stranger();
        let mut server = HeaderDeadline::new(server, activity.clone(), Duration::from_secs(5));
        let mut buffer = [0; 64];

        let silence = tokio::time::timeout(Duration::from_mins(1), server.read(&mut buffer)).await;
        assert!(silence.is_err(), "an idle client timed out");

        client.write_all(b"GET / HT").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 8);
        let start = Instant::now();
        let error = server.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_complete_head_does_not_time_out() {
        let (mut client, server) = duplex(64);
        let activity = Activity::of_a_stranger();
        let mut server = HeaderDeadline::new(server, activity.clone(), Duration::from_secs(5));
        let mut buffer = [0; 64];
        client.write_all(b"head").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 4);
        drop(activity.begin());
        let wait = tokio::time::timeout(Duration::from_mins(1), server.read(&mut buffer)).await;
        assert!(wait.is_err(), "a client between two requests timed out");
    }
}
