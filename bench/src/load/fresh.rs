//! A new connection for each request, closed after the response.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustls::HandshakeKind;

use super::{Http1, Latencies, Shared, check, connect};

/// A client with one connection at a time. Latencies are measured from the connect to the response.
pub(super) async fn client(shared: Arc<Shared>) -> anyhow::Result<Latencies> {
    let request = &shared.load.request;
    let tls = shared.own_tls();
    shared.ready().await;
    let mut latencies = Latencies::new();
    while let Some(n) = shared.next() {
        let start = Instant::now();
        let stream = connect(shared.load.address, tls.clone()).await?;
        if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
            shared.resumed.fetch_add(1, Ordering::Relaxed);
        }
        let mut connection = Http1::new(stream);
        let status = connection.exchange(&request.http1(n)).await?;
        shared.keep(&mut latencies, start);
        check(status, connection.body())?;
    }
    Ok(latencies)
}
