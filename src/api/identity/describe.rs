//! `GET /v1/identity/describe/ID`: the policy of an identity.

use axum::response::Response;
use backends::Name;
use serde::Serialize;

use crate::api::error::ApiError;
use crate::api::{Call, reply};
use crate::identity::Identity;
use crate::wire::timestamp;

#[derive(Serialize)]
struct Description<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    admin: bool,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<&'a Identity>,
}

/// Returns the policy, or that the identity is the admin.
///
/// # Errors
/// [`ApiError::IdentityNotFound`] if the config does not contain it.
pub fn describe(call: &Call) -> Result<Response, ApiError> {
    if !Name::is_valid(&call.argument) {
        return Err(ApiError::InvalidIdentity(call.argument.clone()));
    }
    let identity = Identity::from_text(&call.argument);
    let policies = &call.state.policies;
    let created_at = timestamp(Some(policies.created_at()));
    if policies.is_admin(&identity) {
        return reply(&Description { policy: None, admin: true, created_at, created_by: None });
    }
    let (policy, _) = policies.of(&identity).ok_or(ApiError::IdentityNotFound)?;
    reply(&Description { policy: Some(policy), admin: false, created_at, created_by: Some(policies.admin()) })
}
