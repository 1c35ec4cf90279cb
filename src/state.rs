//! The state of a running server: everything that a request needs, in one struct that can be swapped whole.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::Audit;
use crate::config;
use crate::identity::Identity;
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::policy::Policies;
use crate::router::Route;
use crate::stream::Broadcast;

/// What the server runs with.
#[derive(Debug)]
pub struct State {
    /// The keys, behind their cache.
    pub keys: Keys,
    /// Who may do what.
    pub policies: Policies,
    /// Options of single APIs, by route path.
    pub api: BTreeMap<String, config::Api>,
    /// Who may speak for other clients.
    pub proxy: Option<config::Proxy>,
    /// Counters and gauges.
    pub metrics: Metrics,
    /// Audit events.
    pub audit: Audit,
    /// The stream of log lines of level WARN and above.
    pub errors: Broadcast,
    /// When the server started.
    pub started: Instant,
    /// Threads that serve requests.
    pub worker_threads: usize,
    /// What must come to its end although nobody waits for it: creates, imports and deletes.
    pub mutations: TaskTracker,
    /// Cancelled when the server begins to stop: endless responses end then.
    pub stopping: CancellationToken,
}

impl State {
    /// How long a request to `route` may take; zero: as long as it likes.
    pub fn timeout(&self, route: &Route) -> Duration {
        self.api.get(route.options_path()).and_then(|options| options.timeout).unwrap_or(route.timeout)
    }

    /// Whether the config lets everybody ask `route`.
    pub fn skips_auth(&self, route: &Route) -> bool {
        self.api.get(route.options_path()).is_some_and(|options| options.skip_auth)
    }

    /// Whether `identity` is a proxy that may speak for other clients.
    pub fn is_proxy(&self, identity: &Identity) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.identities.contains(identity))
    }
}
