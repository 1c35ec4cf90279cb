//! `GET /v1/api`: the route table for clients.

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
    /// Seconds; 0 means no limit.
    timeout: u64,
}

/// Returns all paths of all routes.
///
/// # Errors
/// None of its own.
pub fn api_list(call: &Call) -> Result<Response, ApiError> {
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

/// Rounded up, so that a timeout of less than a second is not returned as 0.
fn whole_seconds(timeout: Duration) -> u64 {
    timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0)
}
