//! What a server runs with: [`State`], all that its config says, which reload swaps whole, and [`Running`], what stays
//! the same for as long as the process lives.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::keys::Keys;
use crate::policy::Policies;
use crate::telemetry::audit::Audit;
use crate::telemetry::log::Console;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::stream::Broadcast;
use limits::Load;

pub mod limits;

/// What the config says, ready for use. A request keeps the state it began with.
#[derive(Debug)]
pub struct State {
    /// The config itself.
    pub config: Config,
    /// The keys, behind their cache.
    pub keys: Keys,
    /// Who may do what.
    pub policies: Policies,
    /// TLS for new connections.
    pub tls: Arc<ServerConfig>,
    /// Audit events.
    pub audit: Audit,
    /// What outlives this state.
    pub running: Arc<Running>,
    /// A digest of the files that the keystore was opened with.
    pub store_files: [u8; 32],
    /// Cancelled when the last request that began with this state is done.
    pub idle: CancellationToken,
    /// What does that.
    pub in_use: DropGuard,
}

/// What lives as long as the server, whatever is reloaded.
#[derive(Debug)]
pub struct Running {
    /// Counters and gauges.
    pub metrics: Metrics,
    /// The stream of audit events.
    pub audit: Broadcast,
    /// Where audit events are written, when the config says so.
    pub audit_console: Console,
    /// The stream of log lines of level WARN and above.
    pub errors: Broadcast,
    /// What is under way, for the limits.
    pub load: Arc<Load>,
    /// When the server started.
    pub started: Instant,
    /// Threads that serve requests.
    pub worker_threads: usize,
    /// What must come to its end although nobody waits for it: creates, imports and deletes, and the closing of
    /// stores.
    pub tasks: TaskTracker,
    /// Cancelled when the server begins to stop: endless responses end then.
    pub stopping: CancellationToken,
}

/// The state that new requests and connections begin with.
#[derive(Debug)]
pub struct Current(ArcSwap<State>);

impl Current {
    /// The first state of a server.
    pub fn new(state: Arc<State>) -> Self {
        Self(ArcSwap::new(state))
    }

    /// The state as it is now.
    pub fn get(&self) -> Arc<State> {
        self.0.load_full()
    }

    /// Puts `state` in the place of the present one, which lives on with the requests that use it.
    pub fn replace(&self, state: Arc<State>) {
        self.0.store(state);
    }
}
