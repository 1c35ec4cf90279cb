//! The APIs. The URL is the path: `/v1/key/generate/NAME` lives in `api/key/generate.rs`, its wire types with it.
//!
//! A handler gets a [`Call`] that has passed the gate and answers with a response or an [`ApiError`]; it writes
//! no status on its own.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use backends::{Name, Operation};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::crypto::key::Key;
use crate::identity::Identity;
use crate::state::State;
use crate::wire::base64;
use error::ApiError;

pub mod api_list;
pub mod error;
pub mod identity;
pub mod key;
pub mod listing;
pub mod log;
pub mod metrics;
pub mod policy;
pub mod ready;
pub mod status;
pub mod version;

/// One request, past the gate: the client is known and may ask, the body is complete.
#[derive(Debug)]
pub struct Call {
    /// The running server.
    pub state: Arc<State>,
    /// Who asks; `None` only where the API is open to all.
    pub identity: Option<Identity>,
    /// Whether the policy let the client ask, and not `skip_auth`: then it may know what is wrong with the store.
    pub trusted: bool,
    /// What follows the route's path, percent-decoded: a name, a pattern, an identity, or nothing.
    pub argument: String,
    /// The body; empty where the API takes none.
    pub body: Bytes,
}

impl Call {
    /// The identity as the creator of a key.
    pub fn created_by(&self) -> &str {
        self.identity.as_ref().map_or("", Identity::as_str)
    }

    /// The argument as the name of a key.
    ///
    /// # Errors
    /// [`ApiError::InvalidKeyName`].
    pub fn key_name(&self) -> Result<Name, ApiError> {
        Name::parse(&self.argument).map_err(|_| ApiError::InvalidKeyName(self.argument.clone()))
    }

    /// The key of a name.
    ///
    /// # Errors
    /// [`ApiError::KeyNotFound`]; [`ApiError::Damaged`]; [`ApiError::Keystore`].
    pub async fn key(&self, name: &Name) -> Result<Arc<Key>, ApiError> {
        self.state.keys.get(name).await.map_err(|error| ApiError::from_keys(Operation::Read, error))
    }

    /// Takes the body as a JSON object; nothing when it is none. Fields that `T` does not have are ignored, as KES
    /// ignores them. serde would take an array for an object whose fields come in order: that is refused.
    pub fn json<T: DeserializeOwned>(&mut self) -> Option<T> {
        let body = std::mem::take(&mut self.body); // it may be large, and is not needed any more
        body.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(&body).ok())?
    }
}

/// 200 with a JSON body.
///
/// # Errors
/// [`ApiError::Internal`] when `body` has no JSON form, which no wire type here can do.
pub fn reply(body: &impl Serialize) -> Result<Response, ApiError> {
    let json = serde_json::to_vec(body).map_err(|_| ApiError::Internal("a response has no JSON form"))?;
    Ok(json_response(json))
}

/// 200 with a JSON object of base64 fields.
pub fn reply_base64(fields: &[(&str, &[u8])]) -> Response {
    json_response(base64::object(fields))
}

/// 200 with this JSON.
fn json_response(json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with `Content-Length: 0`.
pub fn done() -> Response {
    (StatusCode::OK, [(header::CONTENT_LENGTH, HeaderValue::from_static("0"))], ()).into_response()
}
