//! Limits on concurrent work: requests that exceed them are rejected immediately, before their body is read. Each client's
//! part of them is in `shares.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::Limits;
use crate::identity::Identity;
use crate::state::shares::{LOOKS_PER_CONNECTION, Look, LookRefused, Shares, Visitor};

/// Connections over the limit that are accepted to tell the client the reason. Further ones wait in the queue of the
/// system.
pub const MAX_REJECTIONS: usize = 32;

/// The maximum delay until a raised limit takes effect.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Memory for large request bodies, in bytes. A large body must reserve its size before it is read, so that many
/// concurrent uploads do not accumulate in memory while each core processes only one of them at a time.
pub const BODY_MEMORY: usize = 32 << 20;

/// The maximum size of a body that needs no reservation, in bytes.
pub const SMALL_BODY: usize = 16 << 10;

/// The maximum size of a listing, in bytes: what the official SDK reads. Reserved before it is made.
pub const MAX_LISTING: usize = 1 << 20;

/// The maximum duration of a reservation, so that a slow client does not block others: a body of 1 MiB takes less time
/// at 10 Mbit/s. After that, its memory is no longer counted, like that of a small body.
const MAX_RESERVATION: Duration = Duration::from_secs(2);

/// The current load of a server.
#[derive(Debug)]
pub struct Load {
    requests: AtomicUsize,
    /// Monitoring requests, which have a separate limit of the same size.
    monitoring: AtomicUsize,
    /// By identity, if `limits.requests_per_identity` is set; only identities with open requests.
    by_identity: Mutex<HashMap<Identity, usize>>,
    connections: AtomicUsize,
    /// As many connections as the descriptors of the process allow.
    most_connections: AtomicUsize,
    /// Notified when a connection ends.
    connection_ended: Notify,
    /// The free part of [`BODY_MEMORY`].
    body_memory: Arc<Semaphore>,
    /// What each client uses.
    pub shares: Shares,
}

/// Counts a request as open until it is dropped.
#[derive(Debug)]
pub struct Permit {
    load: Arc<Load>,
    kind: Kind,
    identity: Option<Identity>,
    /// Held for its Drop.
    look: Option<Look>,
}

/// How a request is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests for keys, policies or identities.
    Request,
    /// Requests for status, readiness and metrics, which are answered even if there are too many of the others.
    Monitoring,
}

/// There are more concurrent requests than the config allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// `limits.requests`, for all clients together.
    #[error("too many concurrent requests: the limit is {0}")]
    Requests(usize),
    /// `limits.requests_per_identity`, for this client.
    #[error("too many concurrent requests of this identity: the limit is {0}")]
    RequestsPerIdentity(usize),
    /// Requests of [`Kind::Monitoring`] on one connection.
    #[error("too many concurrent requests for the state of the server on this connection: the limit is {0}")]
    LooksPerConnection(usize),
    /// Requests of [`Kind::Monitoring`] of one client, or of all clients that the config does not have.
    #[error("too many concurrent requests for the state of the server: the limit for this client is {0}")]
    LooksPerClient(usize),
}

impl From<LookRefused> for LimitExceeded {
    fn from(refused: LookRefused) -> Self {
        match refused {
            LookRefused::Connection => Self::LooksPerConnection(LOOKS_PER_CONNECTION),
            LookRefused::Share(limit) => Self::LooksPerClient(limit),
        }
    }
}

/// Memory reserved for a large body and its response of about the same size. Released when the last clone is dropped,
/// or after `MAX_RESERVATION`.
#[derive(Clone, Debug)]
pub struct Reservation(#[expect(dead_code, reason = "held for its Drop")] Arc<DropGuard>);

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub struct Slot(Arc<Load>);

impl Permit {
    /// Counts a request of `identity` on the connection of `visitor`, if the limits allow it.
    ///
    /// # Errors
    /// [`LimitExceeded`]
    pub fn take(
        load: &Arc<Load>,
        limits: &Limits,
        kind: Kind,
        identity: Option<&Identity>,
        visitor: &Arc<Visitor>,
    ) -> Result<Self, LimitExceeded> {
        let before = load.count(kind).fetch_add(1, Ordering::AcqRel);
        let mut permit = Self { load: load.clone(), kind, identity: None, look: None };
        if before >= limits.requests {
            return Err(LimitExceeded::Requests(limits.requests));
        }
        if kind == Kind::Monitoring {
            permit.look = Some(visitor.look(limits)?);
        }
        if let (Kind::Request, Some(limit), Some(identity)) = (kind, limits.requests_per_identity, identity) {
            let mut counts = load.by_identity.lock();
            let count = counts.entry(identity.clone()).or_default();
            if *count >= limit {
                return Err(LimitExceeded::RequestsPerIdentity(limit));
            }
            *count += 1;
            permit.identity = Some(identity.clone());
        }
        Ok(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let load = &self.load;
        load.count(self.kind).fetch_sub(1, Ordering::AcqRel);
        let Some(identity) = &self.identity else { return };
        let mut counts = load.by_identity.lock();
        if let Some(count) = counts.get_mut(identity) {
            *count -= 1;
            if *count == 0 {
                counts.remove(identity);
            }
        }
    }
}

impl Reservation {
    /// Waits until `bytes` are free, at most [`BODY_MEMORY`]. Reservations are granted in order.
    pub async fn take(load: &Load, bytes: usize) -> Self {
        let bytes = u32::try_from(bytes.min(BODY_MEMORY)).unwrap_or(u32::MAX);
        let permit = load.body_memory.clone().acquire_many_owned(bytes).await;
        let released = CancellationToken::new();
        let reservation = Self(Arc::new(released.clone().drop_guard()));
        tokio::spawn(async move {
            let _ = timeout(MAX_RESERVATION, released.cancelled()).await;
            drop(permit);
        });
        reservation
    }
}

impl Slot {
    /// Waits until another connection may be accepted. Only for the accept loop.
    pub async fn take(load: &Arc<Load>, limit: impl Fn() -> usize) -> Self {
        loop {
            if load.connections.load(Ordering::Acquire) < limit().saturating_add(MAX_REJECTIONS) {
                load.connections.fetch_add(1, Ordering::AcqRel);
                return Self(load.clone());
            }
            // `Notify` stores a notification that arrives in between. A reload may raise the limit in the meantime.
            let _ = timeout(RECHECK_INTERVAL, load.connection_ended.notified()).await;
        }
    }

    /// Whether more than `limit` connections are open, including this one; then its client gets an error.
    pub fn is_over(&self, limit: usize) -> bool {
        self.0.connections.load(Ordering::Acquire) > limit
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
        self.0.connection_ended.notify_one();
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            requests: AtomicUsize::default(),
            monitoring: AtomicUsize::default(),
            by_identity: Mutex::default(),
            connections: AtomicUsize::default(),
            most_connections: AtomicUsize::new(usize::MAX),
            connection_ended: Notify::new(),
            body_memory: Arc::new(Semaphore::new(BODY_MEMORY)),
            shares: Shares::default(),
        }
    }
}

impl Load {
    /// Sets how many connections the descriptors of the process allow.
    pub fn set_most_connections(&self, most: usize) {
        self.most_connections.store(most, Ordering::Relaxed);
    }

    /// The limit on connections in force: `limits.connections`, or what the descriptors of the process allow.
    pub fn connection_limit(&self, limits: &Limits) -> usize {
        limits.connections.min(self.most_connections.load(Ordering::Relaxed))
    }

    fn count(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Request => &self.requests,
            Kind::Monitoring => &self.monitoring,
        }
    }
}
