//! `GET /v1/api`: the route table, as clients see it.

use std::time::Duration;

use axum::response::Response;
use serde::Serialize;

use super::{Call, reply};
use crate::api::error::ApiError;
use crate::routes::{ROUTES, Route};

#[derive(Serialize)]
struct Api {
    method: &'static str,
    path: &'static str,
    /// Bytes.
    max_body: usize,
    /// Seconds; 0 is never.
    timeout: u64,
}

/// Answers with every path of every route.
///
/// # Errors
/// None of its own.
pub async fn api_list(call: Call) -> Result<Response, ApiError> {
    let row = |route: &'static Route, path| Api {
        method: route.method.as_str(),
        path,
        max_body: route.max_body,
        timeout: whole_seconds(call.state.config.timeout_of(route)),
    };
    let apis: Vec<_> = ROUTES
        .iter()
        .flat_map(|route| route.paths().map(move |path| (route, path)))
        .map(|(route, path)| row(route, path))
        .collect();
    reply(&apis)
}

/// Rounded up: a time-out of less than a second must not read as none.
fn whole_seconds(timeout: Duration) -> u64 {
    timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0)
}
