//! HTTP/2: several connections with several streams each.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Uri;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;

use super::{Latencies, Shared, check};

/// The receive windows of a stream and of a connection, as in Go's client.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;

/// One connection.
pub(super) async fn client(shared: Arc<Shared>, streams: usize) -> anyhow::Result<Latencies> {
    let (sender, connection) = {
        let _permit = shared.opening.acquire().await?;
        let stream = shared.connect().await?;
        Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .context("HTTP/2 handshake failed")?
    };
    let connection = tokio::spawn(connection);
    shared.ready().await;
    let mut open = JoinSet::new();
    for _ in 0..streams {
        open.spawn(stream(shared.clone(), sender.clone()));
    }
    drop(sender);
    let mut latencies = Latencies::new();
    while let Some(done) = open.join_next().await {
        latencies.extend(done??);
    }
    connection.abort();
    Ok(latencies)
}

async fn stream(shared: Arc<Shared>, mut sender: SendRequest<Full<Bytes>>) -> anyhow::Result<Latencies> {
    let request = &shared.load.request;
    let url = |path: &str| Uri::try_from(format!("https://{}{path}", shared.load.address));
    let same = request.names.is_none().then(|| url(&request.path)).transpose()?;
    let mut latencies = Latencies::new();
    while let Some(n) = shared.next() {
        let url = same.clone().map_or_else(|| url(&request.path(n)), Ok)?;
        let mut builder = hyper::Request::builder().method(request.method).uri(url);
        if !request.body.is_empty() {
            builder = builder.header("content-type", "application/json");
        }
        let request = builder.body(Full::new(request.body.clone()))?;
        let start = Instant::now();
        sender.ready().await?;
        let response = sender.send_request(request).await.context("no response")?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.context("cannot read a response")?.to_bytes();
        shared.keep(&mut latencies, start);
        check(status, &body)?;
    }
    Ok(latencies)
}
