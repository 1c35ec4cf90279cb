//! HTTP/2: what it allows, and what attackers make of it. Frames are written by hand (RFC 9113, RFC 7541).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{slowest_request, tcp, until_open};
use crate::support::client::tls_config;
use crate::support::server::send;
use crate::support::{Client, Server};

const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A connection to which frames are written; what comes back is collected aside.
pub struct Frames {
    sender: WriteHalf<TlsStream<TcpStream>>,
    received: JoinHandle<Vec<u8>>,
}

impl Frames {
    /// Shakes hands and begins HTTP/2.
    pub async fn open(server: &Server) -> Self {
        Self::open_as(server, &server.admin, &[]).await
    }

    /// The same as `client`, which takes `window` bytes of each answer (`SETTINGS_INITIAL_WINDOW_SIZE`).
    pub async fn with_window(server: &Server, client: &Client, window: u32) -> Self {
        Self::open_as(server, client, &[&[0, 4][..], &window.to_be_bytes()].concat()).await
    }

    async fn open_as(server: &Server, client: &Client, settings: &[u8]) -> Self {
        let config = tls_config(&server.certificate, Some(client), &[b"h2"]);
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(server.address.ip().into(), tcp(server).await).await.unwrap();
        let (mut reader, sender) = tokio::io::split(stream);
        let received = tokio::spawn(async move {
            let mut received = Vec::new();
            let _ = reader.read_to_end(&mut received).await;
            received
        });
        let mut frames = Self { sender, received };
        assert!(
            frames
                .send(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, settings)].concat())
                .await
        );
        frames
    }

    /// Whether the server still takes bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let send = async {
            self.sender.write_all(bytes).await?;
            self.sender.flush().await
        };
        matches!(tokio::time::timeout(Duration::from_secs(20), send).await, Ok(Ok(())))
    }

    /// Sends `count` requests `method path` at once.
    pub async fn ask(&mut self, count: u32, method: u8, path: &str) -> bool {
        let headers = [vec![method], get(path).split_off(1)].concat();
        let requests = (0..count).map(|number| frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &headers));
        self.send(&requests.collect::<Vec<_>>().concat()).await
    }

    /// Whether the server has ended the connection.
    pub fn is_ended(&self) -> bool {
        self.received.is_finished()
    }

    /// The error code with which the server ended the connection, which must be soon.
    async fn go_away(self) -> Option<u32> {
        let received = tokio::time::timeout(Duration::from_secs(10), self.received).await;
        let received = received.expect("the server ends the connection").unwrap();
        let mut rest = received.as_slice();
        let mut code = None;
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            if head[3] == GO_AWAY {
                code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
            rest = after;
        }
        code
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head, &stream.to_be_bytes()[..], payload].concat()
}

/// `GET path` as a header block: indexed fields of the static table, and literals without indexing.
pub fn get(path: &str) -> Vec<u8> {
    let literal = |name: u8, value: &str| [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    [vec![0x82, 0x87], literal(0x04, path), literal(0x01, "localhost")].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_ends_the_connection_and_harms_nobody() {
    let server = Server::start();
    let mut attackers = Vec::new();
    for _ in 0..4 {
        let mut frames = Frames::open(&server).await;
        attackers.push(tokio::spawn(async move {
            for batch in 0..100_u32 {
                let streams = (0..50).map(|number| 2 * (50 * batch + number) + 1);
                let bytes: Vec<u8> = streams
                    .flat_map(|stream| {
                        let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/v1/key/list/"));
                        [request, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
                    })
                    .collect();
                if !frames.send(&bytes).await {
                    break;
                }
            }
            frames.go_away().await
        }));
    }
    let slowest = slowest_request(&server, 50).await;
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    for attacker in attackers {
        let code = attacker.await.unwrap();
        assert!(matches!(code, None | Some(0xb)), "ENHANCE_YOUR_CALM or a closed connection, not {code:?}");
    }
    until_open(&server, 0).await;
    let active = server.metric("kes_http_request_active").await;
    assert!(active < 1.5, "{active} requests are open: more than the one that asks");
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_without_end_ends_the_connection() {
    let server = Server::start();
    let mut frames = Frames::open(&server).await;
    assert!(frames.send(&frame(HEADERS, END_STREAM, 1, &get("/version"))).await);
    let more = frame(CONTINUATION, 0, 1, &[&[0x00, 0x01, b'x', 0x7f, 0x81, 0x7c][..], &[b'y'; 16_000]].concat());
    let mut sent = 0;
    while sent < 5_000 && frames.send(&more).await {
        sent += 1;
    }
    assert!(sent < 5_000, "80 MB of headers were taken");
    frames.go_away().await;
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_list_of_more_than_64_kib_is_refused() {
    let server = Server::start();
    let http = server.http2(Some(&server.admin));
    let long = "x".repeat(15 << 10);
    let request = (0..6)
        .fold(http.get(server.url("/version")), |request, number| request.header(format!("x-long-{number}"), &long));
    if let Ok(answer) = send(request, None).await {
        assert_eq!(answer.status, 431);
    }
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_rules_end_only_their_own_connection() {
    let server = Server::start();
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/version"));
    for bytes in [
        frame(DATA, 0, 0, b"data on no stream"),
        frame(DATA, 0, 7, b"data on a stream that is not open"),
        frame(HEADERS, END_HEADERS, 2, &get("/version")), // an even stream
        frame(HEADERS, END_HEADERS, 1, &[0xff; 200]),     // no HPACK
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(PING, 0, 0, &[0; 4]),
        vec![0xff; 20_000],
    ] {
        let mut frames = Frames::open(&server).await;
        frames.send(&[request.clone(), bytes].concat()).await;
        let code = frames.go_away().await;
        assert!(code != Some(0), "the server found nothing wrong");
    }
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_pings_and_settings_hold_nobody_up() {
    let server = Server::start();
    for flood in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[]), frame(DATA, 0, 1, &[])] {
        let mut frames = Frames::open(&server).await;
        let flooding = tokio::spawn(async move {
            frames.send(&frame(HEADERS, END_HEADERS, 1, &get("/version"))).await;
            let bytes = flood.repeat(500);
            for _ in 0..100 {
                if !frames.send(&bytes).await {
                    return;
                }
            }
        });
        let slowest = slowest_request(&server, 20).await;
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        flooding.await.unwrap();
    }
    server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_one_connection() {
    let server = Server::start();
    server.put("/v1/key/create/shared", None).await;
    let http = server.http2(Some(&server.admin));
    send(http.get(server.url("/version")), None).await.unwrap();
    let requests = (0..1_000).map(|_| send(http.put(server.url("/v1/key/generate/shared")), None));
    let answers = join_all(requests).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status == 200));
    until_open(&server, 1).await;
}
