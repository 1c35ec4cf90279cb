//! `PUT /v1/key/decrypt/NAME`: decrypts what encrypt or generate made, now or in any version of KES.

use axum::response::Response;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::api::base64::{self, Bytes};
use crate::api::{Call, reply};
use crate::error::ApiError;

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    ciphertext: Bytes,
    #[serde(default)]
    context: Bytes,
}

#[derive(Serialize)]
struct Decrypted<'a> {
    plaintext: &'a str,
}

/// Decrypts `ciphertext` when it was made under this key and `context`.
///
/// # Errors
/// [`ApiError::NotAuthentic`], for every reason alike; [`ApiError::KeyNotFound`].
pub async fn decrypt(call: Call) -> Result<Response, ApiError> {
    let name = call.key_name()?;
    let request: Request = call.json().ok_or(ApiError::InvalidBody)?;
    let key = call.key(&name).await?;
    let plaintext = key.decrypt(&request.ciphertext.0, &request.context.0).map_err(|_| ApiError::NotAuthentic)?;
    let plaintext = Zeroizing::new(base64::encode(&plaintext));
    reply(&Decrypted { plaintext: &plaintext })
}
