//! What can go wrong with a request to Vault, and the only function that turns it into a [`StoreError`].
//!
//! Errors of vaultrs do not leave this file: some of them contain the body of a response, and so keys or tokens. Only
//! the status, the server's messages (shortened, on one line) and the causes of a failed connection are kept.

use std::error::Error;

use serde_json::Value as Json;
use vaultrs::error::ClientError;

use crate::vault::config::Place;
use crate::{StoreError, chain, tls_failure};

/// The maximum number of characters of a message of the server that are repeated.
const MAX_MESSAGE: usize = 300;

/// Why a request failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Vault responded with an error.
    Status {
        /// The HTTP status.
        code: u16,
        /// The messages in its `errors` and `warnings`.
        messages: Vec<String>,
        /// Whether it is Vault's "nothing is there": `{"errors":[]}` and nothing more.
        missing: bool,
        /// The metadata of a version that is deleted or destroyed (KV v2).
        version: Option<Version>,
    },
    /// There was no connection, so Vault has not received the request.
    NotConnected(String),
    /// The connection was lost. Vault may have processed the request.
    Lost(String),
    /// There was no response in time. Vault may have processed the request.
    TimedOut,
    /// The server is not trusted, or does not trust us.
    Tls(String),
    /// The response is not one of Vault. Vault may have processed the request.
    Unexpected(String),
    /// The token was refused, and no other one could be obtained.
    NoToken(String),
}

/// A version of a KV v2 value that cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) destroyed: bool,
}

impl Failure {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Status { missing: true, .. })
    }

    pub(super) fn is_denied(&self) -> bool {
        self.code() == Some(403)
    }

    /// Whether a login was refused: it will be again, unless the credential or the role changes. Vault 1.13 answers 500
    /// to a secret ID that does not exist.
    pub(super) fn is_refused_login(&self) -> bool {
        match self {
            Self::NoToken(_) => true,
            Self::Status { code, .. } => {
                matches!(code, 400..=428 | 430..=471 | 474..=499) || self.says("invalid secret id")
            }
            Self::NotConnected(_) | Self::Lost(_) | Self::TimedOut | Self::Tls(_) | Self::Unexpected(_) => false,
        }
    }

    pub(super) fn code(&self) -> Option<u16> {
        if let Self::Status { code, .. } = self { Some(*code) } else { None }
    }

    /// Whether there was no response, so that another connection may work.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::TimedOut)
    }

    /// Whether a write that failed like this may have happened nevertheless.
    pub(super) fn is_ambiguous(&self) -> bool {
        match self {
            Self::Lost(_) | Self::TimedOut | Self::Unexpected(_) => true,
            Self::Status { code, .. } => *code >= 500,
            Self::NotConnected(_) | Self::Tls(_) | Self::NoToken(_) => false,
        }
    }

    /// Whether a message of the server contains this text.
    pub(super) fn says(&self, text: &str) -> bool {
        matches!(self, Self::Status { messages, .. } if messages.iter().any(|message| message.contains(text)))
    }

    /// What happened.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Status { code, messages, .. } if messages.is_empty() => {
                format!("it responded with {code} and no message")
            }
            Self::Status { code, messages, .. } => format!("it responded with {code}: {}", messages.join("; ")),
            Self::NotConnected(text) => format!("cannot connect: {text}"),
            Self::Lost(text) => format!("the connection was lost: {text}"),
            Self::TimedOut => "there was no response in time".to_owned(),
            Self::Tls(text) => format!("TLS failed: {text}"),
            Self::Unexpected(text) | Self::NoToken(text) => text.clone(),
        }
    }

    /// What to do about it.
    fn advice(&self) -> &'static str {
        match self {
            Self::NotConnected(_) | Self::Lost(_) | Self::TimedOut => {
                "check that the server is running and reachable from here"
            }
            Self::Tls(_) => "check tls.ca, tls.cert and tls.key, and the names in the server's certificate",
            Self::Unexpected(_) => "check the endpoint and any proxy in between",
            Self::NoToken(_) => "check the login",
            Self::Status { .. } if self.says("no handler for route") || self.says("route entry not found") => {
                "nothing is mounted there: enable the engine, or correct its path or namespace"
            }
            Self::Status { .. } if self.says("namespace not found") => "correct the namespace",
            Self::Status { .. } if self.says("versioned K/V") => "the engine is KV v2: set version: v2",
            Self::Status { code, .. } => advice_of(*code),
        }
    }

    /// The only place where a failure becomes an error of a store. `doing` is the operation with the name of the key;
    pub(super) fn into_error(self, doing: &str, place: &Place, health: Option<Health>) -> StoreError {
        let (text, advice) = match health {
            // To a request, a server that is not initialized responds that it is sealed.
            Some(Health::NotInitialized) => (Health::NotInitialized.text().to_owned(), advice_of(501)),
            Some(health) => (format!("{} ({})", self.text(), health.text()), self.advice()),
            None => (self.text(), self.advice()),
        };
        let reason = format!("cannot {doing} in {place}: {text}; {advice}");
        match self {
            Self::NotConnected(_) | Self::Lost(_) | Self::TimedOut => StoreError::unreachable(reason),
            // Not initialized, sealed. Source: <https://developer.hashicorp.com/vault/api-docs/system/health>
            Self::Status { code: 501 | 503, .. } => StoreError::not_ready(reason),
            Self::Status { .. } | Self::Tls(_) | Self::Unexpected(_) | Self::NoToken(_) => {
                StoreError::unavailable(reason)
            }
        }
    }
}

