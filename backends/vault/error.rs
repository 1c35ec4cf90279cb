//! What can go wrong on the way to Vault, and the one place where it becomes an error of a store.
//!
//! Errors of vaultrs never travel further than this file: some of them hold the body of an answer, and so keys or
//! tokens. What is kept is the status, the server's own words (cut, on one line), and the causes of a failed
//! connection.

use std::error::Error;
use std::io;

use serde_json::Value as Json;
use vaultrs::error::ClientError;

use crate::StoreError;
use crate::vault::config::Place;

/// Characters of the server's own words that are repeated at most.
const MAX_WORDS: usize = 300;

/// Why a request has no good answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Vault answered with an error.
    Status {
        /// The HTTP status.
        code: u16,
        /// The words of its `errors` and `warnings`.
        words: Vec<String>,
        /// The answer is Vault's "nothing is there": `{"errors":[]}` and nothing more.
        missing: bool,
        /// The metadata of a version that is deleted or destroyed (KV v2).
        version: Option<Version>,
    },
    /// There was no connection, so Vault has not seen the request.
    NotConnected(String),
    /// Vault may have seen the request; nobody knows what it did.
    Lost(String),
    /// As `Lost`, for no answer came in time.
    TimedOut,
    /// It is not the server that we trust, or does not trust us.
    Tls(String),
    /// Something answered that does not speak as Vault does. It may have seen the request.
    Strange(String),
    /// The token is refused and there was no other to be had.
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

    pub(super) fn code(&self) -> Option<u16> {
        if let Self::Status { code, .. } = self { Some(*code) } else { None }
    }

    /// The answer did not come, so that another connection may do better.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::TimedOut)
    }

    /// Whether a write that ended so may have been done all the same.
    pub(super) fn is_ambiguous(&self) -> bool {
        match self {
            Self::Lost(_) | Self::TimedOut | Self::Strange(_) => true,
            Self::Status { code, .. } => *code >= 500,
            Self::NotConnected(_) | Self::Tls(_) | Self::NoToken(_) => false,
        }
    }

    pub(super) fn says(&self, text: &str) -> bool {
        matches!(self, Self::Status { words, .. } if words.iter().any(|word| word.contains(text)))
    }

    /// What happened, in words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Status { code, words, .. } if words.is_empty() => format!("it answered {code} without a reason"),
            Self::Status { code, words, .. } => format!("it answered {code}: {}", words.join("; ")),
            Self::NotConnected(text) => format!("there is no connection: {text}"),
            Self::Lost(text) => format!("the connection was lost: {text}"),
            Self::TimedOut => "no answer came in time".to_owned(),
            Self::Tls(text) => format!("TLS failed: {text}"),
            Self::Strange(text) | Self::NoToken(text) => text.clone(),
        }
    }

    /// What to do about it.
    fn advice(&self) -> &'static str {
        match self {
            Self::NotConnected(_) | Self::Lost(_) | Self::TimedOut => {
                "see whether the server runs and the network leads to it"
            }
            Self::Tls(_) => "check tls.ca, tls.cert and tls.key, and the name in the server's certificate",
            Self::Strange(_) => "check the endpoint, and proxies on the way to it",
            Self::NoToken(_) => "check the login",
            Self::Status { .. } if self.says("no handler for route") || self.says("route entry not found") => {
                "nothing is mounted there: enable the engine, or correct its path and namespace"
            }
            Self::Status { .. } if self.says("namespace not found") => "correct the namespace",
            Self::Status { .. } if self.says("versioned K/V") => "the engine is KV v2: set version: v2",
            Self::Status { code, .. } => match code {
                400 => "correct what it names",
                403 => "give the token's policy the right to do this, or renew the token",
                404 => "check the engine, its version and the namespace",
                413 => "the value is too large for its storage",
                429 => {
                    "it is a standby that does not forward, or limits our rate: name the active node, or raise the limit"
                }
                472 => "it is a disaster recovery secondary: name the primary",
                473 => "it is a performance standby that does not forward: name the active node",
                501 => "it is not initialised: run `vault operator init`",
                503 => "it is sealed or in maintenance: unseal it with `vault operator unseal`",
                _ => "look at its log",
            },
        }
    }

    /// The one place where a failure becomes an error of a store. `doing` is the operation with the key's name;
    /// `health` what the server says about itself.
    pub(super) fn into_error(self, doing: &str, place: &Place, health: Option<String>) -> StoreError {
        let health = health.map(|health| format!(" ({health})")).unwrap_or_default();
        let reason = format!("cannot {doing} in {place}: {}{health}; {}", self.words(), self.advice());
        match self {
            Self::NotConnected(_) | Self::Lost(_) | Self::TimedOut => StoreError::unreachable(reason),
            // Not initialized, sealed. Source: <https://developer.hashicorp.com/vault/api-docs/system/health>
            Self::Status { code: 501 | 503, .. } => StoreError::not_ready(reason),
            Self::Status { .. } | Self::Tls(_) | Self::Strange(_) | Self::NoToken(_) => StoreError::unavailable(reason),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        use rustify::errors::ClientError as Rest;
        match error {
            ClientError::APIError { code, errors } => {
                Self::Status { code, missing: code == 404 && errors.is_empty(), words: tidy(errors), version: None }
            }
            ClientError::RestClientError { source } => match source {
                Rest::ServerResponseError { code, content } => Self::of_answer(code, content.as_deref()),
                Rest::RequestError { source, .. } | Rest::ResponseError { source } => {
                    Self::of_transport(source.downcast_ref::<reqwest::Error>())
                }
                Rest::ReqwestBuildError { .. }
                | Rest::UrlBuildError { .. }
                | Rest::UrlParseError { .. }
                | Rest::RequestBuildError { .. } => Self::NotConnected("the request could not be made".to_owned()),
                _ => Self::Strange("it answered what is no answer of Vault".to_owned()),
            },
            ClientError::ResponseEmptyError | ClientError::ResponseDataEmptyError => {
                Self::Strange("it answered without the data that was asked for".to_owned())
            }
            _ => Self::Strange("it answered what is no answer of Vault".to_owned()),
        }
    }
}

