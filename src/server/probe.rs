//! The probe listener: plain HTTP without client certificates, only for /live, /ready and /metrics. It answers until
//! the process ends, so that probes can observe how the server drains.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, Request};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::newcomers::Newcomers;
use crate::api::done;
use crate::api::error::ApiError;
use crate::api::metrics::text;
use crate::api::ready::is_ready;
use crate::state::{Current, State};

/// Concurrent connections; further ones wait in the queue of the system.
const MAX_CONNECTIONS: usize = 128;

/// Those of them that have not sent a request; the oldest one makes room for a new one.
const MAX_SILENT: usize = 64;

/// From the first byte of a request's head to its last.
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection may be open.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Maximum size of a request's head in bytes.
const MAX_HEADER: usize = 8 << 10;

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves probes until the process ends, one per connection.
pub async fn run(listener: TcpListener, current: Arc<Current>) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let silent = Newcomers::default();
    loop {
        let permit = free.clone().acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let current = current.clone();
        let newcomer = Arc::new(silent.enter(MAX_SILENT).0);
        tokio::spawn(async move {
            let arrived = newcomer.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                arrived.arrive();
                let state = current.get();
                async move { Ok::<_, Infallible>(answer(&state, request.method(), request.uri().path()).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .keep_alive(false) // a connection that waits for its next request would keep a place
                .max_buf_size(MAX_HEADER)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = newcomer.evicted() => {}
                _ = timeout(MAX_AGE, connection) => {} // a failure concerns only the client
            }
            drop(permit);
        });
    }
}

/// The response to a probe.
async fn answer(state: &State, method: &Method, path: &str) -> Response {
    let answered = match path {
        "/live" | "/ready" | "/metrics" if method != Method::GET && method != Method::HEAD => {
            Err(ApiError::Method { received: method.clone(), expected: Method::GET })
        }
        "/live" => Ok(done()),
        "/ready" => is_ready(state, false).await,
        "/metrics" => text(&state.running),
        _ => Err(ApiError::NoSuchApi),
    };
    answered.unwrap_or_else(ApiError::into_response)
}
