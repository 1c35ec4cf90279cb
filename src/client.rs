//! The other side: what the command line asks a server with.
//!
//! [`Settings`] are read whole before anything is sent, [`Client`] tries the endpoints in turn, and whatever fails is a
//! [`ClientError`] that says what to do. What is printed, and the exit codes, are the command line's (`cli/`).

pub mod answers;
pub mod credentials;
pub mod error;
mod probe;
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

/// How long a connection to one endpoint may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request may take. The server's own limit is 15 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes. A page of names is 1 MiB.
const MAX_ANSWER: usize = 16 << 20;

/// What of a name needs no escape in a path: the unreserved characters (RFC 3986 section 2.3), and the `*` of patterns.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~').remove(b'.').remove(b'*');

/// Asks a server, or the first of several that answers.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    tls: Arc<rustls::ClientConfig>,
    endpoints: Vec<Endpoint>,
    identity: Option<Identity>,
    /// The endpoint that answered last: the first to be asked next.
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
        // Proxies of the environment are used, and not for this machine: as by KES's client, which Go sees to.
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

    /// A client of each endpoint alone, in their order.
    pub fn each(&self) -> impl Iterator<Item = Self> {
        self.endpoints.iter().map(|endpoint| Self {
            http: self.http.clone(),
            tls: self.tls.clone(),
            endpoints: vec![endpoint.clone()],
            identity: self.identity.clone(),
            first: AtomicUsize::new(0),
        })
    }

    /// Who asks; nobody when there are no credentials.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The endpoint that answered last, or that will be asked first.
    pub fn endpoint(&self) -> &str {
        let first = self.first.load(Ordering::Relaxed);
        self.endpoints.get(first).or(self.endpoints.first()).map_or("", Endpoint::as_str)
    }

    /// GET of a JSON answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Method::GET, path, None).await
    }

    /// GET of any answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_bytes(&self, path: &str) -> Result<Bytes, ClientError> {
        self.bytes(Method::GET, path, None).await
    }

    /// PUT of a JSON body that changes nothing at the server, for a JSON answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn compute<T: DeserializeOwned>(&self, path: &str, body: Vec<u8>) -> Result<T, ClientError> {
        self.json(Method::PUT, path, Some(body)).await
    }

    /// A request that changes something, whose answer is empty. It is sent once at most.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Unknown`] when it may have been done.
    pub async fn change(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<(), ClientError> {
        let response = self.send(method.clone(), path, body, true).await?;
        if response.status().is_success() {
            return Ok(()); // the status says it all; the body is empty
        }
        self.read(&method, path, response).await.map(drop)
    }

    /// GET of an endless answer.
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

    /// A part of an answer that came as it was.
    ///
    /// # Errors
    /// [`ClientError::Malformed`] when it is not there; `what` names the API.
    pub fn look<T: DeserializeOwned>(&self, what: &str, answer: &serde_json::Value) -> Result<T, ClientError> {
        T::deserialize(answer).map_err(|_| self.malformed(&Method::GET, &format!("/v1/{what}")))
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let answer = self.bytes(method.clone(), path, body).await?;
        serde_json::from_slice(&answer).map_err(|_| self.malformed(&method, path))
    }

    async fn bytes(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Bytes, ClientError> {
        let response = self.send(method.clone(), path, body, false).await?;
        self.read(&method, path, response).await
    }

    /// Asks the endpoints in turn, the one that answered last first. What `changes` something is not sent again once
    /// it may have arrived.
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
                    if changes && sent && failure.may_be_done() {
                        let request = format!("{method} {path}");
                        return Err(ClientError::Unknown { endpoint: endpoint.to_string(), request, failure });
                    }
                    failures.push((endpoint.to_string(), failure));
                }
            }
        }
        Err(ClientError::Endpoints(failures))
    }

    /// Why an endpoint gave no answer: a connection that broke may hide that the server refuses the client.
    async fn failure(&self, endpoint: &Endpoint, error: &reqwest::Error) -> EndpointFailure {
        let failure = EndpointFailure::of(error, self.identity.is_some());
        if !matches!(failure, EndpointFailure::Broken(_)) {
            return failure;
        }
        let refusal = probe::refusal(endpoint, self.tls.clone()).await;
        let refusal = refusal.map(|error| EndpointFailure::of_io(&error, self.identity.is_some()));
        refusal.filter(EndpointFailure::is_refused).unwrap_or(failure)
    }

    /// The body of a success; anything else is what the server said.
    async fn read(&self, method: &Method, path: &str, mut response: Response) -> Result<Bytes, ClientError> {
        let status = response.status();
        let mut answer = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if answer.len() + chunk.len() <= MAX_ANSWER => answer.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(self.malformed(method, path)),
                Ok(None) => break,
                Err(error) => {
                    let failure = EndpointFailure::of(&error, self.identity.is_some());
                    return Err(ClientError::Endpoints(vec![(self.endpoint().to_owned(), failure)]));
                }
            }
        }
        if status.is_success() {
            return Ok(answer.freeze());
        }
        let answer: answers::Failure = serde_json::from_slice(&answer).map_err(|_| self.malformed(method, path))?;
        Err(ClientError::Api(Box::new(ApiFailure {
            status: status.as_u16(),
            message: answer.message,
            reason: answer.reason,
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

/// The path of an API with its argument, escaped.
pub fn path(api: &str, argument: &str) -> String {
    format!("{api}{}", utf8_percent_encode(argument, ESCAPED))
}
