//! `PUT /v1/key/hmac/NAME`: the HMAC-SHA-256 of a message under the named key.

use axum::response::Response;
use serde::Deserialize;

use crate::api::error::ApiError;
use crate::api::{Call, reply_base64};
use crate::wire::base64::Bytes;

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    message: Bytes,
}

/// Returns base64, as SDKs expect it.
///
/// # Errors
/// [`ApiError::HmacNotSupported`] for a key that was created before HMAC keys existed; [`ApiError::KeyNotFound`].
pub async fn hmac(mut call: Call) -> Result<Response, ApiError> {
    let name = call.key_name()?;
    let request: Request = call.json().ok_or(ApiError::InvalidBody)?;
    let key = call.key(&name).await?;
    let sum = key.hmac(&request.message.0).ok_or(ApiError::HmacNotSupported)?;
    Ok(reply_base64(&[("hmac", &sum)]))
}
