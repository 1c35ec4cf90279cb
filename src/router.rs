//! From a request to its handler and back: the route table, the gate, the deadline, the body.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::http::{Method, Request, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tracing::warn;

use crate::access;
use crate::api::{self, Call};
use crate::config::Config;
use crate::error::ApiError;
use crate::limits::{Kind, Permit, Room, SMALL_BODY};
use crate::record::Record;

/// One API.
#[derive(Debug)]
pub struct Route {
    /// The method; `POST` is taken wherever this is `PUT`.
    pub method: Method,
    /// The path. One that ends in `/` takes an argument after it: a name, a pattern or an identity.
    pub path: &'static str,
    /// Bytes of body that are read. Where this is 0 a body is ignored.
    pub max_body: usize,
    /// How long body, queue and store may take together, unless the config says otherwise; zero: no limit.
    pub timeout: Duration,
    /// Who may ask.
    pub access: Access,
    /// Whether it changes the store: then it runs to its end even when the client has left or the time is up.
    pub mutates: bool,
    /// What answers.
    handler: Handler,
}

/// Who may ask an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Every client with a certificate.
    Certificate,
    /// Clients whose policy allows it, and the admin.
    Policy,
    /// As [`Access::Policy`], or everybody when the config says `skip_auth` (only APIs without key material).
    Skippable,
}

type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;

/// The body limit of APIs that take one (HTTP API documentation of KES).
const MIB: usize = 1 << 20;

/// Bytes of an unread body that are read and thrown away, so that the client gets its answer and not a reset.
const MAX_DRAIN: usize = 4 * MIB;

/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_millis(500);

macro_rules! route {
    ($method:ident $path:literal, $max_body:expr, $timeout:literal s, $access:ident, $handler:path) => {
        route!(@ $method $path, $max_body, $timeout, $access, $handler, false)
    };
    ($method:ident $path:literal, $max_body:expr, $timeout:literal s, $access:ident, $handler:path, mutates) => {
        route!(@ $method $path, $max_body, $timeout, $access, $handler, true)
    };
    (@ $method:ident $path:literal, $max_body:expr, $timeout:literal, $access:ident, $handler:path, $mutates:literal) => {
        Route {
            method: Method::$method,
            path: $path,
            max_body: $max_body,
            timeout: Duration::from_secs($timeout),
            access: Access::$access,
            mutates: $mutates,
            handler: |call| Box::pin($handler(call)),
        }
    };
}

/// Every API, with the figures of KES's HTTP API documentation. `/v1/api` answers with this table.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route!(GET "/version",                    0, 10 s, Open,        api::version::version),
    route!(GET "/v1/ready",                   0, 15 s, Skippable,   api::ready::ready),
    route!(GET "/ready",                      0, 15 s, Skippable,   api::ready::ready),
    route!(GET "/v1/status",                  0, 15 s, Skippable,   api::status::status),
    route!(GET "/v1/metrics",                 0, 15 s, Skippable,   api::metrics::metrics),
    route!(GET "/v1/api",                     0, 10 s, Skippable,   api::api_list::api_list),
    route!(PUT "/v1/key/create/",             0, 15 s, Policy,      api::key::create::create, mutates),
    route!(PUT "/v1/key/import/",           MIB, 15 s, Policy,      api::key::import::import, mutates),
    route!(GET "/v1/key/describe/",           0, 15 s, Policy,      api::key::describe::describe),
    route!(DELETE "/v1/key/delete/",          0, 15 s, Policy,      api::key::delete::delete, mutates),
    route!(GET "/v1/key/list/",               0, 15 s, Policy,      api::key::list::list),
    route!(PUT "/v1/key/generate/",         MIB, 15 s, Policy,      api::key::generate::generate),
    route!(PUT "/v1/key/encrypt/",          MIB, 15 s, Policy,      api::key::encrypt::encrypt),
    route!(PUT "/v1/key/decrypt/",          MIB, 15 s, Policy,      api::key::decrypt::decrypt),
    route!(PUT "/v1/key/hmac/",             MIB, 15 s, Policy,      api::key::hmac::hmac),
    route!(GET "/v1/policy/describe/",        0, 15 s, Policy,      api::policy::describe::describe),
    route!(GET "/v1/policy/read/",            0, 15 s, Policy,      api::policy::read::read),
    route!(GET "/v1/policy/list/",            0, 15 s, Policy,      api::policy::list::list),
    route!(GET "/v1/identity/describe/",      0, 15 s, Policy,      api::identity::describe::describe),
    route!(GET "/v1/identity/self/describe",  0, 15 s, Certificate, api::identity::self_describe::self_describe),
    route!(GET "/v1/identity/list/",          0, 15 s, Policy,      api::identity::list::list),
    route!(GET "/v1/log/error",               0,  0 s, Policy,      api::log::error::error),
    route!(GET "/v1/log/audit",               0,  0 s, Policy,      api::log::audit::audit),
];

