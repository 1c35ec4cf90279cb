//! How much may be under way at the same time: beyond it a request is refused at once, before its body is read.

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

/// Connections over the limit that are accepted so that their client gets a reason. Further ones wait in the system's
/// queue.
const MAX_REJECTIONS: usize = 32;

/// How long a raised limit may go unnoticed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Bytes of large bodies that are under way at a time. A larger body waits for room before it is read, so that what
/// many clients send at once does not lie in memory at once, where one core works at one of them at a time.
pub const BODIES: usize = 32 << 20;

/// Bytes of a body that need no room.
pub const SMALL_BODY: usize = 16 << 10;

/// How long a request may keep others out of its room, should its client be slow to send or to take the answer: a body
/// of a MiB takes less on 10 Mbit/s. Its memory is then its own, as that of a small one.
const ROOM_TIME: Duration = Duration::from_secs(2);

/// What is under way.
#[derive(Debug)]
pub struct Load {
    requests: AtomicUsize,
    /// Monitoring requests, which have a limit of their own, as high.
    monitoring: AtomicUsize,
    /// Of identities with a request under way, where that has a limit.
    by_identity: Mutex<HashMap<Identity, usize>>,
    connections: AtomicUsize,
    /// Wakes who waits for a connection to end.
    connection_ended: Notify,
    /// Bytes of room that are left for large bodies.
    room: Arc<Semaphore>,
}

/// A request counts as under way until its permit is dropped.
#[derive(Debug)]
pub struct Permit {
    load: Arc<Load>,
    kind: Kind,
    identity: Option<Identity>,
}

/// What a request is counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For keys, policies or identities.
    Request,
    /// Of the server itself: status, readiness, metrics. These are served when there are too many of the others.
    Monitoring,
}

/// More requests are under way than the config allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// `limits.requests`: of all clients together.
    #[error("too many requests: the server takes at most {0} at a time")]
    Requests(usize),
    /// `limits.requests_per_identity`: of this client.
    #[error("too many requests: one identity may have at most {0} at a time")]
    RequestsPerIdentity(usize),
}

/// Room for a large body, and for the answer, which is as large. Given back when the last clone is dropped, or its time
/// is up.
#[derive(Clone, Debug)]
pub struct Room(#[expect(dead_code, reason = "its drop is what counts")] Arc<DropGuard>);

/// A connection counts as open until its slot is dropped.
#[derive(Debug)]
pub struct Slot(Arc<Load>);

impl Permit {
    /// Lets a request of `identity` begin.
    ///
    /// # Errors
    /// [`LimitExceeded`]
    pub fn take(
        load: &Arc<Load>,
        limits: &Limits,
        kind: Kind,
        identity: Option<&Identity>,
    ) -> Result<Self, LimitExceeded> {
        let before = load.count(kind).fetch_add(1, Ordering::AcqRel);
        let mut permit = Self { load: load.clone(), kind, identity: None };
        if before >= limits.requests {
            return Err(LimitExceeded::Requests(limits.requests));
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

impl Room {
    /// Waits for room for a body of so many bytes, [`BODIES`] at most. Who came first gets it first.
    pub async fn take(load: &Load, bytes: usize) -> Self {
        let bytes = u32::try_from(bytes.min(BODIES)).unwrap_or(u32::MAX);
        let taken = load.room.clone().acquire_many_owned(bytes).await;
        let given_back = CancellationToken::new();
        let room = Self(Arc::new(given_back.clone().drop_guard()));
        tokio::spawn(async move {
            let _ = timeout(ROOM_TIME, given_back.cancelled()).await;
            drop(taken);
        });
        room
    }
}

impl Slot {
    /// Waits until one more connection may be accepted. For the one loop that accepts.
    pub async fn take(load: &Arc<Load>, limit: impl Fn() -> usize) -> Self {
        loop {
            if load.connections.load(Ordering::Acquire) < limit().saturating_add(MAX_REJECTIONS) {
                load.connections.fetch_add(1, Ordering::AcqRel);
                return Self(load.clone());
            }
            // It remembers a connection that ends in between. A reload may raise the limit meanwhile.
            let _ = timeout(LOOK_AGAIN, load.connection_ended.notified()).await;
        }
    }

    /// Whether more connections than `limit` are open, this one included: its client is to be told so.
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
            connection_ended: Notify::new(),
            room: Arc::new(Semaphore::new(BODIES)),
        }
    }
}

impl Load {
    fn count(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Request => &self.requests,
            Kind::Monitoring => &self.monitoring,
        }
    }
}
