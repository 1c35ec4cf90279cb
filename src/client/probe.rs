//! A handshake without a request, to learn why a connection broke.
//!
//! TLS 1.3 lets a client send its request before the server has looked at its certificate (RFC 8446 section 4.4.2), so
//! a refusal comes as an alert into the middle of HTTP, which tells no more than that the connection is closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::settings::Endpoint;

/// How long the server may take to refuse. One that does not refuse waits for a request.
const PATIENCE: Duration = Duration::from_secs(2);

/// What ends a connection on which nothing is asked; nothing when the server keeps it.
pub(super) async fn refusal(endpoint: &Endpoint, tls: Arc<ClientConfig>) -> Option<io::Error> {
    let (host, port) = endpoint.host_and_port()?;
    let name = ServerName::try_from(host.clone()).ok()?;
    let talk = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        let mut stream = TlsConnector::from(tls).connect(name, stream).await?;
        stream.read_u8().await
    };
    tokio::time::timeout(PATIENCE, talk).await.ok()?.err()
}
