//! `PUT /v1/key/encrypt/NAME`: encrypts a message, limited by the maximum body size.

use axum::response::Response;
use serde::Deserialize;

use crate::api::error::ApiError;
use crate::api::{Call, reply_base64};
use crate::wire::base64::Bytes;

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    plaintext: Bytes,
    #[serde(default)]
    context: Bytes,
}

/// Encrypts `plaintext`, bound to `context`.
///
/// # Errors
/// [`ApiError::KeyNotFound`].
pub async fn encrypt(mut call: Call) -> Result<Response, ApiError> {
    let name = call.key_name()?;
    let request: Request = call.json().ok_or(ApiError::InvalidBody)?;
    let key = call.key(&name).await?;
    let ciphertext = key
        .encrypt(request.plaintext.0, &request.context.0)
        .map_err(|_| ApiError::Internal("cannot encrypt a message"))?;
    Ok(reply_base64(&[("ciphertext", &ciphertext)]))
}
