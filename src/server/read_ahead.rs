//! A stream that reads larger blocks while much data arrives.
//!
//! rustls reads 4 KiB at a time, which takes 300 socket reads for a body of 1 MiB. Small requests fit into the first
//! read: for them nothing changes, and an idle connection has no buffer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Bytes per read: a few TLS records.
const AHEAD: usize = 64 << 10;

/// Reads ahead after a read that filled its buffer.
#[derive(Debug)]
pub(super) struct ReadAhead<S> {
    stream: S,
    /// Bytes that were read ahead. Allocated only while there are any.
    ahead: BytesMut,
    /// Whether the stream may have more bytes: the last read filled its buffer.
    more: bool,
}

impl<S> ReadAhead<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, ahead: BytesMut::new(), more: false }
    }

    /// The stream below.
    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let stream = Pin::new(&mut this.stream);
        if this.ahead.is_empty() && !this.more {
            ready!(stream.poll_read(context, buffer))?;
            this.more = buffer.remaining() == 0;
            return Poll::Ready(Ok(()));
        }
        if this.ahead.is_empty() {
            this.ahead.reserve(AHEAD);
            let read = poll_read_buf(stream, context, &mut this.ahead);
            this.more = matches!(read, Poll::Ready(Ok(AHEAD..)));
            if !matches!(read, Poll::Ready(Ok(1..))) {
                this.ahead = BytesMut::new();
                return read.map_ok(|_end| ());
            }
        }
        let part = this.ahead.len().min(buffer.remaining());
        let (part_now, _rest) = this.ahead.split_at(part);
        buffer.put_slice(part_now);
        this.ahead.advance(part);
        if this.ahead.is_empty() && !this.more {
            this.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

pass_writes_on!(ReadAhead);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// A stream of ascending bytes that counts its reads.
    struct Source {
        left: usize,
        given: usize,
        reads: usize,
        /// The maximum number of bytes per read.
        burst: usize,
        /// Whether every other read is pending first.
        pauses: bool,
        is_pausing: bool,
    }

    impl AsyncRead for Source {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.is_pausing = self.pauses && !self.is_pausing;
            if self.is_pausing {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let part = self.left.min(self.burst).min(buffer.remaining());
            let bytes: Vec<u8> = (self.given..self.given + part).map(|number| number.to_le_bytes()[0]).collect();
            buffer.put_slice(&bytes);
            (self.left, self.given, self.reads) = (self.left - part, self.given + part, self.reads + 1);
            Poll::Ready(Ok(()))
        }
    }

    fn source(bytes: usize, burst: usize, pauses: bool) -> ReadAhead<Source> {
        ReadAhead::new(Source { left: bytes, given: 0, reads: 0, burst, pauses, is_pausing: false })
    }

    /// Reads to the end, `size` bytes at a time, as rustls does.
    async fn read(stream: &mut ReadAhead<Source>, size: usize) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; size]);
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => return all,
                part => all.extend_from_slice(&buffer[..part]),
            }
        }
    }

    proptest! {
        #[test]
        fn the_stream_is_unchanged(
            bytes in 0..300_000_usize,
            burst in 1..100_000_usize,
            size in 1..9_000_usize,
            pauses: bool,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async { read(&mut source(bytes, burst, pauses), size).await });
            let expected: Vec<u8> = (0..bytes).map(|number| number.to_le_bytes()[0]).collect();
            prop_assert_eq!(read, expected);
        }
    }

    #[tokio::test]
    async fn large_transfers_use_few_reads_and_small_ones_are_unchanged() {
        let mut much = source(1 << 20, usize::MAX, false);
        assert_eq!(read(&mut much, 4096).await.len(), 1 << 20);
        assert!(much.stream.reads < 20, "{}", much.stream.reads);
        let mut little = source(500, usize::MAX, false);
        assert_eq!(read(&mut little, 4096).await.len(), 500);
        assert_eq!(little.stream.reads, 2);
    }

    #[tokio::test]
    async fn the_buffer_is_freed_after_a_transfer() {
        let mut stream = source(100_000, usize::MAX, false);
        read(&mut stream, 4096).await;
        assert_eq!(stream.ahead.capacity(), 0);
    }
}
