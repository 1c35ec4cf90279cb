//! `GET /v1/policy/describe/NAME`: the origin of a policy.

use axum::response::Response;
use serde::Serialize;

use crate::api::error::ApiError;
use crate::api::{Call, reply};
use crate::identity::Identity;
use crate::wire::timestamp;

#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    created_at: String,
    created_by: &'a Identity,
}

/// Returns the server's start time and its admin, because policies come from the config.
///
/// # Errors
/// [`ApiError::PolicyNotFound`].
pub fn describe(call: &Call) -> Result<Response, ApiError> {
    super::named(call)?;
    let policies = &call.state.policies;
    reply(&Description {
        name: &call.argument,
        created_at: timestamp(Some(policies.created_at())),
        created_by: policies.admin(),
    })
}
