//! `GET /version`: the version of the server. Open to every client.

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

/// Returns the version and the commit of the build.
///
/// # Errors
/// None of its own.
pub fn version(_: &Call) -> Result<Response, ApiError> {
    reply(&Version { version: VERSION, commit: COMMIT })
}
