//! Why a request to a server failed, in words that say what to do.

use std::fmt;

use reqwest::Method;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use time::OffsetDateTime;

use super::settings::SettingsError;
use super::variables::{API_KEY, CLIENT_CERT, CLIENT_KEY};
use crate::identity::Identity;

/// A request failed. `Display` is for people; it holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing was sent.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No endpoint answered: each with its reason, in the order in which they were asked.
    #[error("{}", endpoints(.0))]
    Endpoints(Vec<(String, EndpointFailure)>),
    /// The connection broke after the request may have arrived.
    #[error(
        "{endpoint}: {failure}; whether it has done the request ({request}) is not known: look before you send it again"
    )]
    Unknown {
        /// Who was asked.
        endpoint: String,
        /// For what.
        request: String,
        /// What broke.
        failure: EndpointFailure,
    },
    /// The server said no.
    #[error(transparent)]
    Api(Box<ApiFailure>),
    /// What answered is no key server.
    #[error("{endpoint} answers {request} as no key server does: is KES_SERVER right?")]
    Malformed {
        /// Who answered.
        endpoint: String,
        /// What.
        request: String,
    },
}

/// Why one endpoint gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum EndpointFailure {
    /// There was no connection.
    #[error("cannot be reached: {0}; is the server running, and is KES_SERVER right?")]
    NoConnection(String),
    /// It took too long.
    #[error("did not answer in time")]
    Timeout,
    /// Its certificate is not believed.
    #[error("{0}")]
    Untrusted(String),
    /// It speaks something else than TLS.
    #[error("does not speak TLS: is that the port of a key server?")]
    NotTls,
    /// It does not believe us.
    #[error("{0}")]
    Refused(String),
    /// The connection ended.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// An answer that is a failure.
#[derive(Debug)]
pub struct ApiFailure {
    /// HTTP status.
    pub status: u16,
    /// What the server says.
    pub message: String,
    /// What it says about its store.
    pub reason: Option<String>,
    /// Who says it.
    pub endpoint: String,
    /// The request.
    pub method: Method,
    /// The request.
    pub path: String,
    /// Who asked.
    pub identity: Option<Identity>,
}

impl ApiFailure {
    /// Whether the client may not do it, or is nobody.
    pub fn is_denied(&self) -> bool {
        self.status == 403 || (self.status == 400 && self.message.starts_with("tls: "))
    }

    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status == 404 && self.message.ends_with("does not exist")
    }
}

impl std::error::Error for ApiFailure {}

impl fmt::Display for ApiFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, method, path, .. } = self;
        write!(f, "{message} ({method} {path})")?;
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        match &self.identity {
            Some(identity) if self.status == 403 => write!(
                f,
                "\n  you are {identity}\n  which rule decides: keyway policy explain {identity} {method} {path}"
            ),
            None if self.is_denied() => write!(f, "\n  {}", no_credentials()),
            _ if self.status == 404 && !self.is_not_found() => {
                write!(f, "\n  {} has no such API: is it a key server?", self.endpoint)
            }
            _ => Ok(()),
        }
    }
}

impl EndpointFailure {
    /// Looks for what really happened among the causes of an error. `named` says whether the client has credentials.
    pub(super) fn of(error: &reqwest::Error, named: bool) -> Self {
        let causes = causes(error);
        if let Some(tls) = causes.iter().find_map(|cause| tls_error(*cause)) {
            return Self::of_tls(tls, named);
        }
        if error.is_timeout() {
            return Self::Timeout;
        }
        let last = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
        if error.is_connect() { Self::NoConnection(last) } else { Self::Broken(last) }
    }

    /// What ended a connection without HTTP.
    pub(super) fn of_io(error: &std::io::Error, named: bool) -> Self {
        tls_error(error).map_or_else(|| Self::Broken(error.to_string()), |error| Self::of_tls(error, named))
    }

    fn of_tls(error: &TlsError, named: bool) -> Self {
        match error {
            TlsError::InvalidCertificate(problem) => Self::Untrusted(untrusted(problem)),
            TlsError::AlertReceived(alert) => Self::of_alert(*alert, named),
            TlsError::InvalidMessage(_) => Self::NotTls,
            other => Self::Broken(other.to_string()),
        }
    }

    fn of_alert(alert: AlertDescription, named: bool) -> Self {
        match alert {
            AlertDescription::CertificateRequired => Self::Refused(no_credentials()),
            AlertDescription::HandshakeFailure if !named => Self::Refused(no_credentials()),
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => Self::Refused(format!(
                "refuses your certificate ({alert:?}): is it expired, or does the server have tls.auth: on and not know \
                 its CA?"
            )),
            other => Self::Broken(format!("the server ended TLS with the alert {other:?}")),
        }
    }

    /// Whether a request that was sent may have been done.
    pub(super) fn may_be_done(&self) -> bool {
        matches!(self, Self::Timeout | Self::Broken(_))
    }

    /// Whether the server would not talk with this client.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether another attempt with the same settings can only end the same way.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Untrusted(_))
    }
}

fn endpoints(failures: &[(String, EndpointFailure)]) -> String {
    match failures {
        [(endpoint, failure)] => format!("{endpoint} {failure}"),
        failures => {
            let lines = failures.iter().map(|(endpoint, failure)| format!("\n  {endpoint} {failure}"));
            format!("none of {} servers answered:{}", failures.len(), lines.collect::<String>())
        }
    }
}

fn no_credentials() -> String {
    format!("wants to know who you are: set {API_KEY}, or {CLIENT_KEY} and {CLIENT_CERT}")
}

fn untrusted(problem: &CertificateError) -> String {
    let date = |time: &rustls::pki_types::UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(seconds)
            .map_or_else(|_| "an unknown time".to_owned(), |time| format!("{} {} UTC", time.date(), time.time()))
    };
    match problem {
        // A CA of the same name with another key, as every test CA is, gives a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "has a certificate from an authority that is not trusted here: name its CA, \
             or the certificate itself, with --ca FILE or KEYWAY_CA (for a test: -k)"
                .to_owned()
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("has a certificate that expired at {}: renew it", date(not_after))
        }
        CertificateError::Expired => "has an expired certificate: renew it".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("has a certificate that is valid from {} on: are the clocks right?", date(not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() {
                "no name at all (no subjectAltName)".to_owned()
            } else {
                presented.join(", ")
            };
            let expected = expected.to_str();
            format!("has a certificate for {names}, not for {expected}: call it by a name that the certificate has")
        }
        CertificateError::NotValidForName => "has a certificate for another name".to_owned(),
        other => format!("has a certificate that cannot be used: {other}"),
    }
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn std::error::Error + 'static)) -> Vec<&'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source()).collect()
}

/// The TLS error that a cause is or, as an I/O error in perhaps another, holds: its `source` would skip it.
fn tls_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a TlsError> {
    if let Some(found) = cause.downcast_ref::<TlsError>() {
        return Some(found);
    }
    tls_error(cause.downcast_ref::<std::io::Error>()?.get_ref()?)
}
