//! `GET /v1/api`: the route table, as clients see it.

use std::future::{Ready, ready};

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
            timeout: call.state.timeout(route).as_secs(),
        })
        .collect();
    ready(reply(&apis))
}
