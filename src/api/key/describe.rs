//! `GET /v1/key/describe/NAME`: the metadata of a key.

use axum::response::Response;
use serde::Serialize;

use crate::api::error::ApiError;
use crate::api::{Call, reply};
use crate::wire::timestamp;

#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    algorithm: &'a str,
    created_at: String,
    created_by: &'a str,
}

/// Returns the algorithm, the creation time and the creator.
///
/// # Errors
/// [`ApiError::KeyNotFound`].
pub async fn describe(call: Call) -> Result<Response, ApiError> {
    let name = call.key_name()?;
    let key = call.key(&name).await?;
    reply(&Description {
        name: name.as_str(),
        algorithm: key.algorithm().as_str(),
        created_at: timestamp(key.created_at()),
        created_by: key.created_by(),
    })
}
