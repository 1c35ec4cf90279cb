//! `/v1/policy/...`: what the config says of policies.

pub mod describe;
pub mod list;
pub mod read;

use backends::Name;

use super::Call;
use crate::api::error::ApiError;
use crate::policy::Policy;

/// The policy that a call names.
fn named(call: &Call) -> Result<&Policy, ApiError> {
    if !Name::is_valid(&call.argument) {
        return Err(ApiError::InvalidPolicyName(call.argument.clone()));
    }
    call.state.policies.get(&call.argument).ok_or(ApiError::PolicyNotFound)
}
