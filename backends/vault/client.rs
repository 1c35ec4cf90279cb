//! The connections to Vault: one pool, TLS, and requests that are not logged.
//!
//! # Only HTTP/1.1
//! A connection carries one request at a time, so a request without a response does not affect others, and cancelling
//! it closes its connection. Sent bytes that the other side does not acknowledge are discarded with the connection
//! after [`UNACKNOWLEDGED`], whether we have closed it or not: after that time, plus that of Vault's own work, a
//! cancelled request no longer takes effect. `vault/claim.rs` depends on this.
//!
//! # Redirects
//! A standby that cannot forward responds with 307 and the address of the active node. Only that is followed: one step,
//! to the same path, over the same scheme, so never from `https` to `http`. The token is sent along, to a host that the
//! server (with `https`: authenticated) has named and that must have a certificate of the same CA. Everything else is
//! an error.
//!
//! # Logs
//! vaultrs and rustify put URLs into spans at level info and log every 404 at level error. Their futures run under a
//! subscriber that discards everything, so a filter such as `vaultrs=off,rustify=off` is not needed.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Certificate, Identity};
use rustify::clients::reqwest::Client as RestClient;
use rustify::endpoint::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use serde_json::Value as Json;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{VaultClient, VaultClientSettings};
use vaultrs::error::ClientError;
use zeroize::{Zeroize, Zeroizing};

use crate::vault::config::{Place, Tls};
use crate::vault::error::{Failure, Health};
use crate::{Secret, StoreError, chain};

/// The time limit for connecting, including the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The time limit for a request and its response: less than half of an operation, so that there is time for a second
/// one.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(3800);

/// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`, RFC 5482).
pub(super) const UNACKNOWLEDGED: Duration = Duration::from_secs(4);

/// How long an idle connection is kept: less than the 5 minutes after which Vault closes it.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// The maximum number of idle connections.
const MAX_IDLE: usize = 32;

/// Builds pools of connections according to the settings.
pub(super) struct Connector {
    https: bool,
    ca: Option<Vec<Certificate>>,
    identity: Option<Identity>,
}

impl Connector {
    /// Reads the files. A file that cannot be read or contains no certificate is an error: there is no fallback to the
    /// system's authorities.
    pub(super) fn new(place: &Place, tls: &Tls) -> Result<Self, StoreError> {
        // Fails if a provider is already installed, as it should be by now.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = match &tls.ca {
            Some(path) => {
                let pem = read("tls.ca", path)?;
                let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
                if certificates.is_empty() {
                    let path = path.display();
                    return Err(StoreError::unavailable(format!(
                        "tls.ca '{path}' contains no PEM certificate; configure a file that does"
                    )));
                }
                Some(certificates)
            }
            None => None,
        };
        let identity = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => {
                let mut pem = Zeroizing::new(read("tls.key", key)?.to_vec());
                pem.push(b'\n');
                pem.extend_from_slice(&read("tls.cert", cert)?);
                Some(Identity::from_pem(&pem).map_err(|_| {
                    let (cert, key) = (cert.display(), key.display());
                    StoreError::unavailable(format!(
                        "tls.cert '{cert}' and tls.key '{key}' are not a PEM certificate and its unencrypted PEM key; \
                         configure files that are"
                    ))
                })?)
            }
            (None, None) => None,
            _ => {
                return Err(StoreError::unavailable(
                    "tls.cert and tls.key of Vault belong together; configure both or neither",
                ));
            }
        };
        Ok(Self { https: place.address.scheme() == "https", ca, identity })
    }

    /// A pool without connections yet.
    pub(super) fn pool(&self) -> Result<reqwest::Client, StoreError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .tcp_keepalive(Duration::from_secs(15))
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_only()
            .no_proxy()
            .referer(false)
            .redirect(Policy::custom(redirect));
        builder = match &self.ca {
            Some(ca) => builder.tls_certs_only(ca.iter().cloned()),
            // Otherwise the system's certificates would be loaded for nothing.
            None if !self.https => builder.tls_certs_only([]),
            None => builder,
        };
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        builder.build().map_err(|error| {
            let causes = chain(&error);
            StoreError::unavailable(format!(
                "cannot set up TLS for Vault: {causes}; check tls.ca, tls.cert and tls.key"
            ))
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("https", &self.https).finish_non_exhaustive()
    }
}

