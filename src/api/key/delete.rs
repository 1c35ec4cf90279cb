//! `DELETE /v1/key/delete/NAME`: removes a key, and with it all data under it.

use axum::response::Response;
use backends::Operation;

use crate::api::error::ApiError;
use crate::api::{Call, done};

/// Removes the key from the store and from the cache.
///
/// # Errors
/// [`ApiError::KeyNotFound`].
pub async fn delete(call: Call) -> Result<Response, ApiError> {
    let name = call.key_name()?;
    call.state.keys.delete(&name).await.map_err(|error| ApiError::from_keys(Operation::Delete, error))?;
    Ok(done())
}
