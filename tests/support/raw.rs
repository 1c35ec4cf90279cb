//! A connection on which a test writes bytes of its own: what HTTP clients would not send, or would tidy up first.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::{Client, tls_config};
use super::server::{Answer, Server};

/// How long a server may leave a test without an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A TLS connection over which HTTP/1.1 is spoken by hand.
pub struct Raw {
    stream: TlsStream<TcpStream>,
    /// What was received and not read yet.
    received: Vec<u8>,
    /// Whether the last answer was the connection's last.
    closing: bool,
}

impl Raw {
    /// Shakes hands with a server as `client`.
    pub async fn connect(server: &Server, client: &Client) -> Self {
        let config = tls_config(&server.certificate, Some(client), &[b"http/1.1"]);
        Self::with(server, Arc::new(config)).await.unwrap()
    }

    /// Shakes hands with a server in a way to taste.
    pub async fn with(server: &Server, config: Arc<rustls::ClientConfig>) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(server.address).await?;
        tcp.set_nodelay(true)?;
        let stream = TlsConnector::from(config).connect(server.address.ip().into(), tcp).await?;
        Ok(Self { stream, received: Vec::new(), closing: false })
    }

    /// What the handshake agreed on.
    pub fn session(&self) -> &rustls::ClientConnection {
        self.stream.get_ref().1
    }

    /// Sends these bytes; that the server has closed in the meantime shows when the answer is read.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Sends a request with a body of the length it says, and reads the answer.
    pub async fn request(&mut self, method: &str, target: &str, body: &[u8]) -> Result<Answer, String> {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
        if !body.is_empty() {
            request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        self.send(request).await;
        self.answer_to(method).await
    }

    /// The next answer, but for interim ones such as `100 Continue`.
    pub async fn answer(&mut self) -> Result<Answer, String> {
        self.answer_to("GET").await
    }

    /// The status of the next head, an interim one too.
    pub async fn status(&mut self) -> Result<u16, String> {
        Ok(self.head().await?.0)
    }

    async fn answer_to(&mut self, method: &str) -> Result<Answer, String> {
        let (status, headers) = loop {
            let head = self.head().await?;
            if head.0 >= 200 {
                break head;
            }
        };
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default().to_owned());
        self.closing = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let body = if method == "HEAD" {
            Vec::new()
        } else if header("transfer-encoding").as_deref() == Some("chunked") {
            self.chunks().await?
        } else if let Some(length) = header("content-length") {
            self.take(length.parse().map_err(|_| format!("content-length: {length}"))?).await?
        } else {
            self.rest().await
        };
        Ok(Answer { status, headers, body })
    }

    /// Whether the server has said that it takes no more requests on this connection.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.receive().await.is_ok() {}
        std::mem::take(&mut self.received)
    }

    async fn head(&mut self) -> Result<(u16, HeaderMap), String> {
        let head = self.line_block().await?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name: HeaderName = name.parse().map_err(|_| format!("header {name:?}"))?;
            headers.append(name, HeaderValue::from_str(value).map_err(|_| format!("value {value:?}"))?);
        }
        Ok((status.ok_or_else(|| format!("not an HTTP/1.1 head: {head:?}"))?, headers))
    }

    async fn line_block(&mut self) -> Result<String, String> {
        let end = self.find(b"\r\n\r\n").await?;
        let block = self.take(end + 4).await?;
        String::from_utf8(block[..end].to_vec()).map_err(|error| error.to_string())
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let end = self.find(b"\r\n").await?;
            let line = self.take(end + 2).await?;
            let size = std::str::from_utf8(&line[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
            let size = size.ok_or_else(|| format!("not a chunk size: {line:?}"))?;
            let chunk = self.take(size + 2).await?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    async fn find(&mut self, what: &[u8]) -> Result<usize, String> {
        loop {
            if let Some(at) = self.received.windows(what.len()).position(|window| window == what) {
                return Ok(at);
            }
            self.receive().await?;
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.received.len() < length {
            self.receive().await?;
        }
        Ok(self.received.drain(..length).collect())
    }

    async fn receive(&mut self) -> Result<(), String> {
        let mut buffer = vec![0; 64 << 10];
        match tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await {
            Ok(Ok(0)) => Err(format!("the connection ended after {:?}", String::from_utf8_lossy(&self.received))),
            Ok(Ok(length)) => {
                self.received.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Ok(Err(error)) => Err(format!("the connection broke: {error}")),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
}

/// One request to a target that is sent as it is, over a connection of its own.
pub async fn request(
    server: &Server,
    client: &Client,
    method: &str,
    target: &str,
    body: &[u8],
) -> Result<Answer, String> {
    Raw::connect(server, client).await.request(method, target, body).await
}
