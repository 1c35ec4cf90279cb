//! How a name is assigned only once on KV v1, which has no check-and-set: with a short-lived claim next to the keys.
//!
//! Check, then write (as KES does) allows two nodes to write one after the other, and both report "created". Reading
//! back after a pause reduces that, at the cost of the pause, but a node that stalls between its check and its write
//! still overwrites a key that is in use. So a creator first creates a claim, `PREFIX/.keyway/claims/NAME/ID` with a
//! unique ID, and lists the claims of the name:
//!
//! 1. If its claim is the only one, the creator owns the name until it removes the claim. It checks that the name is
//!    free, writes, reads back, and removes the claim.
//! 2. If there is an earlier claim (IDs begin with the time), it removes its own, waits, and starts again.
//! 3. If all others are later, it keeps its claim and waits for the others to remove theirs.
//!
//! # What is guaranteed
//! Of any number of creators of one name, in any interleaving, at most one gets `Ok`, and what it wrote existed at that
//! time. Proof: let A and B both find that their claim is the only one, and let B's claim be the one written last. B
//! lists after that, and does not find A's claim, so A has removed it, which A does after its write. So B's check finds
//! the key of A. This does not depend on clocks, only on Vault's storage returning every acknowledged write to a later
//! read or list, which holds for the active node and for standbys that forward to it.
//!
//! A creator that dies leaves its claim behind. It is removed by the next creator that has seen it for [`STALE`]. Until
//! then the name cannot be created, and the attempt is an error. A creator that is slower than that never returns `Ok`:
//! it measures its own time after reading back. And it starts to write only within [`WRITE_WITHIN`] of its claim; bytes
//! that are not acknowledged then end with their connection (`vault/client.rs`), so that no late write follows a
//! removal.
//!
//! # What is not guaranteed
//! - A write that is delayed for longer than [`STALE`] after it was sent (by a proxy that stores it, by Vault's
//!   storage, or because the machine stopped between reading the clock and the write) can replace the key of a later
//!   creator. Its sender gets an error, not `Ok`, but the other key is lost. Only check-and-set helps: KV v2.
//! - Programs that write without claims, such as KES, are detected by the check and by reading back, but not prevented.
//!   Do not let KES and Keyway create keys on the same KV v1 engine at the same time.
//! - Performance standbys of Vault Enterprise may return outdated reads. Configure the active node, or use KV v2.
//!
//! Claims contain no key material. A listing of the engine contains the folder `.keyway/` while a create is in
//! progress; it is not a valid key name. The policy needs create, read, list and delete below the prefix, as for keys.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex as Lock;
use tokio::sync::Mutex;
use tracing::warn;

use crate::Name;
use crate::vault::auth::{random, spread};
use crate::vault::client::UNACKNOWLEDGED;

/// How old our own claim may be at the start of the write.
pub(super) const WRITE_WITHIN: Duration = Duration::from_secs(3);

/// For how long a claim must have been seen until it counts as left behind: the latest start of the write, the longest
/// lifetime of its bytes in the network, and the rest for the work of Vault itself.
pub(super) const STALE: Duration = Duration::from_secs(12);

const _: () = assert!(STALE.as_secs() > WRITE_WITHIN.as_secs() + UNACKNOWLEDGED.as_secs());

/// The pause between two listings of the claims.
const PAUSE: Duration = Duration::from_millis(25);

/// For how long a claim is remembered.
const REMEMBER: Duration = Duration::from_mins(10);

/// The turns of creators within this process, and the claims that it has seen.
#[derive(Debug)]
pub(super) struct Claims {
    /// The turns by the hash of the name, so that creators within one process take turns without requests to Vault.
    turns: Vec<Mutex<()>>,
    seen: Lock<HashMap<String, Instant>>,
}

impl Default for Claims {
    fn default() -> Self {
        Self { turns: (0..256).map(|_| Mutex::default()).collect(), seen: Lock::default() }
    }
}

/// What to do next, after creating our own claim and listing all claims of the name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Our claim is the only one: create the key.
    Only,
    /// Keep the claim, and list again after a pause.
    Wait,
    /// Remove our claim, and start again after a pause.
    Withdraw,
    /// Remove this claim, which was left behind, and list again.
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

    /// An ID for a claim, and the time from which to count its age.
    pub(super) fn create_id(&self) -> (String, Instant) {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let id = format!("{millis:013x}-{:016x}", random());
        let now = Instant::now();
        self.seen(&id, now);
        (id, now)
    }

    /// When this claim was first seen here.
    fn seen(&self, id: &str, now: Instant) -> Instant {
        let mut seen = self.seen.lock();
        seen.retain(|_, then| now.duration_since(*then) < REMEMBER);
        *seen.entry(id.to_owned()).or_insert(now)
    }

    /// Evaluates the claims of a name.
    pub(super) fn evaluate(&self, name: &Name, own: &str, listed: &[String]) -> Verdict {
        let now = Instant::now();
        let mut earliest = None;
        for other in listed.iter().filter(|id| id.as_str() != own) {
            if now.duration_since(self.seen(other, now)) >= STALE {
                warn!(
                    "removing the claim on the key '{name}' in Vault that an interrupted create left behind at least \
                     {STALE:?} ago"
                );
                return Verdict::Remove(other.clone());
            }
            earliest = earliest.min(Some(other)).or(Some(other));
        }
        match earliest {
            None if listed.iter().any(|id| id == own) => Verdict::Only,
            // Ours is gone: another creator has removed it as left behind.
            None => Verdict::Withdraw,
            Some(other) if other.as_str() < own => Verdict::Withdraw,
            Some(_) => Verdict::Wait,
        }
    }
}

/// Waits before the next listing.
pub(super) async fn pause() {
    tokio::time::sleep(spread(PAUSE)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(claims: &Claims, own: &str, listed: &[&str]) -> Verdict {
        let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
        claims.evaluate(&Name::parse("k").unwrap(), own, &listed)
    }

    #[test]
    fn the_earliest_claim_waits_and_the_others_withdraw() {
        let claims = Claims::default();
        assert_eq!(evaluate(&claims, "b", &["b"]), Verdict::Only);
        assert_eq!(evaluate(&claims, "b", &["b", "c", "d"]), Verdict::Wait);
        assert_eq!(evaluate(&claims, "b", &["c", "a", "b"]), Verdict::Withdraw);
    }

    #[test]
    fn a_creator_that_does_not_see_its_own_claim_withdraws() {
        assert_eq!(evaluate(&Claims::default(), "b", &[]), Verdict::Withdraw);
    }

    #[test]
    fn a_claim_counts_as_left_behind_only_after_it_was_seen_for_long() {
        let claims = Claims::default();
        assert_eq!(evaluate(&claims, "b", &["a", "b"]), Verdict::Withdraw);
        let Some(long_ago) = Instant::now().checked_sub(STALE) else { return };
        claims.seen.lock().insert("a".to_owned(), long_ago);
        assert_eq!(evaluate(&claims, "b", &["a", "b"]), Verdict::Remove("a".to_owned()));
    }

    #[test]
    fn ids_of_claims_differ() {
        let claims = Claims::default();
        assert_ne!(claims.create_id().0, claims.create_id().0);
    }
}
