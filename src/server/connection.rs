//! A connection: the handshake, then requests until one side closes it. Every wait for the client has a timeout;
//! requests have their own deadline (`body.rs`).

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use backends::{chain, tls_failure as failure};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::answer::Answer;
use super::header_deadline::HeaderDeadline;
use super::newcomers::Newcomer;
use super::read_ahead::ReadAhead;
use super::record::Record;
use super::router;
use super::stalls::Stalls;
use super::watched::Watched;
use super::writes::WatchedWrites;
use crate::api::error::ApiError;
use crate::state::Current;
use crate::state::limits::MAX_REJECTIONS;

/// How long a stranger over the share of strangers may take to send the request that gets the reason.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(1);

/// From the first byte to a finished handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// From the first byte of a request's head to its last.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may be open without a request (KES: 90 s).
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// How long an idle connection may stay open after the client was told to close it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of a request's head in bytes, for HTTP/1.1 and HTTP/2. hyper checks it after a read, so slightly more
/// may be accepted.
const MAX_HEADER: usize = 64 << 10;

/// Concurrent requests on an HTTP/2 connection (Go's default).
const MAX_STREAMS: u32 = 250;

/// Flow-control windows of HTTP/2: unread bytes of one request, and of all requests of a connection. Streams with large
/// bodies that wait for a reservation must not use up the window of those that have one.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;

/// Intervals of HTTP/2 pings, which detect dead peers.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// TCP keep-alive, for the same purpose in HTTP/1.1.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The response to a client that speaks plain HTTP: its first byte is a letter, and no TLS record begins with one
/// (RFC 8446 section 5.1).
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\
    Content-Length: 60\r\n\r\n{\"message\":\"this port requires HTTPS; use an https:// URL\"}\n";

/// A connection after the handshake.
type Stream = TlsStream<ReadAhead<WatchedWrites<TcpStream>>>;

/// A connection that was just accepted.
pub(super) struct Connection {
    pub(super) address: SocketAddr,
    pub(super) acceptor: TlsAcceptor,
    pub(super) current: Arc<Current>,
    /// The limit on connections, if this one exceeds it: its first request is rejected and the connection closed.
    pub(super) exceeded_limit: Option<usize>,
}

impl Connection {
    /// Serves the connection to its end; it is a `newcomer` until the handshake is finished.
    pub(super) async fn serve(self, stream: TcpStream, newcomer: Newcomer, stopping: CancellationToken) {
        let address = self.address;
        if let Err(error) = set_options(&stream) {
            debug!(%address, %error, "cannot set socket options");
        }
        let handshake = timeout(HANDSHAKE_TIMEOUT, self.handshake(stream));
        let stream = tokio::select! {
            () = stopping.cancelled() => return,
            () = newcomer.evicted() => return,
            stream = handshake => stream,
        };
        drop(newcomer);
        let stream = match stream {
            Ok(Ok(Some(stream))) => stream,
            Ok(Ok(None)) => return,
            // A port check connects and disconnects; not worth a log line.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            Ok(Err(error)) => {
                info!(ip = %address.ip(), reason = explain(&error), "TLS handshake failed");
                return;
            }
            Err(_) => {
                info!(ip = %address.ip(), "TLS handshake failed: not finished within 10 s");
                return;
            }
        };
        if let Err(error) = self.http(stream, stopping).await {
            debug!(%address, error = chain(&error), "connection ended");
        }
    }

    /// The TLS stream, or `None` if the client spoke plain HTTP and got an error for it.
    async fn handshake(&self, mut stream: TcpStream) -> io::Result<Option<Stream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[0].is_ascii_alphabetic() {
            info!(ip = %self.address.ip(), "client sent plain HTTP to the TLS port");
            stream.write_all(PLAIN_HTTP).await?;
            stream.shutdown().await?;
            // Read what is still arriving; closing now could reset the connection before the client reads the response.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            return Ok(None);
        }
        self.acceptor.accept(ReadAhead::new(WatchedWrites::new(stream))).await.map(Some)
    }

    /// Serves requests until one side ends the connection.
    async fn http(self, stream: Stream, stopping: CancellationToken) -> hyper::Result<()> {
        let (below, session) = stream.get_ref();
        let http2 = session.alpn_protocol() == Some(b"h2");
        let writes = below.get_ref().writes().clone();
        let (watched, of_strangers) = Watched::new(self.current, self.address, session, writes);
        let watched = Arc::new(watched);
        let exceeded_limit = self.exceeded_limit.or(of_strangers.map(|(limit, _)| limit));
        if let Some(limit) = exceeded_limit {
            watched.tell_exceeded(limit);
        }
        let idle = match (of_strangers, exceeded_limit) {
            // Those that are not told the reason would take the places of clients that the config has.
            (Some((_, excess)), _) if excess > MAX_REJECTIONS => return Ok(()),
            (Some(_), _) => STRANGER_TIMEOUT,
            (None, Some(_)) => HANDSHAKE_TIMEOUT,
            (None, None) => IDLE_TIMEOUT,
        };
        let shared = watched.clone();
        let leaving = stopping.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let Watched { current, peer, activity, .. } = &*shared;
            let open = activity.begin();
            let record = Arc::new(Record::begin(&current.get(), peer, activity.visitor(), &request));
            let mut answer = if let Some(limit) = exceeded_limit {
                leaving.cancel();
                reject(&record, ApiError::TooManyConnections(limit))
            } else {
                router::answer(record.clone(), request).boxed()
            };
            // If the client closes the connection, hyper may drop a request before it polls it for the first time. A
            // create that was received completely must still be executed, so start it now.
            let started = answer.as_mut().now_or_never();
            async move {
                let response = match started {
                    Some(response) => response,
                    None => answer.await,
                };
                let reservation = record.reservation().cloned();
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, open, reservation)))
            }
        });
        if http2 {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(u32::try_from(MAX_HEADER).unwrap_or(u32::MAX))
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            drive(connection, &watched, &stopping, idle).await
        } else {
            let stream = HeaderDeadline::new(stream, watched.activity.clone(), HEADER_TIMEOUT);
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None) // hyper measures from the end of the last request, as `drive` does
                .max_buf_size(MAX_HEADER)
                .writev(true)
                .serve_connection(TokioIo::new(stream), service);
            drive(connection, &watched, &stopping, idle).await
        }
    }
}

