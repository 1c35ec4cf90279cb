//! How a name is given once on KV v1, which knows no check-and-set: a short-lived claim beside the keys.
//!
//! Check, then write (as KES does) lets two nodes write one after the other, and both answer "created". Reading back
//! after a pause narrows that, at the price of the pause, but a node that stalls between its check and its write still
//! overwrites a key that is in use. So a creator first makes a claim, `PREFIX/.keyway/claims/NAME/ID` with an id of its
//! own, and lists the claims of the name:
//!
//! 1. If its claim is the only one, the name is its own until it takes the claim away. It checks that the name is free,
//!    writes, reads back, and takes the claim away.
//! 2. If it sees an earlier claim (ids begin with the time), it takes its own away, waits, and begins anew.
//! 3. If all others are later, it keeps its claim and waits for them to do that.
//!
//! # What is guaranteed
//! Of any number of creators of one name, in any interleaving, at most one is told `Ok`, and what it wrote was there
//! when it was told so. Let A and B both find themselves alone. Of their two claims, let B's be the one written last. B
//! lists after that, and does not see A's claim, so A has taken it away, and A does that after its write. So B's check
//! sees the key of A. This needs no clocks, only that Vault's storage answers a read or list with every write that it
//! has acknowledged, which holds for the active node and standbys that forward to it.
//!
//! A creator that dies leaves its claim. It is removed by the next one that has seen it for [`STALE`]. Until then the
//! name cannot be created, and that is answered as an error. A creator that is slower than that never answers `Ok`: it
//! compares its own time after reading back. And it starts to write only within [`WRITE_WITHIN`] of claiming; bytes
//! that are not acknowledged then die with their connection (`client.rs`), so that no late write follows a removal.
//!
//! # What is not guaranteed
//! - A write that is held up for longer than [`STALE`] after it was sent (by a proxy that stores it, by Vault's storage,
//!   or because the machine stopped between our look at the clock and the write) can replace the key of one who came
//!   later. Its sender is told an error, not `Ok`, but the other's key is gone. Only check-and-set helps: KV v2.
//! - Programs that write without claims, KES among them, are seen by the check and the reading back, not kept out. Do
//!   not let KES and Keyway create keys on the same KV v1 engine at the same time.
//! - Performance standbys of Vault Enterprise answer reads late. Name the active node, or use KV v2.
//!
//! Claims hold no key material. A lister of the engine sees the folder `.keyway/` while a create is under way; its name
//! is no valid key name. The policy needs create, read, list and delete below the prefix, as for keys.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex as Lock;
use tokio::sync::Mutex;
use tracing::warn;

use crate::Name;
use crate::vault::auth::{random, spread};
use crate::vault::client::UNACKNOWLEDGED;

/// How old one's own claim may be at the start of the write.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(3);

/// How long a claim must have been seen to be taken for left behind: the start of the write, the longest life of its
/// bytes on the way, and as long again as an operation may take for Vault's own work.
pub(super) const STALE: Duration = Duration::from_secs(12);

const _: () = assert!(STALE.as_secs() > WRITE_WITHIN.as_secs() + UNACKNOWLEDGED.as_secs());

/// The pause between two looks at the claims of others.
const PAUSE: Duration = Duration::from_millis(25);

/// How long a claim is remembered.
const MEMORY: Duration = Duration::from_mins(10);

/// The turns of creators within this process, and the claims it has seen.
#[derive(Debug)]
pub(super) struct Claims {
    /// A name's turn, by hash: creators in one process need no requests to find out about each other.
    turns: Vec<Mutex<()>>,
    seen: Lock<HashMap<String, Instant>>,
}

impl Default for Claims {
    fn default() -> Self {
        Self { turns: (0..256).map(|_| Mutex::default()).collect(), seen: Lock::default() }
    }
}

/// What to do, with one's own claim written and all claims of the name listed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The name is ours.
    Alone,
    /// Keep the claim, and look again after a pause.
    Stay,
    /// Take the claim away, and begin anew after a pause.
    Withdraw,
    /// Remove this claim, which somebody left behind, and look again.
    Remove(String),
}

impl Claims {
    /// Waits for the turn of `name` in this process.
    pub(super) async fn turn(&self, name: &Name) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let hash = name.as_str().bytes().fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        match self.turns.get(hash % self.turns.len()) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    /// An id for a claim, and the moment to count its age from.
    pub(super) fn make(&self) -> (String, Instant) {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let id = format!("{millis:013x}-{:016x}", random());
        let now = Instant::now();
        self.seen(&id, now);
        (id, now)
    }

    /// When this claim was first seen here.
    fn seen(&self, id: &str, now: Instant) -> Instant {
        let mut seen = self.seen.lock();
        seen.retain(|_, then| now.duration_since(*then) < MEMORY);
        *seen.entry(id.to_owned()).or_insert(now)
    }

    /// Judges the claims of a name.
    pub(super) fn judge(&self, name: &Name, own: &str, listed: &[String]) -> Verdict {
        let now = Instant::now();
        let mut earliest = None;
        for other in listed.iter().filter(|id| id.as_str() != own) {
            if now.duration_since(self.seen(other, now)) >= STALE {
                warn!(
                    "removing the claim on the key '{name}' in Vault that a create left behind {STALE:?} ago or more"
                );
                return Verdict::Remove(other.clone());
            }
            earliest = earliest.min(Some(other)).or(Some(other));
        }
        match earliest {
            None if listed.iter().any(|id| id == own) => Verdict::Alone,
            // Ours is gone: somebody has taken it for left behind.
            None => Verdict::Withdraw,
            Some(other) if other.as_str() < own => Verdict::Withdraw,
            Some(_) => Verdict::Stay,
        }
    }
}

/// The pause before the next look.
pub(super) async fn pause() {
    tokio::time::sleep(spread(PAUSE)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(claims: &Claims, own: &str, listed: &[&str]) -> Verdict {
        let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
        claims.judge(&Name::parse("k").unwrap(), own, &listed)
    }

    #[test]
    fn the_earliest_claim_stays_and_the_others_withdraw() {
        let claims = Claims::default();
        assert_eq!(judge(&claims, "b", &["b"]), Verdict::Alone);
        assert_eq!(judge(&claims, "b", &["b", "c", "d"]), Verdict::Stay);
        assert_eq!(judge(&claims, "b", &["c", "a", "b"]), Verdict::Withdraw);
    }

    #[test]
    fn who_does_not_see_its_own_claim_is_not_alone() {
        assert_eq!(judge(&Claims::default(), "b", &[]), Verdict::Withdraw);
    }

    #[test]
    fn a_claim_is_left_behind_only_when_it_was_seen_for_long() {
        let claims = Claims::default();
        assert_eq!(judge(&claims, "b", &["a", "b"]), Verdict::Withdraw);
        let Some(long_ago) = Instant::now().checked_sub(STALE) else { return };
        claims.seen.lock().insert("a".to_owned(), long_ago);
        assert_eq!(judge(&claims, "b", &["a", "b"]), Verdict::Remove("a".to_owned()));
    }

    #[test]
    fn claims_made_one_after_the_other_differ() {
        let claims = Claims::default();
        assert_ne!(claims.make().0, claims.make().0);
    }
}
