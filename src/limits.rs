//! How much may be under way at the same time: beyond it a request is refused at once, before its body is read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::Limits;
use crate::error::ApiError;
use crate::identity::Identity;
use crate::state::Running;

/// Connections over the limit that are accepted to be told so. Further ones wait in the system's queue.
const TOLD: usize = 32;

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
    /// Requests of those who look at the server, which have as much room of their own.
    looks: AtomicUsize,
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
    running: Arc<Running>,
    kind: Kind,
    identity: Option<Identity>,
}

/// What a request is counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It works with keys, policies or identities.
    Work,
    /// It looks at the server: status, readiness, metrics. It is served when there is too much work.
    Look,
}

/// Room for a large body, and for the answer, which is as large. Given back when the last clone is dropped, or its time
/// is up.
#[derive(Clone, Debug)]
pub struct Room(#[expect(dead_code, reason = "its drop is what counts")] Arc<DropGuard>);

/// A connection counts as open until its slot is dropped.
#[derive(Debug)]
pub struct Slot(Arc<Running>);

impl Permit {
    /// Lets a request of `identity` begin.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`] when the client has as many under way as it may, [`ApiError::Overloaded`] when
    /// all clients together have.
    pub fn take(
        running: &Arc<Running>,
        limits: &Limits,
        kind: Kind,
        identity: Option<&Identity>,
    ) -> Result<Self, ApiError> {
        let load = &running.load;
        let before = load.count(kind).fetch_add(1, Ordering::AcqRel);
        let mut permit = Self { running: running.clone(), kind, identity: None };
        if before >= limits.requests {
            return Err(ApiError::Overloaded(limits.requests));
        }
        if let (Kind::Work, Some(limit), Some(identity)) = (kind, limits.requests_per_identity, identity) {
            let mut counts = load.counts();
            let count = counts.entry(identity.clone()).or_default();
            if *count >= limit {
                return Err(ApiError::TooManyRequests(limit));
            }
            *count += 1;
            permit.identity = Some(identity.clone());
        }
        Ok(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let load = &self.running.load;
        load.count(self.kind).fetch_sub(1, Ordering::AcqRel);
        let Some(identity) = &self.identity else { return };
        let mut counts = load.counts();
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
    pub async fn take(running: &Running, bytes: usize) -> Self {
        let bytes = u32::try_from(bytes.min(BODIES)).unwrap_or(u32::MAX);
        let taken = running.load.room.clone().acquire_many_owned(bytes).await;
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
    pub async fn take(running: &Arc<Running>, limit: impl Fn() -> usize) -> Self {
        let load = &running.load;
        loop {
            if load.connections.load(Ordering::Acquire) < limit().saturating_add(TOLD) {
                load.connections.fetch_add(1, Ordering::AcqRel);
                return Self(running.clone());
            }
            // It remembers a connection that ends in between. A reload may raise the limit meanwhile.
            let _ = timeout(LOOK_AGAIN, load.connection_ended.notified()).await;
        }
    }

    /// Whether more connections than `limit` are open, this one included: its client is to be told so.
    pub fn is_over(&self, limit: usize) -> bool {
        self.0.load.connections.load(Ordering::Acquire) > limit
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.load.connections.fetch_sub(1, Ordering::AcqRel);
        self.0.load.connection_ended.notify_one();
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            requests: AtomicUsize::default(),
            looks: AtomicUsize::default(),
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
            Kind::Work => &self.requests,
            Kind::Look => &self.looks,
        }
    }

    // A poisoned lock is as good as another: no change is left half done.
    fn counts(&self) -> MutexGuard<'_, HashMap<Identity, usize>> {
        self.by_identity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
