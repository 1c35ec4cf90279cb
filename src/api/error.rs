//! Maps failures to statuses and messages, which happens only here.
//!
//! Statuses and messages are part of the API, because clients compare them (HTTP API documentation of KES; the vectors
//! in `tests/vectors/kes-wire.json` pin them). Details that a client must not see, such as the rule that denied a
//! request or the error of the keystore, are in [`ApiError::reason`], for the log and the audit event.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use backends::{Operation, StoreError, chain};
use serde::Serialize;

use crate::crypto::key::Algorithm;
use crate::glob::Glob;
use crate::keys::{KeysError, Outage};
use crate::policy::Refusal;
use crate::state::limits::{BODY_MEMORY, LimitExceeded};
use crate::tls::peer::PeerError;

/// All failures of a request. `Display` is the message for the client.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No API has this path.
    #[error("not found")]
    NoSuchApi,
    /// The path is not UTF-8 or contains an invalid percent escape.
    #[error("invalid path: not percent-encoded UTF-8")]
    InvalidPath,
    /// The API requires another method.
    #[error("received method '{received}' expected '{expected}'")]
    Method {
        /// The method of the request.
        received: Method,
        /// The method of the API; `POST` is also accepted wherever this is `PUT`.
        expected: Method,
    },
    /// The client's certificate has no identity.
    #[error(transparent)]
    Certificate(#[from] PeerError),
    /// The client's policy does not allow the request.
    #[error("not authorized: insufficient permissions")]
    NotAuthorized(#[from] Refusal),
    /// The config protects the key from being deleted.
    #[error("key is protected: it matches '{0}' in the server's config")]
    Protected(Glob),
    /// The argument is not a valid key name.
    #[error("key name '{0}' is empty, too long or contains invalid characters")]
    InvalidKeyName(String),
    /// The argument is not a valid policy name.
    #[error("policy name '{0}' is empty, too long or contains invalid characters")]
    InvalidPolicyName(String),
    /// The argument is not a valid identity.
    #[error("identity '{0}' is empty, too long or contains invalid characters")]
    InvalidIdentity(String),
    /// The argument is not a valid listing pattern.
    #[error("listing pattern '{0}' is empty, too long or is invalid")]
    InvalidPattern(String),
    /// The body is not valid JSON for the API.
    #[error("invalid request body")]
    InvalidBody,
    /// The body of an import is not valid.
    #[error("invalid import key request body")]
    InvalidImportBody,
    /// The body exceeds the API's limit.
    #[error("request body is too large: at most {0} bytes are accepted")]
    BodyTooLarge(usize),
    /// The body did not arrive within the API's timeout.
    #[error("request timed out: the body was not received within {}", seconds(.0))]
    BodyTimeout(Duration),
    /// The response was not ready within the API's timeout.
    #[error("request timed out after {}", seconds(.0))]
    Timeout(Duration),
    /// Create or import with a name that is already in use.
    #[error("key already exists")]
    KeyExists,
    /// No key has this name.
    #[error("key does not exist")]
    KeyNotFound,
    /// No policy has this name.
    #[error("policy does not exist")]
    PolicyNotFound,
    /// The config does not contain the identity.
    #[error("identity does not exist")]
    IdentityNotFound,
    /// Ciphertext, context and key do not belong together.
    #[error("decryption failed: ciphertext is not authentic")]
    NotAuthentic,
    /// The key was created before HMAC keys existed. MinIO recognizes only 501 as "not supported".
    #[error("key does not support HMAC")]
    HmacNotSupported,
    /// An import with an unknown algorithm.
    #[error("algorithm '{0}' is not supported")]
    Algorithm(String),
    /// An import with a key of the wrong size.
    #[error("invalid key size for '{0}'")]
    KeySize(Algorithm),
    /// The key exists, but the keystore does not return it: soft-deleted, or scheduled for deletion. Never reported as
    /// "not found", and its name is not free.
    #[error("key is not available: {reason}")]
    Withheld {
        /// Why, and how to restore it.
        reason: String,
    },
    /// The keystore's value is not a valid key. Never reported as "not found": MinIO would create a new key.
    #[error("stored key is damaged")]
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// The keystore operation failed.
    #[error("failed to {0}")]
    Keystore(Operation, #[source] std::sync::Arc<StoreError>),
    /// Readiness: the keystore is unreachable or returns an error.
    #[error("{}", not_ready(.cause))]
    NotReady {
        /// The error of the keystore.
        #[source]
        cause: std::sync::Arc<StoreError>,
        /// Whether the response contains it.
        with_reason: bool,
        /// Whether the store could not be opened since the server started. KES waits for it before it listens.
        is_starting: bool,
    },
    /// The keystore is known to be down, so the operation was not attempted.
    #[error("failed to {operation}")]
    Outage {
        /// The operation.
        operation: Operation,
        /// The outage.
        outage: std::sync::Arc<Outage>,
    },
    /// The server is stopping and accepts no more requests.
    #[error("server is stopping")]
    Stopping,
    /// More connections than the limit.
    #[error("too many connections: the limit is {0}")]
    TooManyConnections(usize),
    /// More concurrent requests than the config allows.
    #[error(transparent)]
    TooManyRequests(#[from] LimitExceeded),
    /// No memory for the body became free within the API's timeout.
    #[error("too many large requests: the limit is {} MiB of request bodies in memory", BODY_MEMORY >> 20)]
    NoCapacity,
    /// More subscribers of a log stream than the limit.
    #[error("too many subscribers: the limit is {0}")]
    TooManySubscribers(usize),
    /// A bug; the log has the details.
    #[error("internal server error")]
    Internal(&'static str),
}

/// Seconds until a retry after a transient failure: the breaker closes within 2 s after the keystore is available
/// again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The body of all errors.
#[derive(Serialize)]
struct Message {
    message: String,
    /// The problem of the keystore: in general terms, or in detail for clients of readiness that may see it. Not in
    /// KES.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Why a request was rejected or failed, for the audit event. Attached to the response, but not sent.
#[derive(Clone, Debug)]
pub struct Reason {
    /// The reason as text.
    pub text: String,
    /// Whether the cause is logged once elsewhere (an outage) or is a configured limit: not worth a line per request.
    pub is_expected: bool,
}

impl ApiError {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchApi | Self::KeyNotFound | Self::PolicyNotFound | Self::IdentityNotFound => {
                StatusCode::NOT_FOUND
            }
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvalidPath
            | Self::Certificate(_)
            | Self::InvalidKeyName(_)
            | Self::InvalidPolicyName(_)
            | Self::InvalidIdentity(_)
            | Self::InvalidPattern(_)
            | Self::InvalidBody
            | Self::InvalidImportBody
            | Self::KeyExists
            | Self::NotAuthentic => StatusCode::BAD_REQUEST,
            Self::NotAuthorized(_) | Self::Protected(_) => StatusCode::FORBIDDEN,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Withheld { .. } => StatusCode::CONFLICT,
            Self::Algorithm(_) | Self::KeySize(_) => StatusCode::NOT_ACCEPTABLE,
            Self::HmacNotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::TooManySubscribers(_)
            | Self::TooManyRequests(
                LimitExceeded::RequestsPerIdentity(_)
                | LimitExceeded::LooksPerConnection(_)
                | LimitExceeded::LooksPerClient(_),
            ) => StatusCode::TOO_MANY_REQUESTS,
            Self::Outage { outage, .. } if outage.cause.is_unreachable() => StatusCode::GATEWAY_TIMEOUT,
            Self::NotReady { cause, .. } if cause.is_unreachable() => StatusCode::GATEWAY_TIMEOUT,
            Self::Outage { .. }
            | Self::Stopping
            | Self::TooManyConnections(_)
            | Self::TooManyRequests(LimitExceeded::Requests(_))
            | Self::NoCapacity
            | Self::NotReady { is_starting: true, .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Keystore(..) | Self::NotReady { .. } => StatusCode::BAD_GATEWAY,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Damaged { .. } | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The message with the details that the client does not get.
    pub fn reason(&self) -> String {
        match self {
            Self::NotAuthorized(refusal) => format!("{self}: {refusal}"),
            Self::Damaged { reason } => format!("{self}: {reason}"),
            Self::Keystore(_, cause) | Self::NotReady { cause, .. } => format!("{self}: {}", chain(&**cause)),
            Self::Outage { outage, .. } => {
                let seconds = outage.since.elapsed().as_secs();
                format!("{self}: keystore down for {seconds} s, operation not attempted: {}", chain(&*outage.cause))
            }
            Self::Internal(what) => format!("{self}: {what}"),
            _ => self.to_string(),
        }
    }

    /// Whether the client should retry the request.
    fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Outage { .. }
                | Self::Stopping
                | Self::TooManyConnections(_)
                | Self::NoCapacity
                | Self::TooManyRequests(_)
                | Self::TooManySubscribers(_)
        )
    }

    /// The error of a key operation.
    pub fn from_keys(operation: Operation, error: KeysError) -> Self {
        match error {
            KeysError::AlreadyExists => Self::KeyExists,
            KeysError::NotFound => Self::KeyNotFound,
            KeysError::Damaged { reason } => Self::Damaged { reason },
            KeysError::Withheld { reason } => Self::Withheld { reason },
            KeysError::Random => Self::Internal("no random bytes available from the operating system"),
            KeysError::Store(source) => Self::Keystore(operation, source),
            KeysError::Down(outage) => Self::Outage { operation, outage },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let reason = match &self {
            Self::NotReady { with_reason: true, .. } => Some(self.reason()),
            Self::Outage { outage, .. } => Some(not_ready(&outage.cause).to_owned()),
            _ => None,
        };
        let mut response = (status, Json(Message { message: self.to_string(), reason })).into_response();
        if let Self::Method { expected, .. } = &self {
            let allow = if *expected == Method::PUT { "PUT, POST" } else { expected.as_str() };
            if let Ok(allow) = HeaderValue::from_str(allow) {
                response.headers_mut().insert(header::ALLOW, allow);
            }
        }
        if self.is_transient() {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response.extensions_mut().insert(Reason { text: self.reason(), is_expected: self.is_transient() });
        response
    }
}

/// The message of readiness for an unavailable keystore.
fn not_ready(cause: &StoreError) -> &'static str {
    if cause.is_unreachable() { "key store is not reachable" } else { "key store is unavailable" }
}

/// A duration in a message, without a fraction if it is whole seconds.
fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    #[test]
    fn the_reason_of_a_denial_is_not_in_the_message() {
        let error = ApiError::from(Refusal::NoPolicy(Identity::from_text("abc")));
        assert_eq!(error.to_string(), "not authorized: insufficient permissions");
        assert!(error.reason().contains("identity abc has no policy"));
    }

    #[test]
    fn the_response_to_a_wrong_method_lists_the_allowed_ones() {
        let response = ApiError::Method { received: Method::GET, expected: Method::PUT }.into_response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[header::ALLOW], "PUT, POST");
    }

    #[test]
    fn the_error_of_the_keystore_is_only_in_the_reason() {
        let source = StoreError::unavailable("disk is full");
        let error = ApiError::from_keys(Operation::Create, KeysError::Store(source.into()));
        assert_eq!((error.status().as_u16(), error.to_string().as_str()), (502, "failed to create key"));
        assert!(error.reason().contains("disk is full"));
    }
}
