//! The only place where errors of the SDK become errors of a store.
//!
//! The SDK's own errors contain requests and responses, which `Debug` prints. They do not leave this file: only the
//! code and the message of AWS, or the cause of a failed connection, are kept.

use std::error::Error;

use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use crate::{StoreError, chain};

/// The SDK's default chain, for messages.
pub(super) const DEFAULT_CHAIN: &str =
    "the default chain (environment, profile, web identity, container, instance role)";

/// The maximum number of characters of a message of AWS that are kept.
const MAX_MESSAGE: usize = 400;

/// The cause when the time is over.
const NO_RESPONSE: &str = "no response in time";

/// A failed request, after all attempts.
#[derive(Debug)]
pub(super) struct Failure {
    outcome: Outcome,
    /// For example `AccessDeniedException`; empty when the service did not return one or did not respond.
    code: String,
    /// The message of AWS, or the cause.
    message: String,
}

/// How far the request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// There was no complete response.
    Unreachable,
    /// The service refused the request.
    Refused,
    /// The service failed, or its response is invalid.
    Broken,
    /// The request was not sent.
    Unsent,
}

impl Failure {
    pub(super) fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let without_code = |outcome, message| Self { outcome, code: String::new(), message };
        match error {
            SdkError::ServiceError(context) => {
                let outcome = if context.raw().status().is_client_error() { Outcome::Refused } else { Outcome::Broken };
                let code = context.err().code().map(str::to_owned).unwrap_or_default();
                let message = match context.err().message() {
                    Some(message) => clean(message),
                    None => format!("status {}", context.raw().status()),
                };
                Self { outcome, code, message }
            }
            SdkError::DispatchFailure(failure) => {
                let is_transport = failure.is_io()
                    || failure.is_timeout()
                    || failure.as_connector_error().is_some_and(|error| error.as_other().is_some());
                let cause = failure.as_connector_error().and_then(Error::source);
                let message = cause.map_or_else(|| "the connection failed".to_owned(), |cause| clean(&chain(cause)));
                if is_transport {
                    return without_code(Outcome::Unreachable, message);
                }
                // The SDK has no type for missing credentials; this only affects the message.
                let hint = if message.contains("credential") { "no credentials: " } else { "" };
                without_code(Outcome::Unsent, format!("{hint}{message}"))
            }
            SdkError::TimeoutError(_) => without_code(Outcome::Unreachable, NO_RESPONSE.to_owned()),
            // The cause may quote the response.
            SdkError::ResponseError(_) => {
                without_code(Outcome::Broken, "the response is incomplete, or not from Secrets Manager".to_owned())
            }
            other => {
                let message = other
                    .source()
                    .map_or_else(|| "the request could not be built".to_owned(), |cause| clean(&chain(cause)));
                without_code(Outcome::Unsent, message)
            }
        }
    }

    /// A request that was cancelled because the time limit of the operation was reached.
    pub(super) fn timed_out() -> Self {
        Self { outcome: Outcome::Unreachable, code: String::new(), message: NO_RESPONSE.to_owned() }
    }

    /// The error code of the service.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Whether the message contains this text. Messages are not an API: use this only to choose between two safe
    /// results.
    pub(super) fn says(&self, text: &str) -> bool {
        self.message.contains(text)
    }

    /// Whether the request was refused or not sent, so that nothing has happened.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.outcome, Outcome::Refused | Outcome::Unsent)
    }

    /// Whether rights are missing.
    pub(super) fn is_denied(&self) -> bool {
        self.code == "AccessDeniedException" || self.code == "AccessDenied"
    }

    /// Whether the request may succeed with other credentials.
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
                "try again later, or request a higher quota"
            }
            "LimitExceededException" => "delete secrets that are not needed, or request a higher quota",
            "DecryptionFailure" | "EncryptionFailure" => {
                "check that the secret's KMS key is enabled, and that kms:Decrypt and kms:GenerateDataKey are allowed"
            }
            _ if self.outcome == Outcome::Unreachable => {
                "check that the endpoint is correct and reachable from here (DNS, network, proxy)"
            }
            _ if self.outcome == Outcome::Broken => "try again later, and check the health of the service",
            _ if self.outcome == Outcome::Unsent => "check endpoint, region and credentials of this keystore",
            _ => "check the configuration of this keystore",
        }
    }

    /// The error of a store for this failure: `doing` is what failed, and where.
    pub(super) fn to_error(&self, doing: &str) -> StoreError {
        let colon = if self.code.is_empty() || self.message.is_empty() { "" } else { ": " };
        let Self { code, message, .. } = self;
        let reason = format!("cannot {doing}: {code}{colon}{message}; {}", self.advice());
        match self.outcome {
            Outcome::Unreachable => StoreError::unreachable(reason),
            Outcome::Refused | Outcome::Broken | Outcome::Unsent => StoreError::unavailable(reason),
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
    line.chars().filter(|char| !char.is_control()).take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_is_kept_and_no_quoted_value() {
        assert_eq!(
            clean("It does not match.\n\nThe Canonical String was\nx-amz-security-token:TOKEN"),
            "It does not match."
        );
        let text = "1 validation error detected: Value 'se'cret' at 'secretString' failed to satisfy constraint: x";
        let cleaned = "1 validation error detected: Value (left out) at 'secretString' failed to satisfy constraint: x";
        assert_eq!(clean(text), cleaned);
        assert_eq!(clean(&"ü".repeat(1000)).chars().count(), MAX_MESSAGE);
    }
}
