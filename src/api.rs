//! The APIs. The URL is the path: `/v1/key/generate/NAME` lives in `api/key/generate.rs`, its wire types with it.
//!
//! A handler gets an authorized [`Call`] and returns a response or an [`ApiError`]; it does not set error statuses
//! itself.

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

/// An authorized request with its complete body.
#[derive(Debug)]
pub struct Call {
    /// The state of the server.
    pub state: Arc<State>,
    /// The client's identity; `None` only if the API is open to everyone.
    pub identity: Option<Identity>,
    /// Whether access was granted by a policy and not by `skip_auth`; then the response may contain keystore errors.
    pub trusted: bool,
    /// The percent-decoded argument after the route's path: a name, a pattern, an identity, or nothing.
    pub argument: String,
    /// The body; empty if the API has none.
    pub body: Bytes,
}

impl Call {
    /// The identity, as the creator of a key.
    pub fn created_by(&self) -> &str {
        self.identity.as_ref().map_or("", Identity::as_str)
    }

    /// The argument as a key name.
    ///
    /// # Errors
    /// [`ApiError::InvalidKeyName`].
    pub fn key_name(&self) -> Result<Name, ApiError> {
        Name::parse(&self.argument).map_err(|_| ApiError::InvalidKeyName(self.argument.clone()))
    }

    /// The key with this name.
    ///
    /// # Errors
    /// [`ApiError::KeyNotFound`]; [`ApiError::Damaged`]; [`ApiError::Keystore`].
    pub async fn key(&self, name: &Name) -> Result<Arc<Key>, ApiError> {
        self.state.keys.get(name).await.map_err(|error| ApiError::from_keys(Operation::Read, error))
    }

    /// Consumes the body as a JSON object; `None` if it is not one. Unknown fields are ignored, as in KES. serde would
    /// also accept an array with the fields in order, which is rejected here.
    pub fn json<T: DeserializeOwned>(&mut self) -> Option<T> {
        let body = std::mem::take(&mut self.body); // frees it; it may be large
        let text = body.trim_ascii();
        let object = if text == b"null" { b"{}" } else { text }; // as for Go, to which null is an object without fields
        object.starts_with(b"{").then(|| serde_json::from_slice(object).ok())?
    }
}

/// 200 with a JSON body.
///
/// # Errors
/// [`ApiError::Internal`] if `body` cannot be serialized, which cannot happen for the types here.
pub fn reply(body: &impl Serialize) -> Result<Response, ApiError> {
    let json = serde_json::to_vec(body).map_err(|_| ApiError::Internal("cannot serialize a response"))?;
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
