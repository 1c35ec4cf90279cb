//! From a request to its handler and back: route, access, limits, body, handler.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use tracing::warn;

use super::access;
use super::body::{Deadline, Unread};
use super::record::Record;
use crate::api::error::ApiError;
use crate::api::{self, Call};
use crate::identity::Identity;
use crate::routes::{self, Access, Api, Argument, Route};
use crate::state::limits::{Kind, LimitExceeded, MAX_LISTING, Permit};
use crate::telemetry::bounded::{MAX_TEXT, bounded};
use crate::telemetry::rarely::Rarely;

/// Answers a request. Requests that change the keystore run in their own task, which continues if the client
/// disconnects, so that their audit event has the actual outcome.
pub(super) async fn answer(record: Arc<Record>, request: Request<Incoming>) -> Response {
    let route = routes::of(request.uri().path());
    if !route.is_some_and(Route::mutates) {
        return exchange(route, record, request).await;
    }
    record.set_mutates();
    let tasks = record.state().running.tasks.clone();
    let task = tasks.spawn(exchange(route, record, request));
    task.await.unwrap_or_else(|_| ApiError::Internal("the task of a request panicked").into_response())
}

/// Handles a request and always records its response.
async fn exchange(route: Option<&'static Route>, record: Arc<Record>, request: Request<Incoming>) -> Response {
    let (head, body) = request.into_parts();
    let mut unread = Unread::new(body, &head.headers);
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

/// The steps of a request: route, method, access, limits, body, handler; the first failure ends it.
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
    let timeout = state.config.timeout_of(route);
    let kind = match route.access {
        Access::Open | Access::Skippable => Kind::Monitoring,
        Access::Certificate | Access::Policy => Kind::Request,
    };
    // Endless responses have a separate limit. A permit ends with the work: an answer that waits for its client does not
    // keep others out, and has limits of its own (`activity.rs`).
    let permit = if route.timeout.is_zero() { None } else { Some(permit(record, kind, identity.as_ref())?) };
    let deadline = Deadline::after(timeout);
    if route.argument == Argument::Listing {
        deadline.bound(record.reserve(MAX_LISTING)).await.ok_or(ApiError::NoCapacity)?;
    }
    let body = body.read(route.max_body, &deadline, record).await?;
    let argument = route.argument_in(path).to_owned();
    let trusted = match route.access {
        Access::Policy => true,
        Access::Skippable => !state.config.skips_auth(route),
        Access::Open | Access::Certificate => false,
    };
    let call = Call { state: state.clone(), identity, trusted, argument, body };
    if !route.mutates() {
        return deadline.bound(handler(route.api, call)).await.ok_or(ApiError::Timeout(timeout))?;
    }
    let (api, path) = (route.api, path.to_owned());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    state.running.tasks.spawn(async move {
        if let Err(late) = sender.send(handler(api, call).await) {
            let outcome = late.map_or_else(|failure| failure.reason(), |_| "done".to_owned());
            warn!(path = &*bounded(&path, MAX_TEXT), outcome, "request finished after its timeout");
        }
        drop(permit); // it counts towards the limits until now
    });
    match deadline.bound(receiver).await {
        Some(answer) => answer.unwrap_or(Err(ApiError::Internal("a handler panicked"))),
        None => Err(ApiError::Timeout(timeout)),
    }
}

/// Counts a request towards the limits. One that exceeds them is said in the log, now and then.
fn permit(record: &Record, kind: Kind, identity: Option<&Identity>) -> Result<Permit, LimitExceeded> {
    static TOLD: Rarely = Rarely::new();
    let state = record.state();
    Permit::take(&state.running.load, &state.config.limits, kind, identity, record.visitor()).inspect_err(|limit| {
        if let Some(unsaid) = TOLD.is_due() {
            let (ip, identity) = (record.client().ip, identity.map_or("", Identity::as_str));
            warn!(%ip, identity, unsaid, "{limit}; further requests are rejected");
        }
    })
}

/// The handler of each API.
async fn handler(api: Api, call: Call) -> Result<Response, ApiError> {
    match api {
        Api::Version => api::version::version(&call),
        Api::Ready => api::ready::ready(call).await,
        Api::Status => api::status::status(call).await,
        Api::Metrics => api::metrics::metrics(&call),
        Api::ApiList => api::api_list::api_list(&call),
        Api::KeyCreate => api::key::create::create(call).await,
        Api::KeyImport => api::key::import::import(call).await,
        Api::KeyDescribe => api::key::describe::describe(call).await,
        Api::KeyDelete => api::key::delete::delete(call).await,
        Api::KeyList => api::key::list::list(call).await,
        Api::KeyGenerate => api::key::generate::generate(call).await,
        Api::KeyEncrypt => api::key::encrypt::encrypt(call).await,
        Api::KeyDecrypt => api::key::decrypt::decrypt(call).await,
        Api::KeyHmac => api::key::hmac::hmac(call).await,
        Api::PolicyDescribe => api::policy::describe::describe(&call),
        Api::PolicyRead => api::policy::read::read(&call),
        Api::PolicyList => api::policy::list::list(&call),
        Api::IdentityDescribe => api::identity::describe::describe(&call),
        Api::IdentitySelfDescribe => api::identity::self_describe::self_describe(&call),
        Api::IdentityList => api::identity::list::list(&call),
        Api::LogError => api::log::error::error(&call),
        Api::LogAudit => api::log::audit::audit(&call),
    }
}