impl Route {
    /// The path under which the config gives this route's options: an alias has those of its original.
    pub fn options_path(&self) -> &'static str {
        if self.path == "/ready" { "/v1/ready" } else { self.path }
    }

    /// How long a request may take under this config; zero: as long as it likes.
    pub fn timeout_under(&self, config: &Config) -> Duration {
        config.api.get(self.options_path()).and_then(|options| options.timeout).unwrap_or(self.timeout)
    }

    fn takes(&self, method: &Method) -> bool {
        *method == self.method || (self.method == Method::PUT && *method == Method::POST)
    }
}

/// The route of a path as it came, escapes and all: an escape in its fixed part makes it another path.
fn route_of(path: &str) -> Option<&'static Route> {
    let fits = |route: &&Route| match route.path.strip_suffix('/') {
        Some(_) => path.starts_with(route.path) || bare_list(route) == Some(path),
        None => path == route.path,
    };
    ROUTES.iter().find(fits)
}

/// The path of a list without its slash: so the official SDK, and MinIO with it, asks for all names.
fn bare_list(route: &Route) -> Option<&'static str> {
    route.path.strip_suffix('/').filter(|bare| bare.ends_with("/list"))
}

/// A decoded path as rules and the audit log see it: a list without its slash is the list of all names, as with KES,
/// which redirects from the one to the other.
pub fn canonical(mut path: String) -> String {
    if path.ends_with("/list") && ROUTES.iter().any(|route| bare_list(route) == Some(&path)) {
        path.push('/');
    }
    path
}

/// Answers a request. What changes the store runs in a task of its own, which a client that leaves cannot end, so
/// that its audit event tells what really happened.
pub async fn answer(record: Arc<Record>, request: Request<Incoming>) -> Response {
    let route = route_of(request.uri().path());
    if !route.is_some_and(|route| route.mutates) {
        return exchange(route, record, request).await;
    }
    let tasks = record.state().running.tasks.clone();
    let task = tasks.spawn(exchange(route, record, request));
    task.await.unwrap_or_else(|_| ApiError::Internal("the task of a request failed").into_response())
}

/// One request and its response, recorded whatever happens.
async fn exchange(route: Option<&'static Route>, record: Arc<Record>, request: Request<Incoming>) -> Response {
    let (head, body) = request.into_parts();
    let mut unread = Unread { body, drain: !head.headers.contains_key(header::EXPECT) };
    let handled = handle(route, &record, &head.method, &mut unread);
    let response = match AssertUnwindSafe(handled).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => failure.into_response(),
        Err(_) => ApiError::Internal("a handler panicked").into_response(),
    };
    record.finish(&response);
    unread.drain().await;
    response
}

/// The steps of a request: route, method, access, body, handler; the first that fails ends it.
async fn handle(
    route: Option<&'static Route>,
    record: &Arc<Record>,
    method: &Method,
    body: &mut Unread,
) -> Result<Response, ApiError> {
    let (state, path) = (record.state(), record.path()?);
    let route = route.ok_or(ApiError::NoSuchApi)?;
    if !route.takes(method) {
        return Err(ApiError::Method { received: method.clone(), expected: route.method.clone() });
    }
    let identity = access::check(state, route, record.client(), path)?;
    // Endless answers have a limit of their own.
    let timeout = route.timeout_under(&state.config);
    let kind = if matches!(route.access, Access::Open | Access::Skippable) { Kind::Look } else { Kind::Work };
    if !route.timeout.is_zero() {
        record.hold(Permit::take(&state.running, &state.config.limits, kind, identity.as_ref())?);
    }
    let deadline = Deadline::after(timeout);
    let body = body.read(route.max_body, &deadline, record).await?;
    let argument = path.strip_prefix(route.path).unwrap_or_default().to_owned();
    let trusted = match route.access {
        Access::Policy => true,
        Access::Skippable => !state.skips_auth(route),
        Access::Open | Access::Certificate => false,
    };
    let call = Call { state: state.clone(), identity, trusted, argument, body };
    let answer = (route.handler)(call);
    if !route.mutates {
        return deadline.bound(answer).await.ok_or(ApiError::Timeout(timeout))?;
    }
    let (path, under_way) = (path.to_owned(), record.clone());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    state.running.tasks.spawn(async move {
        if let Err(late) = sender.send(answer.await) {
            let outcome = late.map_or_else(|failure| failure.reason(), |_| "done".to_owned());
            warn!(path, outcome, "finished after its time was up");
        }
        drop(under_way); // it counts as such until now
    });
    match deadline.bound(receiver).await {
        Some(answer) => answer.unwrap_or(Err(ApiError::Internal("a handler panicked"))),
        None => Err(ApiError::Timeout(timeout)),
    }
}

