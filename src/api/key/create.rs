//! `PUT /v1/key/create/NAME`: creates a key.

use axum::response::Response;
use backends::Operation;

use crate::api::error::ApiError;
use crate::api::{Call, done};

/// Creates a key from random bytes; a body is ignored.
///
/// # Errors
/// [`ApiError::KeyExists`] if the name is already in use.
pub async fn create(call: Call) -> Result<Response, ApiError> {
    let name = call.key_name()?;
    call.state
        .keys
        .create(&name, call.created_by())
        .await
        .map_err(|error| ApiError::from_keys(Operation::Create, error))?;
    Ok(done())
}
