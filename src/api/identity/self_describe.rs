//! `GET /v1/identity/self/describe`: the identity of the client and its policy. Open to any client certificate.

use axum::response::Response;
use serde::Serialize;

use crate::api::error::ApiError;
use crate::api::policy::read::Rules;
use crate::api::{Call, reply};
use crate::identity::Identity;
use crate::wire::timestamp;

#[derive(Serialize)]
struct Description<'a> {
    identity: &'a Identity,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    admin: bool,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<&'a Identity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(flatten)]
    rules: Rules<'a>,
}

/// Returns the identity, the name of its policy, and the rules of the policy beside it, as the official SDK reads them.
///
/// # Errors
/// [`ApiError::IdentityNotFound`] if the config does not contain it.
pub fn self_describe(call: &Call) -> Result<Response, ApiError> {
    let policies = &call.state.policies;
    let identity = call.identity.as_ref().ok_or(ApiError::IdentityNotFound)?;
    let created_at = timestamp(Some(policies.created_at()));
    if policies.is_admin(identity) {
        let rules = Rules::default();
        return reply(&Description { identity, admin: true, created_at, created_by: None, policy: None, rules });
    }
    let (name, policy) = policies.of(identity).ok_or(ApiError::IdentityNotFound)?;
    reply(&Description {
        identity,
        admin: false,
        created_at,
        created_by: Some(policies.admin()),
        policy: Some(name),
        rules: policy.into(),
    })
}
