//! `DELETE /v1/key/delete/NAME`: deletes a key, which makes all data encrypted with it unreadable.

use axum::response::Response;
use backends::Operation;

use crate::api::error::ApiError;
use crate::api::{Call, done};

/// Deletes the key from the keystore and the cache.
///
/// # Errors
/// [`ApiError::Protected`], [`ApiError::KeyNotFound`].
pub async fn delete(call: Call) -> Result<Response, ApiError> {
    let name = call.key_name()?;
    if let Some(pattern) = call.state.config.protect.iter().find(|pattern| pattern.matches(name.as_str())) {
        return Err(ApiError::Protected(pattern.clone()));
    }
    call.state.keys.delete(&name).await.map_err(|error| ApiError::from_keys(Operation::Delete, error))?;
    Ok(done())
}
