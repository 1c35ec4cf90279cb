//! `PUT /v1/key/import/NAME`: stores an existing key.

use axum::response::Response;
use backends::Operation;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::api::error::ApiError;
use crate::api::{Call, done};
use crate::crypto::key::{Algorithm, ImportError, Key};
use crate::wire::base64::Bytes;

/// Both forms: `{"key","cipher"}` of the SDK, and `{"bytes"}` of the HTTP documentation, which is always AES256.
#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    key: Option<Bytes>,
    #[serde(default)]
    bytes: Option<Bytes>,
    #[serde(default)]
    cipher: Option<String>,
}

/// Stores the key under a free name.
///
/// # Errors
/// [`ApiError::Algorithm`], [`ApiError::KeySize`], [`ApiError::KeyExists`].
pub async fn import(mut call: Call) -> Result<Response, ApiError> {
    let name = call.key_name()?;
    let request: Request = call.json().ok_or(ApiError::InvalidImportBody)?;
    let algorithm = match request.cipher.as_deref() {
        None | Some("") => Algorithm::Aes256,
        Some(text) => Algorithm::parse(text).ok_or_else(|| ApiError::Algorithm(text.to_owned()))?,
    };
    let secret = request.key.or(request.bytes).unwrap_or_default();
    let key =
        Key::import(algorithm, &secret.0, OffsetDateTime::now_utc(), call.created_by()).map_err(
            |error| match error {
                ImportError::KeySize => ApiError::KeySize(algorithm),
                ImportError::Random => ApiError::Internal("no random bytes available from the operating system"),
            },
        )?;
    call.state.keys.store(&name, &key).await.map_err(|error| ApiError::from_keys(Operation::Create, error))?;
    Ok(done())
}
