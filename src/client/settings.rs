//! Which servers to use, and with which credentials: the `KES_*` variables, which existing scripts set, and the options
//! of the command line.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use backends::Secret;

use super::credentials::{Credentials, CredentialsError, Source};
use super::variables::{self, API_KEY_FILE, CA, NotUtf8, first_named, first_of, variable};
use crate::tls::certificates::CertificateError;

/// The default server, the same as KES's.
pub const DEFAULT_SERVER: &str = "https://127.0.0.1:7373";

/// The settings of a client.
#[derive(Debug)]
pub struct Settings {
    /// The servers to try; at least one.
    pub endpoints: Vec<Endpoint>,
    /// Which server certificates to accept.
    pub trust: Trust,
    /// The client's credentials. Public APIs do not need any.
    pub credentials: Option<Credentials>,
}

/// The options of a command line that override the environment variables.
#[derive(Clone, Debug, Default)]
pub struct Overrides<'a> {
    /// The endpoints.
    pub server: Option<&'a str>,
    /// Which server certificates to accept.
    pub trust: Option<Trust>,
    /// The API key.
    pub api_key: Option<&'a str>,
    /// Whether an API key takes precedence over a private key and a certificate, as in KES. Otherwise both are an error.
    pub api_key_wins: bool,
}

/// Which server certificates to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those signed by a CA of the system.
    System,
    /// Those signed by a CA in this file, and the certificates in the file themselves.
    File(PathBuf),
    /// All, without verification. Secrets are sent to whichever server responds.
    Insecure,
}

/// A URL without a path, such as `https://127.0.0.1:7373`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

/// Invalid settings. Contains no secrets.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An invalid server URL.
    #[error("'{text}' is not a valid server URL: {reason}; use a URL such as {DEFAULT_SERVER} (KES_SERVER, --server)")]
    Endpoint {
        /// The given text.
        text: String,
        /// The reason.
        reason: String,
    },
    /// A variable that is not valid UTF-8.
    #[error(transparent)]
    NotUtf8(#[from] NotUtf8),
    /// Invalid credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The file of CA certificates cannot be used.
    #[error("--ca or {CA}: {0}")]
    Ca(#[source] CertificateError),
    /// The system has no CA certificates.
    #[error(
        "the system has no CA certificates to verify the server with; install the ca-certificates package, or specify \
         the server's CA with --ca FILE"
    )]
    NoSystemCa,
    /// TLS itself cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// HTTP itself cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Http(#[source] reqwest::Error),
}

impl Settings {
    /// Reads the environment variables that the command line does not override. `prompt` reads the password of a private
    /// key from the terminal, and returns `None` without one.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(
        given: &Overrides<'_>,
        prompt: &dyn Fn(&str) -> std::io::Result<Option<Secret>>,
    ) -> Result<Self, SettingsError> {
        let servers = match given.server {
            Some(server) => server.to_owned(),
            None => first_of(variables::SERVER)?.unwrap_or_else(|| DEFAULT_SERVER.to_owned()),
        };
        let endpoints: Vec<_> =
            servers.split(',').filter(|text| !text.trim().is_empty()).map(Endpoint::parse).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(SettingsError::Endpoint { text: servers, reason: "it is empty".to_owned() });
        }
        let trust = match given.trust.clone() {
            Some(trust) => trust,
            None => variable(CA)?.map_or(Trust::System, |file| Trust::File(file.into())),
        };
        let (api_key, api_key_file) = match given.api_key {
            Some(api_key) => (Some(("--api-key", api_key.to_owned())), None),
            None => (first_named(variables::API_KEYS)?, variable(API_KEY_FILE)?),
        };
        let ignores_files = given.api_key_wins && (api_key.is_some() || api_key_file.is_some());
        let file = |names| if ignores_files { Ok(None) } else { Ok::<_, NotUtf8>(first_of(names)?.map(PathBuf::from)) };
        let source = Source {
            key: file(variables::CLIENT_KEYS)?,
            certificate: file(variables::CLIENT_CERTS)?,
            api_key: api_key.map(|(name, value)| (name, Secret::from(value))),
            api_key_file: api_key_file.map(PathBuf::from),
            password: variable(variables::KEY_PASSWORD)?.map(Secret::from),
            password_file: variable(variables::KEY_PASSWORD_FILE)?.map(PathBuf::from),
        };
        Ok(Self { endpoints, trust, credentials: source.load(prompt)? })
    }
}

impl Endpoint {
    /// Parses a URL, or `HOST:PORT`. A trailing `/` is ignored.
    ///
    /// # Errors
    /// [`SettingsError::Endpoint`].
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let text = text.trim();
        let invalid = |reason: &str| SettingsError::Endpoint { text: text.to_owned(), reason: reason.to_owned() };
        let url = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = reqwest::Url::parse(&url).map_err(|error| invalid(&error.to_string()))?;
        match url.scheme() {
            "https" => {}
            // As KES: a key server uses only HTTPS, whatever the URL says.
            "http" => return Self::parse(&text.replacen("http", "https", 1)),
            _ => return Err(invalid("it does not start with https://")),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(invalid("it has no host"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("a server URL must not have a path"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let host = url.host_str().unwrap_or_default().to_owned(); // the error must not contain the password
            return Err(SettingsError::Endpoint {
                text: host,
                reason: "it contains a user name or a password".to_owned(),
            });
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// Host and port: a name or an address, without the brackets of IPv6.
    pub(super) fn host_and_port(&self) -> Option<(String, u16)> {
        let url = reqwest::Url::parse(&self.0).ok()?;
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some((host, url.port_or_known_default()?))
    }

    /// Whether it is the local machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.host_and_port().is_some_and(|(host, _)| {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        })
    }

    /// The URL, without a trailing `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_https_url_without_a_path() {
        for (text, url) in [
            ("https://127.0.0.1:7373", "https://127.0.0.1:7373"),
            (" https://kes.example.com/ ", "https://kes.example.com"),
            ("kes.example.com:7373", "https://kes.example.com:7373"),
            ("localhost", "https://localhost"),
            ("https://[::1]:7373", "https://[::1]:7373"),
            ("http://127.0.0.1:7373", "https://127.0.0.1:7373"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().as_str(), url);
        }
        for (text, reason) in [
            ("ftp://a", "https://"),
            ("https://a/v1/status", "path"),
            ("https://a?b", "path"),
            ("https://", "host"),
            ("https://a:99999", "port"),
            ("https://admin:hunter2@a", "password"),
        ] {
            let message = Endpoint::parse(text).unwrap_err().to_string();
            assert!(message.contains(reason) && !message.contains("hunter2"), "{text}: {message}");
        }
    }
}
