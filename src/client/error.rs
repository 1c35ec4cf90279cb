//! Why a request to a server failed, and what to do about it.

use std::fmt;

use backends::tls_failure as failure;
use reqwest::Method;
use rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::settings::SettingsError;
use super::variables::{API_KEY, CLIENT_CERT, CLIENT_KEY};
use crate::identity::Identity;

/// A failed request. `Display` is for users and contains no secrets.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The settings are invalid; nothing was sent.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No endpoint responded: each with its failure, in the order in which they were tried.
    #[error("{}", endpoints(.0))]
    Endpoints(Vec<(String, EndpointFailure)>),
    /// The connection broke after the request may have arrived.
    #[error(
        "{endpoint}: {failure}; it is not known whether the request was executed ({request}); check before you retry"
    )]
    OutcomeUnknown {
        /// The server.
        endpoint: String,
        /// The request.
        request: String,
        /// What failed.
        failure: EndpointFailure,
    },
    /// The server returned an error.
    #[error(transparent)]
    Api(Box<ApiFailure>),
    /// The response is not from a key server.
    #[error("{endpoint} returned an invalid response to {request}; check that KES_SERVER is a key server")]
    Malformed {
        /// The server.
        endpoint: String,
        /// The request.
        request: String,
    },
}

/// Why an endpoint did not respond.
#[derive(Debug, thiserror::Error)]
pub enum EndpointFailure {
    /// No connection could be established.
    #[error("cannot be reached: {0}; check that the server is running and that KES_SERVER is correct")]
    NoConnection(String),
    /// It took too long.
    #[error("did not respond in time")]
    Timeout,
    /// Its certificate is not trusted.
    #[error("{0}")]
    Untrusted(String),
    /// It does not use TLS.
    #[error("does not use TLS; check that the port is that of a key server")]
    NotTls,
    /// It rejected the client's certificate, or requires one.
    #[error("{0}")]
    Rejected(String),
    /// The connection ended.
    #[error("dropped the connection: {0}")]
    Broken(String),
}

/// An error response.
#[derive(Debug)]
pub struct ApiFailure {
    /// HTTP status.
    pub status: u16,
    /// The server's message.
    pub message: String,
    /// The problem of its keystore.
    pub reason: Option<String>,
    /// The server.
    pub endpoint: String,
    /// The method of the request.
    pub method: Method,
    /// The path of the request.
    pub path: String,
    /// The client's identity.
    pub identity: Option<Identity>,
}

impl ApiFailure {
    /// Whether the client is not authorized, or has no credentials.
    pub fn is_denied(&self) -> bool {
        self.status == 403 || (self.status == 400 && self.message.starts_with("tls: "))
    }

    /// Whether the key, policy or identity does not exist.
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
                "\n  your identity is {identity}\n  to see why, run: keyway policy explain {identity} {method} {path}"
            ),
            None if self.is_denied() => write!(f, "\n  {}", no_credentials()),
            _ if self.status == 404 && !self.is_not_found() => {
                write!(f, "\n  {} does not have this API; check that it is a key server", self.endpoint)
            }
            _ => Ok(()),
        }
    }
}

impl EndpointFailure {
    /// Finds the actual failure among the causes of an error. `has_credentials` is whether the client has any.
    pub(super) fn of(error: &reqwest::Error, has_credentials: bool) -> Self {
        let causes = causes(error);
        if let Some(tls) = causes.iter().find_map(|cause| failure::find(*cause)) {
            return Self::of_tls(tls, has_credentials);
        }
        if error.is_timeout() {
            return Self::Timeout;
        }
        let last = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
        if error.is_connect() { Self::NoConnection(last) } else { Self::Broken(last) }
    }

    /// The failure behind an I/O error.
    pub(super) fn of_io(error: &std::io::Error, has_credentials: bool) -> Self {
        failure::find(error)
            .map_or_else(|| Self::Broken(error.to_string()), |error| Self::of_tls(error, has_credentials))
    }

    fn of_tls(error: &TlsError, has_credentials: bool) -> Self {
        match error {
            TlsError::InvalidCertificate(problem) => Self::Untrusted(untrusted(problem)),
            TlsError::AlertReceived(alert) => Self::of_alert(*alert, has_credentials),
            TlsError::InvalidMessage(_) => Self::NotTls,
            other => Self::Broken(failure::text(other)),
        }
    }

    fn of_alert(alert: AlertDescription, has_credentials: bool) -> Self {
        let name = failure::alert_name(alert);
        match alert {
            AlertDescription::CertificateRequired => Self::Rejected(no_credentials()),
            AlertDescription::HandshakeFailure if !has_credentials => Self::Rejected(no_credentials()),
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => Self::Rejected(format!(
                "rejected your certificate ({name}); check that it is valid now and, if the server has tls.auth: on, \
                 that the server trusts its CA"
            )),
            _ => Self::Broken(format!("the server closed the TLS connection with the alert '{name}'")),
        }
    }

    /// Whether a request that was sent may have been executed.
    pub(super) fn may_have_been_executed(&self) -> bool {
        matches!(self, Self::Timeout | Self::Broken(_))
    }

    /// Whether the server rejected the client.
    pub fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }

    /// Whether a retry with the same settings cannot succeed.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::Untrusted(_))
    }
}

fn endpoints(failures: &[(String, EndpointFailure)]) -> String {
    match failures {
        [(endpoint, failure)] => format!("{endpoint} {failure}"),
        failures => {
            let lines = failures.iter().map(|(endpoint, failure)| format!("\n  {endpoint} {failure}"));
            format!("none of the {} servers could be used:{}", failures.len(), lines.collect::<String>())
        }
    }
}

fn no_credentials() -> String {
    format!("requires authentication; set {API_KEY}, or {CLIENT_KEY} and {CLIENT_CERT}")
}

fn untrusted(problem: &CertificateError) -> String {
    match problem {
        // A CA with the same name but a different key, as in test setups, causes a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "has a certificate from a CA that is not trusted; specify the CA, or the certificate itself, with --ca \
             FILE or KEYWAY_CA (for testing only: -k)"
                .to_owned()
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("has a certificate that expired at {}; renew it", failure::seconds(*not_after))
        }
        CertificateError::Expired => "has an expired certificate; renew it".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("has a certificate that is not valid before {}; check both clocks", failure::seconds(*not_before))
        }
        CertificateError::NotValidYet => "has a certificate that is not valid yet; check both clocks".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let (names, expected) = (failure::names(presented), expected.to_str());
            format!("has a certificate for {names}, not for {expected}; use a name that is in the certificate")
        }
        CertificateError::NotValidForName => {
            "has a certificate for a different name; use a name that is in the certificate".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "has a certificate that is not for servers; create one with extendedKeyUsage=serverAuth".to_owned()
        }
        other => format!("has an invalid certificate: {}", failure::certificate_text(other)),
    }
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn std::error::Error + 'static)) -> Vec<&'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source()).collect()
}
