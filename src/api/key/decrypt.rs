//! `PUT /v1/key/decrypt/NAME`: decrypts ciphertexts of encrypt and generate, including those of all versions of KES.

use axum::response::Response;
use serde::Deserialize;

use crate::api::error::ApiError;
use crate::api::{Call, reply_base64};
use crate::wire::base64::Bytes;

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    ciphertext: Bytes,
    #[serde(default)]
    context: Bytes,
}

/// Decrypts `ciphertext`, which must have been created with this key and `context`.
///
/// # Errors
/// [`ApiError::NotAuthentic`], whatever the reason; [`ApiError::KeyNotFound`].
pub async fn decrypt(mut call: Call) -> Result<Response, ApiError> {
    let name = call.key_name()?;
    let request: Request = call.json().ok_or(ApiError::InvalidBody)?;
    let key = call.key(&name).await?;
    let plaintext = key.decrypt(request.ciphertext.0, &request.context.0).map_err(|_| ApiError::NotAuthentic)?;
    Ok(reply_base64(&[("plaintext", &plaintext)]))
}
