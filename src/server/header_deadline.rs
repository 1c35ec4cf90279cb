//! A stream that ends when the head of an HTTP/1.1 request arrives too slowly.
//!
//! hyper's own header timer runs from the end of the last request, so it is the idle timer; this one runs from the
//! first byte of a head.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Activity;

/// Reads fail with [`io::ErrorKind::TimedOut`] when bytes have come in while no request was open and no request
/// has begun `limit` later.
#[derive(Debug)]
pub(super) struct HeaderDeadline<S> {
    stream: S,
    activity: Activity,
    limit: Duration,
    pending: Option<Pending>,
}

/// A head that has begun to arrive.
#[derive(Debug)]
struct Pending {
    /// Requests that had begun before it.
    begun: usize,
    end: Instant,
    /// Made when the head is not complete at the next look, which is seldom.
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
        let bytes_came = read.is_ready() && buffer.filled().len() > before;
        if bytes_came && this.pending.is_none() && this.activity.is_idle() {
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
    async fn a_head_that_does_not_end_is_cut_and_silence_is_not() {
        let (mut client, server) = duplex(64);
        let activity = Activity::new();
        let mut server = HeaderDeadline::new(server, activity.clone(), Duration::from_secs(5));
        let mut buffer = [0; 64];

        let silence = tokio::time::timeout(Duration::from_mins(1), server.read(&mut buffer)).await;
        assert!(silence.is_err(), "an idle client was cut");

        client.write_all(b"GET / HT").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 8);
        let start = Instant::now();
        let error = server.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_became_a_request_is_not_cut() {
        let (mut client, server) = duplex(64);
        let activity = Activity::new();
        let mut server = HeaderDeadline::new(server, activity.clone(), Duration::from_secs(5));
        let mut buffer = [0; 64];
        client.write_all(b"head").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 4);
        drop(activity.begin());
        let wait = tokio::time::timeout(Duration::from_mins(1), server.read(&mut buffer)).await;
        assert!(wait.is_err(), "a client between two requests was cut");
    }
}
