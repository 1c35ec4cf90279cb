//! Shares of the limits: how much one client, or all strangers together, may use of what everybody needs.
//!
//! A client is known if the config has its identity. Strangers cannot be told apart in a way that counts, because anybody
//! can create certificates: they have one share together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::config::Limits;
use crate::identity::Identity;

/// Looks (status, readiness, metrics and the like) that one connection may have in progress.
pub const LOOKS_PER_CONNECTION: usize = 16;

/// Answers that may wait on each connection without counting towards a share: those of a client that is merely slow.
pub const FREE_ANSWERS: usize = 4;

/// The shares of all clients.
#[derive(Debug, Default)]
pub struct Shares {
    /// Only of identities in the config, which bounds it.
    known: Mutex<HashMap<Identity, Arc<Share>>>,
    strangers: Arc<Share>,
}

/// What a client, or all strangers together, use.
#[derive(Debug, Default)]
struct Share {
    connections: AtomicUsize,
    looks: AtomicUsize,
    answers: AtomicUsize,
}

/// The client of one connection, and its share.
#[derive(Debug)]
pub struct Visitor {
    share: Arc<Share>,
    is_known: bool,
    looks: AtomicUsize,
}

/// Counts a look until it is dropped.
#[derive(Debug)]
pub struct Look(Arc<Visitor>);

/// Why a look is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookRefused {
    /// Its connection has [`LOOKS_PER_CONNECTION`] in progress.
    Connection,
    /// Its client, or strangers together, use their share of this size.
    Share(usize),
}

impl Shares {
    /// A new connection of a client; `known` is its identity if the config has it.
    pub fn visitor(&self, known: Option<&Identity>) -> Arc<Visitor> {
        let share = match known {
            Some(identity) => self.known.lock().entry(identity.clone()).or_default().clone(),
            None => self.strangers.clone(),
        };
        share.connections.fetch_add(1, Ordering::AcqRel);
        Arc::new(Visitor { share, is_known: known.is_some(), looks: AtomicUsize::new(0) })
    }
}

impl Visitor {
    /// The limit on connections of strangers, half of `all`, and by how many it is exceeded, if this connection exceeds
    /// it. Known clients have none of their own.
    pub fn exceeds_connections(&self, all: usize) -> Option<(usize, usize)> {
        let limit = (all / 2).max(1);
        let excess = self.share.connections.load(Ordering::Acquire).saturating_sub(limit);
        (!self.is_known && excess > 0).then_some((limit, excess))
    }

    /// Counts a look.
    ///
    /// # Errors
    /// [`LookRefused`]
    pub(super) fn look(self: &Arc<Self>, limits: &Limits) -> Result<Look, LookRefused> {
        let on_connection = self.looks.fetch_add(1, Ordering::AcqRel);
        let in_share = self.share.looks.fetch_add(1, Ordering::AcqRel);
        let look = Look(self.clone()); // counted, even if it is refused and dropped now
        if on_connection >= LOOKS_PER_CONNECTION {
            return Err(LookRefused::Connection);
        }
        let limit = share_of(limits);
        if in_share >= limit { Err(LookRefused::Share(limit)) } else { Ok(look) }
    }

    /// Counts an answer that waits for its client on a connection where `others` wait, until [`Visitor::taken`].
    /// Returns whether it counts towards the share, and has to be given back.
    pub fn waits(&self, others: usize) -> bool {
        let counts = others >= FREE_ANSWERS;
        if counts {
            self.share.answers.fetch_add(1, Ordering::AcqRel);
        }
        counts
    }

    /// Gives back the place of one answer.
    pub fn taken(&self) {
        self.share.answers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether more answers wait for this client than its share allows.
    pub fn exceeds_answers(&self, limits: &Limits) -> bool {
        self.share.answers.load(Ordering::Acquire) > share_of(limits)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.share.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.0.looks.fetch_sub(1, Ordering::AcqRel);
        self.0.share.looks.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A quarter of `limits.requests`.
fn share_of(limits: &Limits) -> usize {
    (limits.requests / 4).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { connections: 4, requests: 80, requests_per_identity: None, subscribers: 1 };

    fn looks(visitor: &Arc<Visitor>) -> Vec<Look> {
        std::iter::from_fn(|| visitor.look(&LIMITS).ok()).collect()
    }

    #[test]
    fn strangers_share_a_quarter_of_the_looks_and_known_clients_keep_theirs() {
        let shares = Shares::default();
        let strangers = [None, None, None].map(|known| shares.visitor(known));
        let mut held: Vec<_> = strangers.iter().map(looks).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [LOOKS_PER_CONNECTION, 4, 0]);
        assert_eq!(strangers[2].look(&LIMITS).unwrap_err(), LookRefused::Share(20));
        let known = shares.visitor(Some(&Identity::from_text("a")));
        assert_eq!(looks(&known).len(), LOOKS_PER_CONNECTION);
        held.clear();
        assert_eq!(looks(&strangers[2]).len(), LOOKS_PER_CONNECTION, "looks that ended still count");
    }

    #[test]
    fn two_connections_of_an_identity_have_one_share() {
        let shares = Shares::default();
        let identity = Identity::from_text("a");
        let both = [Some(&identity); 2].map(|known| shares.visitor(known));
        assert_eq!(both.iter().map(looks).collect::<Vec<_>>().iter().map(Vec::len).sum::<usize>(), 20);
    }

    #[test]
    fn strangers_have_half_of_the_connections() {
        let shares = Shares::default();
        let first = [None, None].map(|known| shares.visitor(known));
        assert!(first.iter().all(|visitor| visitor.exceeds_connections(LIMITS.connections).is_none()));
        assert_eq!(shares.visitor(None).exceeds_connections(LIMITS.connections), Some((2, 1)));
        let known = Some(Identity::from_text("a"));
        let many: Vec<_> = (0..9).map(|_| shares.visitor(known.as_ref())).collect();
        assert!(many.iter().all(|visitor| visitor.exceeds_connections(LIMITS.connections).is_none()));
        drop(first);
        assert!(shares.visitor(None).exceeds_connections(LIMITS.connections).is_none(), "those that left still count");
    }
}
