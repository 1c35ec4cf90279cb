//! `GET /v1/policy/read/NAME`: the rules of a policy.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::error::ApiError;
use crate::api::{Call, reply};
use crate::identity::Identity;
use crate::policy::{PathPattern, Policies, Policy};
use crate::wire::timestamp;

/// A policy in a response. The patterns are the keys of empty objects; `allow` or `deny` without rules is omitted.
#[derive(Debug, Serialize)]
pub struct Rules<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    allow: BTreeMap<&'a str, Map<String, Value>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    deny: BTreeMap<&'a str, Map<String, Value>>,
    created_at: String,
    created_by: &'a Identity,
}

impl<'a> Rules<'a> {
    /// The rules of `policy`.
    pub fn of(name: &'a str, policy: &'a Policy, policies: &'a Policies) -> Self {
        let rules = |patterns: &'a [PathPattern]| patterns.iter().map(|rule| (rule.as_str(), Map::new())).collect();
        Self {
            name,
            allow: rules(&policy.allow),
            deny: rules(&policy.deny),
            created_at: timestamp(Some(policies.created_at())),
            created_by: policies.admin(),
        }
    }
}

/// Returns all rules.
///
/// # Errors
/// [`ApiError::PolicyNotFound`].
pub async fn read(call: Call) -> Result<Response, ApiError> {
    reply(&Rules::of(&call.argument, super::named(&call)?, &call.state.policies))
}