/// The response to a request that is rejected before it is routed, recorded like any other.
fn reject(record: &Record, error: ApiError) -> BoxFuture<'static, Response> {
    let response = error.into_response();
    record.finish(&response);
    std::future::ready(response).boxed()
}

/// Runs a connection until it ends. Closes it gracefully when the server stops, or after it was idle for too long, and at
/// once when the client does not take its answers.
async fn drive<C>(connection: C, watched: &Watched, stopping: &CancellationToken, idle: Duration) -> hyper::Result<()>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut connection = pin!(connection);
    let activity = &watched.activity;
    let mut stalls = Stalls::new(activity.clone(), watched.writes.clone());
    let mut closing_since = None;
    loop {
        let limit = if closing_since.is_some() { CLOSE_TIMEOUT } else { idle };
        let end = |since: Option<Instant>| activity.last().max(since.unwrap_or(activity.last())) + limit;
        tokio::select! {
            biased; // the connection creates the answers that are watched
            result = connection.as_mut() => return result,
            () = poll_fn(|context| stalls.poll(context, || watched.limits())) => {
                watched.tell_stalled();
                return Ok(());
            }
            () = stopping.cancelled(), if closing_since.is_none() => {
                closing_since = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(end(closing_since)) => {
                if !activity.is_idle() {
                    activity.touch();
                } else if end(closing_since) <= Instant::now() {
                    if closing_since.is_some() {
                        return Ok(());
                    }
                    closing_since = Some(Instant::now());
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Why a handshake failed, and what to do about it.
fn explain(error: &io::Error) -> String {
    use rustls::{AlertDescription, CertificateError, Error};
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let hint = match cause {
        Some(Error::NoCertificatesPresented) => "the client sent no certificate; it needs one, or an API key",
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "tls.auth is on and no CA in tls.ca signed the client's certificate; add its CA to tls.ca"
        }
        Some(Error::InvalidCertificate(CertificateError::BadSignature)) => {
            "the client's key does not match its certificate; or, with tls.auth on, it is signed by another CA with \
             the same name as one in tls.ca, for example because that CA was created again"
        }
        Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "the client's certificate has expired; renew it"
        }
        Some(Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => "the client's certificate is not valid yet; check both clocks, or create it again",
        Some(Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        )) => {
            "tls.auth is on and the client's certificate is not for clients; create one with extendedKeyUsage=clientAuth"
        }
        Some(Error::AlertReceived(AlertDescription::UnknownCA)) => {
            "the client does not trust tls.cert; give it the CA that signed tls.cert"
        }
        // Sent for a certificate of another name (by Go and rustls), and by some clients for an unknown CA.
        Some(Error::AlertReceived(AlertDescription::BadCertificate | AlertDescription::CertificateUnknown)) => {
            "the client rejects tls.cert: the name or address by which it reaches this server is not in tls.cert, or it \
             does not trust the CA that signed tls.cert"
        }
        Some(Error::AlertReceived(AlertDescription::CertificateExpired)) => {
            "tls.cert has expired or is not valid yet, by the clock of the client; run keyway check to see its dates"
        }
        Some(Error::InvalidCertificate(CertificateError::Other(reason))) => return reason.0.to_string(),
        Some(error) => return failure::text(error),
        None => return chain(error),
    };
    format!("{}: {hint}", cause.map(failure::text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_to_plain_http_has_the_correct_length() {
        let text = std::str::from_utf8(PLAIN_HTTP).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
