//! The only place where a failure becomes a status and a message.
//!
//! Statuses and messages are part of the API: clients compare both (HTTP API documentation of KES; the vectors in
//! `tests/vectors/kes-wire.json` pin them). What a client may not see, such as the rule that refused it or the
//! words of the store, is the [`ApiError::reason`]: it goes to the log and the audit event.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use backends::{Operation, StoreError, chain};
use serde::Serialize;

use crate::crypto::key::Algorithm;
use crate::keys::{KeysError, Outage};
use crate::policy::Refusal;
use crate::state::limits::{BODIES, LimitExceeded};
use crate::tls::peer::PeerError;

/// Everything that can go wrong between a request and its answer. `Display` is the message that the client gets.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No API has this path.
    #[error("not found")]
    NoSuchApi,
    /// The path is not UTF-8 or holds a broken percent escape.
    #[error("invalid path: it is not percent-encoded UTF-8")]
    InvalidPath,
    /// The API takes another method.
    #[error("received method '{received}' expected '{expected}'")]
    Method {
        /// What the client sent.
        received: Method,
        /// What the API takes; `POST` too wherever this is `PUT`.
        expected: Method,
    },
    /// The client's certificate names nobody.
    #[error(transparent)]
    Certificate(#[from] PeerError),
    /// The policy of the client does not let it pass.
    #[error("not authorized: insufficient permissions")]
    NotAuthorized(#[from] Refusal),
    /// The argument is no valid key name.
    #[error("key name '{0}' is empty, too long or contains invalid characters")]
    InvalidKeyName(String),
    /// The argument is no valid policy name.
    #[error("policy name '{0}' is empty, too long or contains invalid characters")]
    InvalidPolicyName(String),
    /// The argument is no valid identity.
    #[error("identity '{0}' is empty, too long or contains invalid characters")]
    InvalidIdentity(String),
    /// The argument is no valid listing pattern.
    #[error("listing pattern '{0}' is empty, too long or is invalid")]
    InvalidPattern(String),
    /// The body is not the JSON that the API takes.
    #[error("invalid request body")]
    InvalidBody,
    /// The body of an import is not the JSON that it takes.
    #[error("invalid import key request body")]
    InvalidImportBody,
    /// The body is longer than the API takes.
    #[error("request body is too large: at most {0} bytes are accepted")]
    BodyTooLarge(usize),
    /// The body did not arrive within the API's time-out.
    #[error("request timed out: the body was not received within {}", seconds(.0))]
    BodyTimeout(Duration),
    /// The answer was not there within the API's time-out.
    #[error("request timed out after {}", seconds(.0))]
    Timeout(Duration),
    /// Create or import of a name that is taken.
    #[error("key already exists")]
    KeyExists,
    /// No key has the name.
    #[error("key does not exist")]
    KeyNotFound,
    /// No policy has the name.
    #[error("policy does not exist")]
    PolicyNotFound,
    /// The config does not know the identity.
    #[error("identity does not exist")]
    IdentityNotFound,
    /// The ciphertext, its context or the key is another one.
    #[error("decryption failed: ciphertext is not authentic")]
    NotAuthentic,
    /// The key is from a time before HMAC keys. MinIO takes 501 alone as "not supported".
    #[error("key does not support HMAC")]
    HmacNotSupported,
    /// An import names an algorithm that does not exist here.
    #[error("algorithm '{0}' is not supported")]
    Algorithm(String),
    /// An import brings a key of the wrong size.
    #[error("invalid key size for '{0}'")]
    KeySize(Algorithm),
    /// There is a key that the store does not hand out: soft-deleted, scheduled for deletion. Never told as "not
    /// found", nor is its name free.
    #[error("key is not available: {reason}")]
    Withheld {
        /// Why, and how to get it back.
        reason: String,
    },
    /// What the store holds under the name is not a key. Never told as "not found": MinIO would make a new key.
    #[error("stored key is damaged")]
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed.
    #[error("failed to {0}")]
    Keystore(Operation, #[source] std::sync::Arc<StoreError>),
    /// Readiness: nobody answered at the store's address, or the store answers, but not as it should.
    #[error("{}", not_ready(.cause))]
    NotReady {
        /// What the store said.
        #[source]
        cause: std::sync::Arc<StoreError>,
        /// Whether the client is told so.
        tell: bool,
    },
    /// The store is known to be down, and was not asked.
    #[error("failed to {operation}")]
    Outage {
        /// What was asked of it.
        operation: Operation,
        /// What is known.
        outage: std::sync::Arc<Outage>,
    },
    /// The server is about to end, and takes no more requests.
    #[error("server is stopping")]
    Stopping,
    /// More connections than the server takes.
    #[error("too many connections: at most {0} at a time")]
    TooManyConnections(usize),
    /// More requests are under way than the config allows.
    #[error(transparent)]
    TooManyRequests(#[from] LimitExceeded),
    /// There was no room for the body within the API's time-out.
    #[error("too many large requests: the server takes at most {} MiB of bodies at a time", BODIES >> 20)]
    NoRoom,
    /// More subscribers of a log stream than the server takes.
    #[error("too many subscribers: at most {0} at a time")]
    TooManySubscribers(usize),
    /// A defect of ours; what it was is in the log.
    #[error("internal server error")]
    Internal(&'static str),
}

/// When to ask again after a transient failure, in seconds: a breaker closes within 2 s of the store's return.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The body of every error.
#[derive(Serialize)]
struct Message {
    message: String,
    /// What is wrong with the store: in general, and in its own words for clients of ready that may know them. KES has
    /// no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Why a request was refused or failed, for the audit event; rides on the response, never on the wire.
#[derive(Clone, Debug)]
pub struct Reason {
    /// In words.
    pub text: String,
    /// Whether it is a state that has a line in the log already, or limits that the config sets: no line for each.
    pub is_known: bool,
}

impl ApiError {
    /// The status of the answer.
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
            Self::NotAuthorized(_) => StatusCode::FORBIDDEN,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Withheld { .. } => StatusCode::CONFLICT,
            Self::Algorithm(_) | Self::KeySize(_) => StatusCode::NOT_ACCEPTABLE,
            Self::HmacNotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::TooManySubscribers(_) | Self::TooManyRequests(LimitExceeded::RequestsPerIdentity(_)) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Outage { outage, .. } if outage.cause.is_unreachable() => StatusCode::GATEWAY_TIMEOUT,
            Self::Outage { .. }
            | Self::Stopping
            | Self::TooManyConnections(_)
            | Self::TooManyRequests(LimitExceeded::Requests(_))
            | Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotReady { cause, .. } if cause.is_unreachable() => StatusCode::GATEWAY_TIMEOUT,
            Self::NotReady { cause, .. } if cause.is_worth_waiting() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Keystore(..) | Self::NotReady { .. } => StatusCode::BAD_GATEWAY,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Damaged { .. } | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the operator should know: the message, and behind it what the client is not told.
    pub fn reason(&self) -> String {
        match self {
            Self::NotAuthorized(refusal) => format!("{self}: {refusal}"),
            Self::Damaged { reason } => format!("{self}: {reason}"),
            Self::Keystore(_, cause) | Self::NotReady { cause, .. } => format!("{self}: {}", chain(&**cause)),
            Self::Outage { outage, .. } => {
                let seconds = outage.since.elapsed().as_secs();
                format!("{self}: not asked, down for {seconds} s: {}", chain(&*outage.cause))
            }
            Self::Internal(what) => format!("{self}: {what}"),
            _ => self.to_string(),
        }
    }

    /// Whether the same request may be answered in a moment.
    fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Outage { .. }
                | Self::Stopping
                | Self::TooManyConnections(_)
                | Self::NoRoom
                | Self::TooManyRequests(_)
                | Self::TooManySubscribers(_)
        )
    }

    /// The error of a key operation, in the words of its API.
    pub fn from_keys(operation: Operation, error: KeysError) -> Self {
        match error {
            KeysError::AlreadyExists => Self::KeyExists,
            KeysError::NotFound => Self::KeyNotFound,
            KeysError::Damaged { reason } => Self::Damaged { reason },
            KeysError::Withheld { reason } => Self::Withheld { reason },
            KeysError::Random => Self::Internal("the system gives no random numbers"),
            KeysError::Store(source) => Self::Keystore(operation, source),
            KeysError::Down(outage) => Self::Outage { operation, outage },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let reason = match &self {
            Self::NotReady { tell: true, .. } => Some(self.reason()),
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
        response.extensions_mut().insert(Reason { text: self.reason(), is_known: self.is_transient() });
        response
    }
}

/// The words of readiness for a store that is not well.
fn not_ready(cause: &StoreError) -> &'static str {
    if cause.is_unreachable() { "key store is not reachable" } else { "key store is unavailable" }
}

/// A duration for a message: whole seconds without a fraction.
fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    #[test]
    fn the_reason_of_a_refusal_is_not_in_the_message() {
        let error = ApiError::from(Refusal::NoPolicy(Identity::from_text("abc")));
        assert_eq!(error.to_string(), "not authorized: insufficient permissions");
        assert!(error.reason().contains("identity abc has no policy"));
    }

    #[test]
    fn a_wrong_method_is_answered_with_what_is_allowed() {
        let response = ApiError::Method { received: Method::GET, expected: Method::PUT }.into_response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[header::ALLOW], "PUT, POST");
    }

    #[test]
    fn the_words_of_the_store_are_in_the_reason_alone() {
        let source = StoreError::unavailable("disk is full");
        let error = ApiError::from_keys(Operation::Create, KeysError::Store(source.into()));
        assert_eq!((error.status().as_u16(), error.to_string().as_str()), (502, "failed to create key"));
        assert!(error.reason().contains("disk is full"));
    }
}
