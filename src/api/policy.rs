//! `/v1/policy/...`: the policies in the config.

pub mod describe;
pub mod list;
pub mod read;

use backends::Name;

use super::Call;
use crate::api::error::ApiError;
use crate::policy::Policy;

/// The policy with the name in the request.
fn named(call: &Call) -> Result<&Policy, ApiError> {
    if !Name::is_valid(&call.argument) {
        return Err(ApiError::InvalidPolicyName(call.argument.clone()));
    }
    call.state.policies.get(&call.argument).ok_or(ApiError::PolicyNotFound)
}
