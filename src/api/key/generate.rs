//! `PUT /v1/key/generate/NAME`: a new data key, in plaintext and encrypted with the named key.

use axum::response::Response;
use serde::Deserialize;

use crate::api::error::ApiError;
use crate::api::{Call, reply_base64};
use crate::wire::base64::Bytes;

#[derive(Default, Deserialize)]
struct Request {
    #[serde(default)]
    context: Bytes,
}

/// Generates 32 random bytes. A request without a body has an empty context.
///
/// # Errors
/// [`ApiError::KeyNotFound`].
pub async fn generate(mut call: Call) -> Result<Response, ApiError> {
    let name = call.key_name()?;
    let request: Request =
        if call.body.is_empty() { Request::default() } else { call.json().ok_or(ApiError::InvalidBody)? };
    let key = call.key(&name).await?;
    let data_key =
        key.generate_data_key(&request.context.0).map_err(|_| ApiError::Internal("cannot generate a data key"))?;
    Ok(reply_base64(&[("plaintext", &*data_key.plaintext), ("ciphertext", &data_key.ciphertext)]))
}
