//! Connections as clients may misuse them: every wait on a client ends, and nobody else waits for it.

mod http1;
mod http2;
mod idle;
mod many;
mod stop;
mod untaken;

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;

use crate::support::server::send;
use crate::support::{Server, until};

/// Reads to the end of a connection; answers with what came and when it ended. A reset is an end.
async fn end_of(mut stream: impl AsyncRead + Unpin, patience: Duration) -> (Vec<u8>, Duration) {
    let (start, mut received) = (Instant::now(), Vec::new());
    let read = async {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..length]);
        }
    };
    let ended = tokio::time::timeout(patience, read).await;
    assert!(ended.is_ok(), "the connection is still open after {} s", patience.as_secs());
    (received, start.elapsed())
}

async fn tcp(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// The slowest of `count` requests of a client with connections of its own: half over a kept one, half over new ones.
async fn slowest_request(server: &Server, count: usize) -> Duration {
    let kept = server.http(Some(&server.admin));
    let mut slowest = Duration::ZERO;
    for number in 0..count {
        let fresh = server.http(Some(&server.admin));
        let http = if number % 2 == 0 { &kept } else { &fresh };
        let start = Instant::now();
        let answer = send(http.get(server.url("/version")), None).await.unwrap();
        assert_eq!(answer.status, 200);
        slowest = slowest.max(start.elapsed());
    }
    slowest
}

/// Waits until no more than `count` connections are open, besides the one that asks.
pub async fn until_open(server: &Server, count: u32) {
    let missing = || format!("more than {count} connections are still open:\n{}", server.log());
    let is_so = async || server.metric("keyway_connections").await <= f64::from(count) + 1.0;
    until(Duration::from_secs(20), missing, is_so).await;
}

/// Bytes in RAM, but for those of files.
pub fn memory(server: &Server) -> u64 {
    status(server, "RssAnon:")
}

/// A size in `/proc/PID/status`, in bytes.
fn status(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}