impl Failure {
    /// An error status with a body that is not `{"errors": [...]}`.
    fn of_answer(code: u16, content: Option<&str>) -> Self {
        if (300..400).contains(&code) {
            let text = "it redirects to another address, and only a standby's redirect to the same path over the \
                        same scheme is followed";
            return Self::Strange(format!("{text} ({code})"));
        }
        let Some(body) = content.and_then(|text| serde_json::from_str::<Json>(text).ok()).filter(Json::is_object)
        else {
            return Self::Status {
                code,
                words: vec!["something that is no answer of Vault".to_owned()],
                missing: false,
                version: None,
            };
        };
        let texts = |field: &str| {
            let list = body.get(field).and_then(Json::as_array).into_iter().flatten();
            list.filter_map(Json::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut words = texts("errors");
        words.extend(texts("warnings"));
        let metadata = body.pointer("/data/metadata");
        let version = metadata.and_then(|metadata| {
            let destroyed = metadata.get("destroyed").and_then(Json::as_bool).unwrap_or(false);
            metadata.get("version").and_then(Json::as_u64).map(|number| Version { number, destroyed })
        });
        if words.is_empty() && version.is_none() && code == 404 {
            words.push("something else than that nothing is there".to_owned());
        }
        Self::Status { code, words: tidy(words), missing: false, version }
    }

    fn of_transport(error: Option<&reqwest::Error>) -> Self {
        let Some(error) = error else { return Self::Lost("the answer was cut".to_owned()) };
        let mut words = Vec::new();
        let mut cause: Option<&(dyn Error + 'static)> = error.source();
        while let Some(inner) = cause {
            if let Some(tls) = tls_error(inner) {
                return Self::Tls(tls.to_string());
            }
            words.push(inner.to_string());
            cause = inner.source();
        }
        words.dedup();
        let text = tidy(vec![words.join(": ")]).pop().unwrap_or_default();
        if error.is_redirect() {
            Self::Strange(text)
        } else if error.is_connect() {
            Self::NotConnected(text)
        } else if error.is_timeout() {
            Self::TimedOut
        } else {
            Self::Lost(text)
        }
    }
}

/// The error of TLS in an error of I/O, whose `source` passes over it.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return tls_error(error.get_ref()?);
    }
    error.downcast_ref()
}

/// The server's words on one line, and not more than [`MAX_WORDS`] of them.
fn tidy(words: Vec<String>) -> Vec<String> {
    let tidy = |text: String| {
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
    };
    words.into_iter().map(tidy).collect()
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
    fn a_deleted_version_is_told_from_a_missing_value() {
        let body = r#"{"data":{"data":null,"metadata":{"version":3,"destroyed":true}}}"#;
        let Failure::Status { version: Some(version), missing: false, .. } = Failure::of_answer(404, Some(body)) else {
            panic!("not seen");
        };
        assert_eq!((version.number, version.destroyed), (3, true));
    }

    #[test]
    fn the_servers_words_are_cut_and_on_one_line() {
        let words = vec![format!("1 error occurred:\n\t* permission denied\n\n{}", "x".repeat(1000))];
        let text = Failure::from(ClientError::APIError { code: 403, errors: words }).words();
        assert!(text.starts_with("it answered 403: 1 error occurred: * permission denied xxx"), "{text}");
        assert!(text.len() < 400 && !text.contains('\n'), "{text}");
    }

    #[test]
    fn a_page_of_a_proxy_is_not_repeated() {
        let text = Failure::of_answer(502, Some("<html>token=s3cr3t</html>")).words();
        assert_eq!(text, "it answered 502: something that is no answer of Vault");
    }
}
