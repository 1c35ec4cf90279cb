//! `GET /version`: what program this is. Open to every client.

use axum::response::Response;
use serde::Serialize;

use super::{Call, reply};
use crate::api::error::ApiError;
use crate::{COMMIT, VERSION};

#[derive(Serialize)]
struct Version {
    version: &'static str,
    commit: &'static str,
}

/// Answers with the version and the commit it was built from.
///
/// # Errors
/// None of its own.
pub async fn version(_: Call) -> Result<Response, ApiError> {
    reply(&Version { version: VERSION, commit: COMMIT })
}
