//! `GET /v1/api`: the route table, as clients see it.

use std::future::{Ready, ready};
use std::time::Duration;

use axum::response::Response;
use serde::Serialize;

use super::{Call, reply};
use crate::error::ApiError;
use crate::router::ROUTES;

#[derive(Serialize)]
struct Api {
    method: &'static str,
    path: &'static str,
    /// Bytes.
    max_body: usize,
    /// Seconds; 0 is never.
    timeout: u64,
}

/// Answers with every route. Not `async`: the table that holds this function is read here, and the compiler cannot
/// see through an opaque future to itself.
///
/// # Errors
/// None of its own.
#[expect(clippy::needless_pass_by_value, reason = "the signature of every handler")]
pub fn api_list(call: Call) -> Ready<Result<Response, ApiError>> {
    let apis: Vec<_> = ROUTES
        .iter()
        .map(|route| Api {
            method: route.method.as_str(),
            path: route.path,
            max_body: route.max_body,
            timeout: whole_seconds(route.timeout_under(&call.state.config)),
        })
        .collect();
    ready(reply(&apis))
}

/// Rounded up: a time-out of less than a second must not read as none.
fn whole_seconds(timeout: Duration) -> u64 {
    timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0)
}