fn redirect(attempt: Attempt<'_>) -> Action {
    let same = attempt
        .previous()
        .first()
        .is_some_and(|first| first.scheme() == attempt.url().scheme() && first.path() == attempt.url().path());
    // Only 307 and 308 preserve the method and the body.
    if same && attempt.previous().len() == 1 && matches!(attempt.status().as_u16(), 307 | 308) {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn read(what: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    std::fs::read(path).map(Zeroizing::new).map_err(|error| {
        StoreError::unavailable(format!(
            "cannot read {what} '{}': {error}; configure a file that this program may read",
            path.display()
        ))
    })
}

/// A token and the clients that use it. A session never changes; it is replaced by another one.
pub(super) struct Session {
    /// In the namespace of the engines.
    pub(super) keys: VaultClient,
    /// In the namespace of the token itself.
    pub(super) token: VaultClient,
    /// When the token was last known to be valid.
    pub(super) since: Instant,
    /// `None` if the token does not expire.
    pub(super) lease: Option<Lease>,
    /// Whether the token is from a login of ours, so that we revoke it.
    pub(super) own: bool,
}

/// The lifetime of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// What was left of it at [`Session::since`].
    pub(super) ttl: Duration,
    /// What it was when the token was first seen here.
    pub(super) full: Duration,
    pub(super) renewable: bool,
}

impl Session {
    pub(super) fn new(place: &Place, pool: &reqwest::Client, token: &Secret, lease: Option<Lease>, own: bool) -> Self {
        let client = |namespace: &Option<String>| client(place, pool, token.expose(), namespace.clone());
        Self {
            keys: client(&place.namespace),
            token: client(&place.login_namespace),
            since: Instant::now(),
            lease,
            own,
        }
    }

    /// The same token with other connections.
    pub(super) fn over(&self, place: &Place, pool: &reqwest::Client) -> Self {
        let mut session = Self::new(place, pool, &self.secret(), self.lease, self.own);
        session.since = self.since;
        session
    }

    pub(super) fn secret(&self) -> Secret {
        Secret::from(self.token.middle.token.clone())
    }
}

/// Tokens are wiped, except for the copies inside of reqwest's requests.
impl Drop for Session {
    fn drop(&mut self) {
        self.keys.middle.token.zeroize();
        self.token.middle.token.zeroize();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("lease", &self.lease).field("own", &self.own).finish_non_exhaustive()
    }
}

/// A client with all settings given, because vaultrs would take missing ones from `VAULT_*` variables.
pub(super) fn client(place: &Place, pool: &reqwest::Client, token: &str, namespace: Option<String>) -> VaultClient {
    VaultClient {
        http: RestClient::new(place.address.as_str(), pool.clone()),
        middle: EndpointMiddleware { token: token.to_owned(), version: "v1".to_owned(), wrap: None, namespace },
        settings: VaultClientSettings {
            address: place.address.clone(),
            ca_certs: Vec::new(),
            identity: None,
            timeout: None,
            token: String::new(),
            verify: true,
            version: 1,
            wrapping: false,
            namespace: None,
            proxy: None,
        },
    }
}

/// Sends a request without any log output, and keeps only those parts of an error that may be shown.
pub(super) async fn quiet<T>(call: impl Future<Output = Result<T, ClientError>>) -> Result<T, Failure> {
    call.with_subscriber(Dispatch::none()).await.map_err(Failure::from)
}

/// A GET request that vaultrs has no function for; returns the whole JSON of the response.
pub(super) async fn get(client: &VaultClient, path: String) -> Result<Json, Failure> {
    quiet(vaultrs::api::exec_with_no_result(client, Request { path, body: None })).await
}

/// A POST request that vaultrs has no function for; returns the whole JSON of the response.
pub(super) async fn post(client: &VaultClient, path: String, body: &Json) -> Result<Json, Failure> {
    let body = Some(body.to_string().into_bytes());
    quiet(vaultrs::api::exec_with_no_result(client, Request { path, body })).await
}

struct Request {
    path: String,
    /// That of a POST request; without one it is a GET request.
    body: Option<Vec<u8>>,
}

/// The body may contain a key.
impl Drop for Request {
    fn drop(&mut self) {
        self.body.zeroize();
    }
}

impl Endpoint for Request {
    type Response = Json;
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.path.clone()
    }

    fn method(&self) -> RequestMethod {
        if self.body.is_some() { RequestMethod::POST } else { RequestMethod::GET }
    }

    fn body(&self) -> Result<Option<Vec<u8>>, rustify::errors::ClientError> {
        Ok(self.body.clone())
    }
}

/// The health that the server reports, if it explains a failure.
/// Source: <https://developer.hashicorp.com/vault/api-docs/system/health>
pub(super) async fn health(session: &Arc<Session>) -> Option<Health> {
    let failure = get(&session.keys, "sys/health".to_owned()).await.err()?;
    Health::of(failure.code()?)
}
