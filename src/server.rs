//! The server: accepts connections, serves each in its own task, and drains them when it stops. New connections use the
//! current TLS config.
//!
//! | file | what it does with a request |
//! |---|---|
//! | `connection.rs` | one connection: handshake, HTTP/1.1 or HTTP/2, timeouts; uses `header_deadline.rs`, `read_ahead.rs`, `activity.rs`, `watched.rs`, `stalls.rs`, `writes.rs` and `pass_writes_on.rs` |
//! | `answer.rs` | the answer, which is open until the client has taken it |
//! | `record.rs` | counts the request as active once its head has arrived, and records its outcome once |
//! | `router.rs` | route, access, limits and body, then the handler |
//! | `access.rs` | identifies the client and decides about access |
//! | `body.rs` | the deadline, and the body |
//!
//! In addition, `newcomers.rs` bounds the connections that have not finished their handshake, `reload.rs` builds the state
//! for a config (`keystore.rs` opens its keystore) and replaces it, `watch.rs` polls files for changes, `probe.rs` answers
//! probes over plain HTTP, and `systemd.rs` notifies the service manager.

#[macro_use]
mod pass_writes_on;
pub mod access;
mod activity;
mod answer;
mod body;
mod connection;
mod header_deadline;
mod keystore;
pub mod listen;
mod newcomers;
pub mod probe;
mod read_ahead;
mod record;
pub mod reload;
mod router;
mod stalls;
pub mod systemd;
pub mod watch;
mod watched;
mod writes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::process;
use crate::state::Current;
use crate::state::limits::Slot;
use crate::telemetry::rarely::Rarely;
use connection::Connection;
use newcomers::Newcomers;

/// File descriptors reserved for everything except connections: the keystore, probes, connections over the limit. Half
/// of all descriptors if there are few.
const SPARE_FILES: usize = 256;

/// Connections that may be in their handshake in any case. There may be a quarter of all, if that is more.
const NEWCOMERS: usize = 16;

/// How long closing the keystore may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept; without free descriptors it would fail again immediately.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until [`crate::state::Running::stopping`] is cancelled, then lets open requests finish for at most `drain`
/// and closes the keys. Returns whether all requests finished.
pub async fn run(listener: TcpListener, current: Arc<Current>, drain: Duration) -> bool {
    let running = current.get().running.clone();
    let tasks = TaskTracker::new();
    let files = process::max_open_files();
    running.load.set_most_connections(files.saturating_sub(SPARE_FILES.min(files / 2)).max(1));
    let limit = || running.load.connection_limit(&current.get().config.limits);
    let newcomers = Newcomers::default();
    loop {
        let next = async {
            let slot = Slot::take(&running.load, limit).await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = running.stopping.cancelled() => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, address)) => {
                let address = SocketAddr::new(address.ip().to_canonical(), address.port()); // IPv4 on an IPv6 socket
                let (newcomer, is_full) = newcomers.enter((limit() / 4).max(NEWCOMERS));
                if is_full {
                    tell_full(address);
                }
                let connection = Connection {
                    address,
                    exceeded_limit: Some(limit()).filter(|limit| slot.is_over(*limit)),
                    acceptor: TlsAcceptor::from(current.get().tls.clone()),
                    current: current.clone(),
                };
                let open = running.metrics.connection();
                let stopping = running.stopping.child_token();
                tasks.spawn(async move {
                    connection.serve(stream, newcomer, stopping).await;
                    drop((slot, open));
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    info!(connections = tasks.len(), seconds = drain.as_secs_f64(), "stopping; waiting for requests in progress");
    let drained = timeout(drain, async {
        tasks.wait().await;
        running.tasks.close();
        running.tasks.wait().await;
    })
    .await
    .is_ok();
    if !drained {
        warn!(connections = tasks.len(), "some requests did not finish in time; stopping anyway");
    }
    if timeout(CLOSE_TIMEOUT, current.get().keys.close()).await.is_err() {
        warn!("the keystore was not closed in time");
    }
    drained
}

/// Says that handshakes are cut off to make room for new ones, now and then.
fn tell_full(address: SocketAddr) {
    static TOLD: Rarely = Rarely::new();
    if let Some(unsaid) = TOLD.is_due() {
        let ip = address.ip();
        warn!(newest = %ip, unsaid, "too many connections without a finished handshake; closing the oldest ones");
    }
}
