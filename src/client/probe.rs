//! A handshake without a request, to determine why a connection broke.
//!
//! In TLS 1.3 a client may send its request before the server has verified its certificate (RFC 8446 section 4.4.2). A
//! rejection then arrives as an alert in the middle of HTTP, which only reports that the connection was closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::settings::Endpoint;

/// How long the server may take to reject the client. A server that accepts it waits for a request.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The error that ends a connection without a request; `None` if the server keeps it open.
pub(super) async fn rejection(endpoint: &Endpoint, tls: Arc<ClientConfig>) -> Option<io::Error> {
    let (host, port) = endpoint.host_and_port()?;
    let name = ServerName::try_from(host.clone()).ok()?;
    let handshake = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        let mut stream = TlsConnector::from(tls).connect(name, stream).await?;
        stream.read_u8().await
    };
    tokio::time::timeout(TIMEOUT, handshake).await.ok()?.err()
}
