//! The record of a request: counts it as active once its head has arrived, and records its outcome exactly once, in the
//! metrics, the audit log and the server's log.

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
use crate::state::limits::Reservation;
use crate::state::shares::Visitor;
use crate::telemetry::audit;
use crate::telemetry::bounded::{MAX_TEXT, bounded};
use crate::tls::peer::Peer;

/// The status of a request whose client disconnected before the response (nginx's convention). It is not sent.
const CLIENT_CLOSED: u16 = 499;

/// A request in progress. Created as soon as its head has arrived, because hyper may drop a request before it is
/// processed if its client disconnects. If it is dropped without a response, it is recorded as abandoned.
#[derive(Debug)]
pub(super) struct Record {
    state: Arc<State>,
    client: Client,
    /// The decoded path, or the original one if it cannot be decoded.
    path: Result<String, String>,
    start: Instant,
    recorded: AtomicBool,
    /// Whether it changes the keystore.
    mutates: AtomicBool,
    /// The client of the connection, for its share of the limits.
    visitor: Arc<Visitor>,
    /// Reserves memory for its large body, and for the response, as long as the record exists.
    reservation: OnceLock<Reservation>,
}

impl Record {
    /// Starts the record of a request from `peer`.
    pub(super) fn begin<B>(state: &Arc<State>, peer: &Peer, visitor: &Arc<Visitor>, request: &Request<B>) -> Self {
        state.running.metrics.active.inc();
        let path = request.uri().path();
        Self {
            state: state.clone(),
            client: Client::of(state, peer, request.headers()),
            path: routes::decode(path).ok_or_else(|| path.to_owned()),
            start: Instant::now(),
            recorded: AtomicBool::new(false),
            mutates: AtomicBool::new(false),
            visitor: visitor.clone(),
            reservation: OnceLock::new(),
        }
    }

    /// The client of the connection.
    pub(super) fn visitor(&self) -> &Arc<Visitor> {
        &self.visitor
    }

    /// Waits until memory of this size is free for the body or the response, and reserves it until the record is
    /// dropped.
    pub(super) async fn reserve(&self, bytes: usize) {
        let reservation = Reservation::take(&self.state.running.load, bytes).await;
        let _ = self.reservation.set(reservation); // a request has one
    }

    /// The reservation, if there is one; the response keeps it until it is sent.
    pub(super) fn reservation(&self) -> Option<&Reservation> {
        self.reservation.get()
    }

    /// Notes that the request changes the keystore.
    pub(super) fn set_mutates(&self) {
        self.mutates.store(true, Ordering::Relaxed);
    }

    /// The state at the start of the request.
    pub(super) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The client that sent the request.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The decoded path, for routes, rules and names.
    ///
    /// # Errors
    /// [`ApiError::InvalidPath`] if it cannot be decoded.
    pub(super) fn path(&self) -> Result<&str, ApiError> {
        self.path.as_deref().map_err(|_| ApiError::InvalidPath)
    }

    /// Records the response with its [`Reason`]. Only the first call counts.
    pub(super) fn finish(&self, response: &Response) {
        let reason = response.extensions().get::<Reason>();
        let is_expected = reason.is_some_and(|reason| reason.is_expected);
        self.record(response.status().as_u16(), reason.map(|reason| reason.text.as_str()), is_expected);
    }

    fn record(&self, code: u16, reason: Option<&str>, is_expected: bool) {
        if self.recorded.swap(true, Ordering::AcqRel) {
            return;
        }
        let (Ok(path) | Err(path)) = &self.path;
        self.state.running.metrics.active.dec();
        let (time, ip) = (self.start.elapsed(), self.client.ip);
        let identity = self.client.identity.as_ref().map_or("", Identity::as_str);
        self.state.running.metrics.finished(code, time);
        let is_change = self.mutates.load(Ordering::Relaxed);
        let (short_path, short_reason) = (bounded(path, MAX_TEXT), reason.map(|reason| bounded(reason, MAX_TEXT)));
        self.state.audit.record(code, is_change, || audit::Event {
            time: OffsetDateTime::now_utc(),
            request: audit::Request { ip, path: &short_path, identity },
            response: audit::Response { code, time },
            reason: short_reason.as_deref(),
        });
        let (path, reason) = (&*short_path, short_reason.as_deref().unwrap_or_default());
        match code {
            400.. if is_expected => debug!(code, path, identity, %ip, reason, "request not served"),
            500.. => error!(code, path, identity, %ip, reason, "request failed"),
            403 => warn!(code, path, identity, %ip, reason, "request rejected"),
            400 if self.client.identity.is_err() => warn!(code, path, %ip, reason, "request rejected"),
            400.. => debug!(code, path, identity, %ip, reason, "request rejected"),
            _ => {}
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.record(CLIENT_CLOSED, Some("client disconnected before the response"), false);
    }
}
