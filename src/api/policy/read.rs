//! `GET /v1/policy/read/NAME`: the rules of a policy.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::error::ApiError;
use crate::api::{Call, reply};
use crate::identity::Identity;
use crate::policy::{PathPattern, Policy};
use crate::wire::timestamp;

#[derive(Debug, Serialize)]
struct Description<'a> {
    name: &'a str,
    #[serde(flatten)]
    rules: Rules<'a>,
    created_at: String,
    created_by: &'a Identity,
}

/// The rules of a policy in a response. The patterns are the keys of empty objects; `allow` or `deny` without rules is
/// omitted.
#[derive(Debug, Default, Serialize)]
pub struct Rules<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    allow: BTreeMap<&'a str, Map<String, Value>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    deny: BTreeMap<&'a str, Map<String, Value>>,
}

impl<'a> From<&'a Policy> for Rules<'a> {
    fn from(policy: &'a Policy) -> Self {
        let rules = |patterns: &'a [PathPattern]| patterns.iter().map(|rule| (rule.as_str(), Map::new())).collect();
        Self { allow: rules(&policy.allow), deny: rules(&policy.deny) }
    }
}

/// Returns all rules.
///
/// # Errors
/// [`ApiError::PolicyNotFound`].
pub fn read(call: &Call) -> Result<Response, ApiError> {
    let policies = &call.state.policies;
    reply(&Description {
        name: &call.argument,
        rules: super::named(call)?.into(),
        created_at: timestamp(Some(policies.created_at())),
        created_by: policies.admin(),
    })
}
