//! HTTP/1.1, one request at a time, with as little work per response as possible.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Latencies, Shared, check};

/// Maximum number of headers in a response.
const MAX_HEADERS: usize = 32;

/// A connection with one request at a time.
#[derive(Debug)]
pub(crate) struct Http1 {
    stream: TlsStream<TcpStream>,
    received: BytesMut,
    body: Vec<u8>,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
}

/// The head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    size: usize,
    length: Length,
}

impl Http1 {
    /// Uses a connection after its TLS handshake.
    pub(crate) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, received: BytesMut::with_capacity(1 << 10), body: Vec::new() }
    }

    /// Sends a request, reads the whole response and returns its status.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.received.clear();
        self.body.clear();
        self.stream.write_all(request).await.context("cannot send a request")?;
        self.stream.flush().await.context("cannot send a request")?;
        let head = loop {
            self.read().await?;
            if let Some(head) = head(&self.received)? {
                break head;
            }
        };
        match head.length {
            Length::Known(length) => {
                let end = head.size + length;
                self.received.reserve(end.saturating_sub(self.received.len()));
                while self.received.len() < end {
                    self.read().await?;
                }
                self.body.extend_from_slice(self.received.get(head.size..end).unwrap_or_default());
            }
            Length::Chunked => self.chunks(head.size).await?,
        }
        Ok(head.status)
    }

    /// The body of the last response.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    async fn chunks(&mut self, mut at: usize) -> anyhow::Result<()> {
        loop {
            let rest = self.received.get(at..).unwrap_or_default();
            let size = httparse::parse_chunk_size(rest).map_err(|_| anyhow::anyhow!("invalid chunk size"))?;
            let httparse::Status::Complete((skip, size)) = size else {
                self.read().await?;
                continue;
            };
            let (begin, size) = (at + skip, usize::try_from(size)?);
            let end = begin + size;
            while self.received.len() < end + "\r\n".len() {
                self.read().await?;
            }
            self.body.extend_from_slice(self.received.get(begin..end).unwrap_or_default());
            if size == 0 {
                return Ok(());
            }
            at = end + "\r\n".len();
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        match self.stream.read_buf(&mut self.received).await.context("cannot read a response")? {
            0 => bail!("the server closed the connection before its response was complete"),
            _ => Ok(()),
        }
    }
}

/// Parses the head of a response; `None` while it is incomplete.
fn head(received: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(size) = response.parse(received)? else { return Ok(None) };
    let value = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let length = match (value("content-length"), value("transfer-encoding")) {
        (Some(length), _) => Length::Known(length.parse()?),
        (None, Some(_)) => Length::Chunked,
        (None, None) => Length::Known(0),
    };
    Ok(Some(Head { status: response.code.unwrap_or_default(), size, length }))
}

/// A client with its own connection.
pub(super) async fn client(shared: Arc<Shared>) -> anyhow::Result<Latencies> {
    let request = &shared.load.request;
    let same = request.names.is_none().then(|| request.http1(0));
    let mut connection = {
        let _permit = shared.opening.acquire().await?;
        Http1::new(shared.connect().await?)
    };
    shared.ready().await;
    let mut latencies = Latencies::new();
    while let Some(n) = shared.next() {
        let other = same.is_none().then(|| request.http1(n));
        let bytes = same.as_ref().or(other.as_ref()).map(Vec::as_slice).unwrap_or_default();
        let start = Instant::now();
        let status = connection.exchange(bytes).await?;
        shared.keep(&mut latencies, start);
        check(status, connection.body())?;
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_body_is_given_by_its_length_or_by_chunks() {
        let known = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(head(known).unwrap(), Some(Head { status: 200, size: 38, length: Length::Known(5) }));
        let chunked = b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(head(chunked).unwrap().unwrap().length, Length::Chunked);
        assert_eq!(head(b"HTTP/1.1 200 OK\r\nContent-").unwrap(), None);
        assert!(head(b"hello there\r\n\r\n").is_err());
    }
}
