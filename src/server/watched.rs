//! Who is at the other end of a connection after the handshake, and what is watched while it is open.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{HandshakeKind, ServerConnection};
use tracing::warn;

use super::activity::{Activity, PATIENCE};
use super::writes::Writes;
use crate::config::Limits;
use crate::identity::Identity;
use crate::state::{Current, State};
use crate::telemetry::rarely::Rarely;
use crate::tls::peer::Peer;

/// An open connection; its requests share it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) current: Arc<Current>,
    pub(super) peer: Peer,
    pub(super) activity: Activity,
    pub(super) writes: Writes,
}

impl Watched {
    /// The client of a connection after the handshake. Also returns the limit on connections of strangers and by how
    /// many it is exceeded, if this one exceeds it.
    pub(super) fn new(
        current: Arc<Current>,
        address: SocketAddr,
        session: &ServerConnection,
        writes: Writes,
    ) -> (Self, Option<(usize, usize)>) {
        let state = current.get();
        let mut peer = Peer::new(address, session.peer_certificates());
        if let (Some(HandshakeKind::Resumed), Some(verifier)) = (session.handshake_kind(), &state.verifier) {
            peer = peer.verified(&**verifier, session.peer_certificates());
        }
        let known = peer.identity.as_ref().ok().filter(|identity| is_known(&state, identity));
        let visitor = state.running.load.shares.visitor(known);
        let exceeded = visitor.exceeds_connections(state.running.load.connection_limit(&state.config.limits));
        (Self { current, peer, activity: Activity::new(visitor), writes }, exceeded)
    }

    /// The limits now.
    pub(super) fn limits(&self) -> Limits {
        self.current.get().config.limits
    }

    /// Says that this connection is rejected, now and then.
    pub(super) fn tell_exceeded(&self, limit: usize) {
        static TOLD: Rarely = Rarely::new();
        if let Some(unsaid) = TOLD.is_due() {
            let (ip, identity) = (self.peer.address.ip(), self.identity());
            warn!(%ip, identity, unsaid, "too many connections: the limit is {limit}; further ones are rejected");
        }
    }

    /// Counts that this connection is closed because the client takes no answers, and says so, now and then.
    pub(super) fn tell_stalled(&self) {
        static TOLD: Rarely = Rarely::new();
        self.current.get().running.metrics.stalled.inc();
        if let Some(unsaid) = TOLD.is_due() {
            let (ip, identity, answers) = (self.peer.address.ip(), self.identity(), self.activity.waiting());
            let reason = format!("no bytes taken for {PATIENCE} s, or too many answers not taken");
            warn!(%ip, identity, answers, reason, unsaid, "closed the connection of a client that does not take its answers");
        }
    }

    /// The identity for the log; empty if there is none.
    fn identity(&self) -> &str {
        self.peer.identity.as_ref().map_or("", Identity::as_str)
    }
}

/// Whether the config has this identity.
fn is_known(state: &State, identity: &Identity) -> bool {
    let policies = &state.policies;
    policies.is_admin(identity) || policies.of(identity).is_some() || state.config.is_proxy(identity)
}