/// What to do about a status.
fn advice_of(code: u16) -> &'static str {
    match code {
        400 => "correct the problem that the message describes",
        403 => "allow this in the token's policy, or renew the token",
        404 => "check the engine, its version and the namespace",
        413 => "the value is too large for Vault's storage",
        429 => {
            "it is a standby that does not forward requests, or limits requests: configure the active node, or raise the \
             limit"
        }
        472 => "it is a disaster recovery secondary: configure the primary",
        473 => "it is a performance standby that does not forward requests: configure the active node",
        501 => "initialize it with `vault operator init`",
        503 => "it is sealed or in maintenance: unseal it with `vault operator unseal`",
        _ => "check the server's log",
    }
}

/// A state of the server that explains a failure.
/// Source: <https://developer.hashicorp.com/vault/api-docs/system/health>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Standby,
    RecoverySecondary,
    PerformanceStandby,
    NotInitialized,
    Sealed,
}

impl Health {
    /// The state that a status of `sys/health` reports.
    pub(super) fn of(code: u16) -> Option<Self> {
        match code {
            429 => Some(Self::Standby),
            472 => Some(Self::RecoverySecondary),
            473 => Some(Self::PerformanceStandby),
            501 => Some(Self::NotInitialized),
            503 => Some(Self::Sealed),
            _ => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Standby => "the server is a standby",
            Self::RecoverySecondary => "the server is a disaster recovery secondary",
            Self::PerformanceStandby => "the server is a performance standby",
            Self::NotInitialized => "the server is not initialized",
            Self::Sealed => "the server is sealed",
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        use rustify::errors::ClientError as Rest;
        match error {
            ClientError::APIError { code, errors } => {
                Self::Status { code, missing: code == 404 && errors.is_empty(), messages: tidy(errors), version: None }
            }
            ClientError::RestClientError { source } => match source {
                Rest::ServerResponseError { code, content } => Self::of_answer(code, content.as_deref()),
                Rest::RequestError { source, .. } | Rest::ResponseError { source } => {
                    Self::of_transport(source.downcast_ref::<reqwest::Error>())
                }
                Rest::ReqwestBuildError { .. }
                | Rest::UrlBuildError { .. }
                | Rest::UrlParseError { .. }
                | Rest::RequestBuildError { .. } => Self::NotConnected("the request could not be built".to_owned()),
                _ => Self::Unexpected("the response is not from Vault".to_owned()),
            },
            ClientError::ResponseEmptyError | ClientError::ResponseDataEmptyError => {
                Self::Unexpected("the response does not contain the requested data".to_owned())
            }
            _ => Self::Unexpected("the response is not from Vault".to_owned()),
        }
    }
}

impl Failure {
    /// An error status with a body that is not `{"errors": [...]}`.
    fn of_answer(code: u16, content: Option<&str>) -> Self {
        if (300..400).contains(&code) {
            let text = "it redirects to another address, and only a redirect of a standby to the same path with the \
                        same scheme is followed";
            return Self::Unexpected(format!("{text} ({code})"));
        }
        let Some(body) = content.and_then(|text| serde_json::from_str::<Json>(text).ok()).filter(Json::is_object)
        else {
            return Self::Status {
                code,
                messages: vec!["the response is not from Vault".to_owned()],
                missing: false,
                version: None,
            };
        };
        let texts = |field: &str| {
            let list = body.get(field).and_then(Json::as_array).into_iter().flatten();
            list.filter_map(Json::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut messages = texts("errors");
        messages.extend(texts("warnings"));
        let metadata = body.pointer("/data/metadata");
        let version = metadata.and_then(|metadata| {
            let destroyed = metadata.get("destroyed").and_then(Json::as_bool).unwrap_or(false);
            metadata.get("version").and_then(Json::as_u64).map(|number| Version { number, destroyed })
        });
        if messages.is_empty() && version.is_none() && code == 404 {
            messages.push("the response does not confirm that nothing exists at this path".to_owned());
        }
        Self::Status { code, messages: tidy(messages), missing: false, version }
    }

    fn of_transport(error: Option<&reqwest::Error>) -> Self {
        let Some(error) = error else { return Self::Lost("the response is incomplete".to_owned()) };
        let causes = || std::iter::successors(error.source(), |&cause| cause.source());
        if let Some(tls) = causes().find_map(tls_failure::find) {
            return Self::Tls(tls_failure::text(tls));
        }
        let text = tidy(error.source().map(chain).into_iter().collect()).pop().unwrap_or_default();
        if error.is_redirect() {
            Self::Unexpected(text)
        } else if error.is_connect() {
            Self::NotConnected(text)
        } else if error.is_timeout() {
            Self::TimedOut
        } else {
            Self::Lost(text)
        }
    }
}

/// The messages, each on one line of at most [`MAX_MESSAGE`] characters.
fn tidy(messages: Vec<String>) -> Vec<String> {
    let tidy = |text: String| {
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
    };
    messages.into_iter().map(tidy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_list_of_errors_means_that_nothing_is_there() {
        assert!(Failure::from(ClientError::APIError { code: 404, errors: vec![] }).is_missing());
        let route = vec!["no handler for route \"kv/x\". route entry not found.".to_owned()];
        assert!(!Failure::from(ClientError::APIError { code: 404, errors: route }).is_missing());
        for body in [None, Some(""), Some("<html>not found</html>"), Some("{}"), Some("[]"), Some(r#"{"data":null}"#)] {
            assert!(!Failure::of_answer(404, body).is_missing(), "{body:?}");
        }
    }

    #[test]
    fn a_deleted_version_differs_from_a_missing_value() {
        let body = r#"{"data":{"data":null,"metadata":{"version":3,"destroyed":true}}}"#;
        let Failure::Status { version: Some(version), missing: false, .. } = Failure::of_answer(404, Some(body)) else {
            panic!("not recognized");
        };
        assert_eq!((version.number, version.destroyed), (3, true));
    }

    #[test]
    fn messages_of_the_server_are_shortened_and_on_one_line() {
        let errors = vec![format!("1 error occurred:\n\t* permission denied\n\n{}", "x".repeat(1000))];
        let text = Failure::from(ClientError::APIError { code: 403, errors }).text();
        assert!(text.starts_with("it responded with 403: 1 error occurred: * permission denied xxx"), "{text}");
        assert!(text.len() < 400 && !text.contains('\n'), "{text}");
    }

    #[test]
    fn a_page_of_a_proxy_is_not_repeated() {
        let text = Failure::of_answer(502, Some("<html>token=s3cr3t</html>")).text();
        assert_eq!(text, "it responded with 502: the response is not from Vault");
    }
}
