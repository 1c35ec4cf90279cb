//! The client side: how the command line sends requests to a server.
//!
//! [`Settings`] are read completely before anything is sent, [`Client`] tries the endpoints in order, and every failure
//! is a [`ClientError`] that says what to do. Output and exit codes belong to the command line (`cli/`).

pub mod credentials;
pub mod error;
mod probe;
pub mod responses;
pub mod settings;
mod tls;
pub mod variables;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Response};
use serde::de::DeserializeOwned;

use crate::identity::Identity;
pub use error::ClientError;
use error::{ApiFailure, EndpointFailure};
pub use settings::{Endpoint, Settings};

/// How long connecting to an endpoint may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request may take. The server's own limit is 15 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest response that is accepted, in bytes. A page of names is 1 MiB.
const MAX_RESPONSE: usize = 16 << 20;

/// The characters to escape in a path: all but the unreserved ones (RFC 3986 section 2.3) and the `*` of patterns.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~').remove(b'.').remove(b'*');

/// Sends requests to a server, or to the first of several that responds.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    tls: Arc<rustls::ClientConfig>,
    endpoints: Vec<Endpoint>,
    identity: Option<Identity>,
    /// The endpoint that responded last, which is tried first.
    first: AtomicUsize,
}

impl Client {
    /// A client with these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Settings`] when TLS cannot be set up with them.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let identity = settings.credentials.as_ref().map(|credentials| credentials.identity.clone());
        let tls = tls::config(settings.trust, settings.credentials)?;
        let mut http = reqwest::Client::builder();
        // Proxies of the environment are used, but not for the local machine: like Go, and therefore KES's client.
        if settings.endpoints.iter().all(Endpoint::is_loopback) {
            http = http.no_proxy();
        }
        let http = http
            .tls_backend_preconfigured(tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .user_agent(concat!("keyway/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(settings::SettingsError::Http)?;
        Ok(Self { http, tls: Arc::new(tls), endpoints: settings.endpoints, identity, first: AtomicUsize::new(0) })
    }

    /// One client per endpoint, in order.
    pub fn each(&self) -> impl Iterator<Item = Self> {
        self.endpoints.iter().map(|endpoint| Self {
            http: self.http.clone(),
            tls: self.tls.clone(),
            endpoints: vec![endpoint.clone()],
            identity: self.identity.clone(),
            first: AtomicUsize::new(0),
        })
    }

    /// The client's identity; `None` without credentials.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The endpoint that responded last, or else the first one.
    pub fn endpoint(&self) -> &str {
        let first = self.first.load(Ordering::Relaxed);
        self.endpoints.get(first).or(self.endpoints.first()).map_or("", Endpoint::as_str)
    }

    /// Sends a GET for a JSON response.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Method::GET, path, None).await
    }

    /// Sends a GET for a response of any kind.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_bytes(&self, path: &str) -> Result<Bytes, ClientError> {
        self.bytes(Method::GET, path, None).await
    }

    /// Sends a PUT that changes nothing on the server, with a JSON body and a JSON response.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn compute<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, ClientError> {
        self.json(Method::PUT, path, Some(body)).await
    }

    /// Sends a request that changes something, at most once. The response is empty.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::OutcomeUnknown`] if it may have been executed.
    pub async fn change(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<(), ClientError> {
        let response = self.send(method.clone(), path, body, true).await?;
        if response.status().is_success() {
            return Ok(()); // the body is empty
        }
        self.read(&method, path, response).await.map(drop)
    }

    /// Sends a GET for an endless response.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stream(&self, path: &str) -> Result<Response, ClientError> {
        let response = self.send(Method::GET, path, None, false).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        self.read(&Method::GET, path, response).await?;
        Err(self.malformed(&Method::GET, path))
    }

    /// Decodes a JSON response of the API `/v1/{api}`.
    ///
    /// # Errors
    /// [`ClientError::Malformed`] if it does not have the fields of `T`.
    pub fn decode<T: DeserializeOwned>(&self, api: &str, response: &serde_json::Value) -> Result<T, ClientError> {
        T::deserialize(response).map_err(|_| self.malformed(&Method::GET, &format!("/v1/{api}")))
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let response = self.bytes(method.clone(), path, body).await?;
        serde_json::from_slice(&response).map_err(|_| self.malformed(&method, path))
    }

    async fn bytes(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Bytes, ClientError> {
        let response = self.send(method.clone(), path, body, false).await?;
        self.read(&method, path, response).await
    }

    /// Tries the endpoints in order, starting with the one that responded last. A request that `changes` something is
    /// not sent again once it may have arrived.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        changes: bool,
    ) -> Result<Response, ClientError> {
        let endless = path.starts_with("/v1/log/");
        let mut failures = Vec::new();
        let first = self.first.load(Ordering::Relaxed);
        for turn in 0..self.endpoints.len() {
            let index = (first + turn) % self.endpoints.len();
            let Some(endpoint) = self.endpoints.get(index) else { continue };
            let mut request = self.http.request(method.clone(), format!("{endpoint}{path}"));
            if let Some(body) = &body {
                request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body.clone());
            }
            if !endless {
                request = request.timeout(REQUEST_TIMEOUT);
            }
            match request.send().await {
                Ok(response) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(response);
                }
                Err(error) => {
                    let sent = !error.is_connect();
                    let failure = self.failure(endpoint, &error).await;
                    if changes && sent && failure.may_have_been_executed() {
                        let request = format!("{method} {path}");
                        return Err(ClientError::OutcomeUnknown { endpoint: endpoint.to_string(), request, failure });
                    }
                    failures.push((endpoint.to_string(), failure));
                }
            }
        }
        Err(ClientError::Endpoints(failures))
    }

    /// Why an endpoint did not respond: a broken connection may hide that the server rejected the client.
    async fn failure(&self, endpoint: &Endpoint, error: &reqwest::Error) -> EndpointFailure {
        let failure = EndpointFailure::of(error, self.identity.is_some());
        if !matches!(failure, EndpointFailure::Broken(_)) {
            return failure;
        }
        let rejection = probe::rejection(endpoint, self.tls.clone()).await;
        let rejection = rejection.map(|error| EndpointFailure::of_io(&error, self.identity.is_some()));
        rejection.filter(EndpointFailure::is_rejected).unwrap_or(failure)
    }

    /// Reads the body of a successful response; any other response is an error.
    async fn read(&self, method: &Method, path: &str, mut response: Response) -> Result<Bytes, ClientError> {
        let status = response.status();
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_RESPONSE => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(self.malformed(method, path)),
                Ok(None) => break,
                Err(error) => {
                    let failure = EndpointFailure::of(&error, self.identity.is_some());
                    return Err(ClientError::Endpoints(vec![(self.endpoint().to_owned(), failure)]));
                }
            }
        }
        if status.is_success() {
            return Ok(body.freeze());
        }
        let failure: responses::Failure = serde_json::from_slice(&body).map_err(|_| self.malformed(method, path))?;
        Err(ClientError::Api(Box::new(ApiFailure {
            status: status.as_u16(),
            message: failure.message,
            reason: failure.reason,
            endpoint: self.endpoint().to_owned(),
            method: method.clone(),
            path: path.to_owned(),
            identity: self.identity.clone(),
        })))
    }

    fn malformed(&self, method: &Method, path: &str) -> ClientError {
        ClientError::Malformed { endpoint: self.endpoint().to_owned(), request: format!("{method} {path}") }
    }
}

/// The path of an API with its escaped argument.
pub fn path(api: &str, argument: &str) -> String {
    format!("{api}{}", utf8_percent_encode(argument, ESCAPED))
}