/// The end of a request's time.
struct Deadline {
    at: Option<tokio::time::Instant>,
    timeout: Duration,
}

impl Deadline {
    fn after(timeout: Duration) -> Self {
        Self { at: (!timeout.is_zero()).then(|| tokio::time::Instant::now() + timeout), timeout }
    }

    /// What `future` gives, or nothing when the time is up before.
    async fn bound<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        // Mostly it is there at once: then no timer is made.
        let mut future = pin!(future);
        if let Poll::Ready(ready) = futures_util::poll!(future.as_mut()) {
            return Some(ready);
        }
        match self.at {
            Some(at) => tokio::time::timeout_at(at, future).await.ok(),
            None => Some(future.await),
        }
    }
}

/// A request's body, as far as it is not read.
struct Unread {
    body: Incoming,
    /// Whether the rest may be read: a client that waits for `100 Continue` has not sent it.
    drain: bool,
}

impl Unread {
    /// The whole body; nothing when `limit` is 0. A large one waits for room before it is read.
    async fn read(&mut self, limit: usize, deadline: &Deadline, record: &Record) -> Result<Bytes, ApiError> {
        if limit == 0 {
            return Ok(Bytes::new());
        }
        let expected = usize::try_from(hyper::body::Body::size_hint(&self.body).lower()).unwrap_or(usize::MAX);
        if expected > limit {
            return Err(ApiError::BodyTooLarge(limit));
        }
        let mut read = BytesMut::new();
        if expected > SMALL_BODY {
            Self::make_room(expected, deadline, record).await?;
        }
        loop {
            let Some(frame) = deadline.bound(self.body.frame()).await else {
                self.drain = false;
                return Err(ApiError::BodyTimeout(deadline.timeout));
            };
            let Some(frame) = frame else { return Ok(read.freeze()) };
            let Ok(frame) = frame else {
                self.drain = false;
                return Err(ApiError::InvalidBody);
            };
            let data = frame.into_data().unwrap_or_default();
            if read.is_empty() && data.len() == expected {
                return Ok(data); // all at once, as most bodies come
            }
            let length = read.len() + data.len();
            if length > limit {
                return Err(ApiError::BodyTooLarge(limit));
            }
            if length > SMALL_BODY && record.room().is_none() {
                Self::make_room(limit, deadline, record).await?; // it did not say how long it is
            }
            if read.is_empty() {
                read.reserve(expected);
            }
            read.extend_from_slice(&data);
        }
    }

    async fn make_room(bytes: usize, deadline: &Deadline, record: &Record) -> Result<(), ApiError> {
        let room = deadline.bound(Room::take(&record.state().running, bytes)).await;
        record.keep(room.ok_or(ApiError::NoRoom)?);
        Ok(())
    }

    /// Reads on for a moment: closing a connection on which bytes are still arriving would reset it, and the
    /// client might never see its answer.
    async fn drain(mut self) {
        if !self.drain || hyper::body::Body::is_end_stream(&self.body) {
            return;
        }
        let rest = async {
            let mut left = MAX_DRAIN;
            while let Some(Ok(frame)) = self.body.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(less) => left = less,
                    None => break,
                }
            }
        };
        let _ = tokio::time::timeout(DRAIN_TIME, rest).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_22_apis_and_one_alias() {
        assert_eq!(ROUTES.iter().filter(|route| route.path == route.options_path()).count(), 22);
        assert_eq!(ROUTES.len(), 23);
    }

    #[test]
    fn authentication_can_be_skipped_only_where_no_key_is_at_stake() {
        let skippable: Vec<_> =
            ROUTES.iter().filter(|route| route.access == Access::Skippable).map(Route::options_path).collect();
        assert_eq!(skippable, ["/v1/ready", "/v1/ready", "/v1/status", "/v1/metrics", "/v1/api"]);
    }
}
