//! The server: accepts connections, serves each in a task of its own, drains at the end. New connections get the TLS
//! config of the moment.
//!
//! | file | what it does with a request |
//! |---|---|
//! | `connection.rs` | one connection: handshake, HTTP/1.1 or HTTP/2, time-outs; `header_deadline.rs`, `read_ahead.rs`, `activity.rs` and `pass_writes_on.rs` are its parts |
//! | `record.rs` | counts the request from its head on, and records its outcome once |
//! | `router.rs` | the route, the gate, the limits, the body, then the handler |
//! | `access.rs` | who the client is, and the decision about access |
//! | `body.rs` | the deadline, and the body |
//!
//! Beside the requests: `reload.rs` builds the state of a config and swaps it, `watch.rs` polls files for changes,
//! `probe.rs` answers probes over plain HTTP, `systemd.rs` notifies the service manager.

#[macro_use]
mod pass_writes_on;
pub mod access;
mod activity;
mod body;
mod connection;
mod header_deadline;
pub mod listen;
pub mod probe;
mod read_ahead;
mod record;
pub mod reload;
mod router;
pub mod systemd;
pub mod watch;

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
use connection::Connection;

/// Descriptors left for everything else: the store, its connections, probes, those over the limit; half of all where
/// there are few.
const SPARE_FILES: usize = 256;

/// How long the store may take to let go of its connections at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept: without descriptors it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until [`crate::state::Running::stopping`] is cancelled, then lets open requests finish for at most `drain`
/// and closes the keys. The answer is whether all finished.
pub async fn run(listener: TcpListener, current: Arc<Current>, drain: Duration) -> bool {
    let running = current.get().running.clone();
    let tasks = TaskTracker::new();
    let files = process::max_open_files();
    let most = files.saturating_sub(SPARE_FILES.min(files / 2)).max(1);
    let limit = || current.get().config.limits.connections.min(most);
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
                let connection = Connection {
                    address,
                    over: Some(limit()).filter(|limit| slot.is_over(*limit)),
                    acceptor: TlsAcceptor::from(current.get().tls.clone()),
                    current: current.clone(),
                };
                let open = running.metrics.connection();
                let stopping = running.stopping.child_token();
                tasks.spawn(async move {
                    connection.serve(stream, stopping).await;
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
    info!(connections = tasks.len(), seconds = drain.as_secs_f64(), "stopping: open requests may finish");
    let drained = timeout(drain, async {
        tasks.wait().await;
        running.tasks.close();
        running.tasks.wait().await;
    })
    .await
    .is_ok();
    if !drained {
        warn!(connections = tasks.len(), "some requests did not finish in time");
    }
    if timeout(CLOSE_TIMEOUT, current.get().keys.close()).await.is_err() {
        warn!("the keystore's connections could not be closed in time");
    }
    drained
}
