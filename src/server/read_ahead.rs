//! A stream that reads more at once where much is coming.
//!
//! rustls asks for 4 KiB at a time, which for a body of a MiB makes 300 reads of the socket. Small requests fit into
//! the first: for them nothing changes, and an idle connection holds no buffer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Bytes that are read at once: a few TLS records.
const AHEAD: usize = 64 << 10;

/// Reads ahead after a read that got all that it asked for.
#[derive(Debug)]
pub(super) struct ReadAhead<S> {
    stream: S,
    /// Bytes that are not asked for yet. Holds memory only while there are some.
    ahead: BytesMut,
    /// Whether the last read of the stream left bytes behind, as far as one can tell.
    more: bool,
}

impl<S> ReadAhead<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, ahead: BytesMut::new(), more: false }
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
        let (now, _later) = this.ahead.split_at(part);
        buffer.put_slice(now);
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

    /// Gives bytes that count up, as many as there are, and is then at its end; counts how often it is asked.
    struct Source {
        left: usize,
        given: usize,
        reads: usize,
        /// How many bytes it has at once.
        burst: usize,
        /// Whether it has nothing yet every other time.
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
        fn every_byte_comes_once_and_in_its_place(
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
    async fn much_is_read_at_once_and_a_little_as_ever() {
        let mut much = source(1 << 20, usize::MAX, false);
        assert_eq!(read(&mut much, 4096).await.len(), 1 << 20);
        assert!(much.stream.reads < 20, "{}", much.stream.reads);
        let mut little = source(500, usize::MAX, false);
        assert_eq!(read(&mut little, 4096).await.len(), 500);
        assert_eq!(little.stream.reads, 2);
    }

    #[tokio::test]
    async fn what_is_read_is_no_longer_held() {
        let mut stream = source(100_000, usize::MAX, false);
        read(&mut stream, 4096).await;
        assert_eq!(stream.ahead.capacity(), 0);
    }
}
