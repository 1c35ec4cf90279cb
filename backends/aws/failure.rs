//! The one place where errors of the SDK become errors of a store.
//!
//! The SDK's own errors hold requests and answers, which `Debug` prints. They end here: what goes on is the code and
//! the words of AWS, or the cause of a failed connection.

use std::error::Error;

use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use crate::{StoreError, chain};

/// The SDK's default chain, in words.
pub(super) const DEFAULT_CHAIN: &str =
    "the default chain (environment, profile, web identity, container, instance role)";

/// Characters of the service's words that are passed on at most.
const MAX_WORDS: usize = 400;

/// A failed request, all attempts included.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    /// As in `AccessDeniedException`; empty when the service did not say or did not answer.
    code: String,
    words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No answer, or not all of it.
    Unreachable,
    /// An answer that says no.
    Refused,
    /// An answer that says that the service failed, or one that makes no sense.
    Broken,
    /// No request was made.
    Unsent,
}

impl Failure {
    pub(super) fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let without_code = |kind, words| Self { kind, code: String::new(), words };
        match error {
            SdkError::ServiceError(context) => {
                let kind = if context.raw().status().is_client_error() { Kind::Refused } else { Kind::Broken };
                let code = context.err().code().map(str::to_owned).unwrap_or_default();
                let words = match context.err().message() {
                    Some(message) => clean(message),
                    None => format!("status {}", context.raw().status()),
                };
                Self { kind, code, words }
            }
            SdkError::DispatchFailure(failure) => {
                let is_transport = failure.is_io()
                    || failure.is_timeout()
                    || failure.as_connector_error().is_some_and(|error| error.as_other().is_some());
                let cause = failure.as_connector_error().and_then(Error::source);
                let words = cause.map_or_else(|| "the connection failed".to_owned(), |cause| clean(&chain(cause)));
                if is_transport {
                    return without_code(Kind::Unreachable, words);
                }
                // No type of ours to tell it by; the text differs, the answer does not.
                let hint = if words.contains("credential") { "no credentials: " } else { "" };
                without_code(Kind::Unsent, format!("{hint}{words}"))
            }
            SdkError::TimeoutError(_) => without_code(Kind::Unreachable, "no answer in time".to_owned()),
            // The cause may quote the answer.
            SdkError::ResponseError(_) => {
                without_code(Kind::Broken, "the answer was cut, or is none of Secrets Manager".to_owned())
            }
            other => {
                let words = other
                    .source()
                    .map_or_else(|| "the request could not be made".to_owned(), |cause| clean(&chain(cause)));
                without_code(Kind::Unsent, words)
            }
        }
    }

    /// A request that was given up because the operation's time was over.
    pub(super) fn timed_out() -> Self {
        Self { kind: Kind::Unreachable, code: String::new(), words: "no answer in time".to_owned() }
    }

    /// The code of the service.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// The words of the service, which are no API: to choose between two safe answers alone.
    pub(super) fn says(&self, words: &str) -> bool {
        self.words.contains(words)
    }

    /// Whether the service said no, so that nothing was done.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.kind, Kind::Refused | Kind::Unsent)
    }

    /// Whether the rights are missing.
    pub(super) fn is_denied(&self) -> bool {
        self.code == "AccessDeniedException" || self.code == "AccessDenied"
    }

    /// Whether other credentials may do.
    pub(super) fn is_about_credentials(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ExpiredTokenException"
                | "ExpiredToken"
                | "RequestExpired"
                | "UnrecognizedClientException"
                | "InvalidClientTokenId"
                | "InvalidSignatureException"
                | "SignatureDoesNotMatch"
                | "IncompleteSignature"
                | "MissingAuthenticationToken"
                | "MissingAuthenticationTokenException"
        )
    }

    fn advice(&self) -> &'static str {
        match self.code.as_str() {
            _ if self.is_about_credentials() => "check the credentials, their session and the clock of this machine",
            _ if self.is_denied() => {
                "allow secretsmanager:CreateSecret, GetSecretValue, DescribeSecret, DeleteSecret and ListSecrets, and \
                 kms:Decrypt and kms:GenerateDataKey on the KMS key"
            }
            "ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestLimitExceeded" | "SlowDown" => {
                "try again later, or have the quota raised"
            }
            "LimitExceededException" => "remove secrets, or have the quota raised",
            "DecryptionFailure" | "EncryptionFailure" => {
                "see that the secret's KMS key is enabled, and that kms:Decrypt and kms:GenerateDataKey are allowed"
            }
            _ if self.kind == Kind::Unreachable => {
                "see that the endpoint is right and can be reached from here (DNS, network, proxy)"
            }
            _ if self.kind == Kind::Broken => "try again later, and look at the state of the service",
            _ if self.kind == Kind::Unsent => "look at endpoint, region and credentials of this key store",
            _ => "look at the configuration of this key store",
        }
    }

    /// What to tell of it: `doing` says what failed and where.
    pub(super) fn told(&self, doing: &str) -> StoreError {
        let colon = if self.code.is_empty() || self.words.is_empty() { "" } else { ": " };
        let Self { code, words, .. } = self;
        let reason = format!("cannot {doing}: {code}{colon}{words}; {}", self.advice());
        match self.kind {
            Kind::Unreachable => StoreError::unreachable(reason),
            Kind::Refused | Kind::Broken | Kind::Unsent => StoreError::unavailable(reason),
        }
    }
}

/// One line, of bounded length. After the first line of a wrong signature, AWS prints the request's headers, session
/// token included; and a failed validation may quote a value.
pub(super) fn clean(message: &str) -> String {
    let line = message.trim().lines().next().unwrap_or_default();
    let line = match (line.find("Value '"), line.rfind("' at '")) {
        (Some(start), Some(end)) if start < end => {
            format!("{}Value (left out{}", line.get(..start).unwrap_or_default(), line.get(end..).unwrap_or_default())
                .replacen("(left out'", "(left out)", 1)
        }
        _ => line.to_owned(),
    };
    line.chars().filter(|char| !char.is_control()).take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_is_passed_on_and_no_quoted_value() {
        assert_eq!(
            clean("It does not match.\n\nThe Canonical String was\nx-amz-security-token:TOKEN"),
            "It does not match."
        );
        let text = "1 validation error detected: Value 'se'cret' at 'secretString' failed to satisfy constraint: x";
        let cleaned = "1 validation error detected: Value (left out) at 'secretString' failed to satisfy constraint: x";
        assert_eq!(clean(text), cleaned);
        assert_eq!(clean(&"ü".repeat(1000)).chars().count(), MAX_WORDS);
    }
}
