//! What becomes of a request: counted as active from its head on, and recorded exactly once, in the metrics, the audit
//! log and the server's log, whatever happens to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::http::Request;
use axum::response::Response;
use time::OffsetDateTime;
use tracing::{debug, error, warn};

use super::access::Client;
use crate::api::error::{ApiError, Reason};
use crate::identity::Identity;
use crate::routes;
use crate::state::State;
use crate::state::limits::{Permit, Room};
use crate::telemetry::audit;
use crate::tls::peer::Peer;

/// The status of a request whose client left before the answer; nobody receives it (nginx's convention).
const CLIENT_LEFT: u16 = 499;

/// A request on its way. Made as soon as its head is there: hyper may drop a request before anybody looks at it, when
/// its client leaves at once. Dropped without a response, it is recorded as abandoned.
#[derive(Debug)]
pub(super) struct Record {
    state: Arc<State>,
    client: Client,
    /// Decoded once; `Err` has the path as it came, when it cannot be decoded.
    path: Result<String, String>,
    start: Instant,
    recorded: AtomicBool,
    /// Counts the request as under way for as long as somebody holds the record.
    permit: OnceLock<Permit>,
    /// Counts its large body, and the answer to it, for as long.
    room: OnceLock<Room>,
}

impl Record {
    /// The record of a request that has just come from `peer`.
    pub(super) fn begin<B>(state: &Arc<State>, peer: &Peer, request: &Request<B>) -> Self {
        state.running.metrics.active.inc();
        let path = request.uri().path();
        Self {
            state: state.clone(),
            client: Client::of(state, peer, request.headers()),
            path: routes::decode(path).ok_or_else(|| path.to_owned()),
            start: Instant::now(),
            recorded: AtomicBool::new(false),
            permit: OnceLock::new(),
            room: OnceLock::new(),
        }
    }

    /// Lets the request count as under way until the record is dropped.
    pub(super) fn hold(&self, permit: Permit) {
        let _ = self.permit.set(permit); // a request has one
    }

    /// Whether it counts so.
    pub(super) fn is_counted(&self) -> bool {
        self.permit.get().is_some()
    }

    /// Keeps the room of the body until the record is dropped.
    pub(super) fn keep(&self, room: Room) {
        let _ = self.room.set(room); // a request has one
    }

    /// That room, if it has any; the answer keeps it until it is sent.
    pub(super) fn room(&self) -> Option<&Room> {
        self.room.get()
    }

    /// The state that the request began with.
    pub(super) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Who asks.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The path that routes, rules and names are compared with.
    ///
    /// # Errors
    /// [`ApiError::InvalidPath`] when it could not be decoded.
    pub(super) fn path(&self) -> Result<&str, ApiError> {
        self.path.as_deref().map_err(|_| ApiError::InvalidPath)
    }

    /// Records the response, and the reason that rides on it. Only the first call counts.
    pub(super) fn finish(&self, response: &Response) {
        let reason = response.extensions().get::<Reason>();
        let is_known = reason.is_some_and(|reason| reason.is_known);
        self.record(response.status().as_u16(), reason.map(|reason| reason.text.as_str()), is_known);
    }

    fn record(&self, code: u16, reason: Option<&str>, is_known: bool) {
        if self.recorded.swap(true, Ordering::AcqRel) {
            return;
        }
        let (Ok(path) | Err(path)) = &self.path;
        self.state.running.metrics.active.dec();
        let (time, ip) = (self.start.elapsed(), self.client.ip);
        let identity = self.client.identity.as_ref().map_or("", Identity::as_str);
        self.state.running.metrics.finished(code, time);
        self.state.audit.record(code, || audit::Event {
            time: OffsetDateTime::now_utc(),
            request: audit::Request { ip, path, identity },
            response: audit::Response { code, time },
            reason,
        });
        let reason = reason.unwrap_or_default();
        match code {
            400.. if is_known => debug!(code, path, identity, %ip, reason, "request not served"),
            500.. => error!(code, path, identity, %ip, reason, "request failed"),
            403 => warn!(code, path, identity, %ip, reason, "request refused"),
            400 if self.client.identity.is_err() => warn!(code, path, %ip, reason, "request refused"),
            400.. => debug!(code, path, identity, %ip, reason, "request refused"),
            _ => {}
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.record(CLIENT_LEFT, Some("the client left before the answer"), false);
    }
}
