//! A stream that tells whether it waits for the client to take bytes. Below TLS, whose buffer would hide it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream and the state of its writes.
#[derive(Debug)]
pub(super) struct WatchedWrites<S> {
    stream: S,
    writes: Writes,
}

/// The state of the writes of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Writes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_blocked: AtomicBool,
    count: AtomicU32,
}

impl<S> WatchedWrites<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, writes: Writes::default() }
    }

    /// The state of the writes.
    pub(super) fn writes(&self) -> &Writes {
        &self.writes
    }
}

impl Writes {
    /// Whether the last write waits for the client.
    pub(super) fn is_blocked(&self) -> bool {
        self.0.is_blocked.load(Ordering::Acquire)
    }

    /// The number of writes of which bytes were taken; wraps around.
    pub(super) fn count(&self) -> u32 {
        self.0.count.load(Ordering::Acquire)
    }

    fn note<T>(&self, write: &Poll<T>) {
        self.0.is_blocked.store(write.is_pending(), Ordering::Release);
        if write.is_ready() {
            self.0.count.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedWrites<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedWrites<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.writes.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.writes.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
