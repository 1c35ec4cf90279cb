//! The state of a server: [`State`], which is derived from the config and replaced as a whole by a reload, and
//! [`Running`], which stays the same until the process ends.

use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::keys::Keys;
use crate::policy::Policies;
use crate::telemetry::audit::Audit;
use crate::telemetry::console::Console;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::stream::Broadcast;
use limits::Load;

pub mod limits;
pub mod shares;

/// The state derived from a config. A request keeps the state it started with.
#[derive(Debug)]
pub struct State {
    /// The config itself.
    pub config: Config,
    /// The keys with their cache.
    pub keys: Keys,
    /// The policies and identities.
    pub policies: Policies,
    /// TLS for new connections.
    pub tls: Arc<ServerConfig>,
    /// Verifies chains of clients after the handshake, with `tls.auth: on`.
    pub verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Audit events.
    pub audit: Audit,
    /// What a reload does not replace.
    pub running: Arc<Running>,
    /// A digest of the files that the keystore was opened with.
    pub store_files: [u8; 32],
    /// Cancelled when the last request that uses this state has finished.
    pub idle: CancellationToken,
    /// Cancels `idle` when the state is dropped.
    pub in_use: DropGuard,
}

/// What exists once per server and survives reloads.
#[derive(Debug)]
pub struct Running {
    /// Counters and gauges.
    pub metrics: Metrics,
    /// The stream of audit events.
    pub audit: Broadcast,
    /// The console for audit events, if the config enables it.
    pub audit_console: Console,
    /// The stream of log lines of level WARN and above.
    pub errors: Broadcast,
    /// The current load, for the limits.
    pub load: Arc<Load>,
    /// When the server started.
    pub started: Instant,
    /// Number of threads that serve requests.
    pub worker_threads: usize,
    /// Tasks that must finish even if no client waits for them: creates, imports and deletes, and the closing of
    /// keystores.
    pub tasks: TaskTracker,
    /// Cancelled when the server starts to stop, which ends endless responses.
    pub stopping: CancellationToken,
    /// The state in use, for requests that outlive theirs. Weak, because a state ends with its last request.
    pub in_use: watch::Sender<Weak<State>>,
}

/// The state for new requests and connections.
#[derive(Debug)]
pub struct Current(ArcSwap<State>);

impl Current {
    /// Starts with the first state of a server.
    pub fn new(state: Arc<State>) -> Self {
        state.running.in_use.send_replace(Arc::downgrade(&state));
        Self(ArcSwap::new(state))
    }

    /// The current state.
    pub fn get(&self) -> Arc<State> {
        self.0.load_full()
    }

    /// Replaces the state; requests that use the previous one keep it.
    pub fn replace(&self, state: Arc<State>) {
        state.running.in_use.send_replace(Arc::downgrade(&state));
        self.0.store(state);
    }
}
