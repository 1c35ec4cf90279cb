//! `PUT /v1/key/decrypt/NAME`: decrypts what encrypt or generate made, now or in any version of KES.

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

/// Decrypts `ciphertext` when it was made under this key and `context`.
///
/// # Errors
/// [`ApiError::NotAuthentic`], for every reason alike; [`ApiError::KeyNotFound`].
pub async fn decrypt(mut call: Call) -> Result<Response, ApiError> {
    let name = call.key_name()?;
    let request: Request = call.json().ok_or(ApiError::InvalidBody)?;
    let key = call.key(&name).await?;
    let plaintext = key.decrypt(request.ciphertext.0, &request.context.0).map_err(|_| ApiError::NotAuthentic)?;
    Ok(reply_base64(&[("plaintext", &plaintext)]))
}
