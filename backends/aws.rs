//! AWS Secrets Manager, in the layout of KES: one secret per key, whose name is that of the key (after an optional
//! prefix) and whose `SecretString` is the value. A `SecretBinary` is read, and written for what is not text.
//!
//! | file | what it contains |
//! |---|---|
//! | `aws/config.rs` | settings and their bounds; region, credentials and HTTP client |
//! | `aws/secret.rs` | reading a secret, and finding out why there is none to read |
//! | `aws/failure.rs` | from the SDK's errors to those of a store |
//!
//! # Which create succeeds
//! AWS assigns the name of a secret only once. Each create has a unique request token, which becomes the version of the
//! secret: so a request that the SDK repeats after a lost response is recognized as the same one. When the name is
//! taken or the response is lost, the secret is read: only the caller whose token and value it contains gets `Ok`.
//!
//! # Certainty
//! AWS responds with "not found" also for a secret without a value, and with "invalid request" for one that is
//! scheduled for deletion. `DescribeSecret` shows which it is; both are withheld, neither missing nor overwritten. A
//! role created for KES may lack the right to describe; then the message of AWS decides, and an unknown message is not
//! taken as "not found".
//!
//! # What AWS does not guarantee
//! Its operations are eventually consistent: a listing may be minutes old, and for some minutes after a permanent
//! deletion the name may still be taken. Of two concurrent deletes, both may get `Ok`. A value has 1 to [`MAX_VALUE`]
//! bytes, because AWS accepts no other.
//!
//! Not here: a cache, and the meaning of a value.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};
use tokio::sync::RwLock;
use tracing::{info, warn};

mod config;
mod failure;
mod secret;

pub use config::{Config, Credentials, RECOVERY_DAYS, Timeouts};
use failure::Failure;
use secret::{State, is_deleted};

use crate::deadline::within;
use crate::{Name, Store, StoreError, Value};

/// The maximum number of bytes in a value.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
pub const MAX_VALUE: usize = 65_536;

/// Secrets on one page of a listing: the maximum of AWS.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html>
const PAGE: i32 = 100;

/// What `ping` reads, after the prefix: not the name of a key. It need not exist; if it does, it is decrypted as well.
const PING_NAME: &str = ".keyway-ping";

/// How often to retry when a secret is created and deleted between two requests.
const ATTEMPTS: usize = 20;

/// The time between two such attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// Credentials that are newer are not replaced when AWS refuses them.
const MIN_CREDENTIALS_AGE: Duration = Duration::from_secs(3);

/// The store.
pub struct Aws {
    config: Config,
    /// Where the secrets are, for messages.
    place: String,
    session: RwLock<Session>,
}

/// A client with the credentials that were found at one time.
#[derive(Clone)]
struct Session {
    client: Client,
    created: Instant,
}

impl Aws {
    /// Finds region and credentials, and makes sure that secrets may be read.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when a setting is out of bounds, region or credentials are missing, or AWS refuses;
    /// [`StoreError::Unreachable`] when there is no response.
    pub async fn open(config: &Config) -> Result<Self, StoreError> {
        let connection = Box::pin(config::connect(config)).await?;
        let mut place = format!("AWS Secrets Manager in {}", connection.region);
        if let Some(endpoint) = &config.endpoint {
            place = format!("{place} at {endpoint}");
        }
        let session = Session { client: connection.client, created: Instant::now() };
        let store = Self { config: config.clone(), place, session: RwLock::new(session) };
        store.ping().await?;
        info!(place = store.place, prefix = config.prefix, "using AWS Secrets Manager as keystore");
        Ok(store)
    }

    /// The name of the secret of a key.
    fn id(&self, name: &str) -> String {
        format!("{}{name}", self.config.prefix)
    }

    /// Sends one request. If it fails because of the credentials, they are fetched again, and the request is repeated
    /// once, which is possible for each of our requests.
    async fn call<T, E, F>(&self, request: impl Fn(Client) -> F + Send + Sync) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let session = self.session.read().await.clone();
        let failure = match Box::pin(request(session.client)).await {
            Ok(response) => return Ok(response),
            Err(error) => Failure::of(error),
        };
        if failure.is_about_credentials() && self.renew(session.created).await {
            let client = self.session.read().await.client.clone();
            return Box::pin(request(client)).await.map_err(Failure::of);
        }
        Err(failure)
    }

    /// Replaces the session that was created at that time, and returns whether there is a newer one. The SDK by itself
    /// keeps using credentials that were revoked, and never reads a profile again.
    async fn renew(&self, created: Instant) -> bool {
        let mut session = self.session.write().await;
        if session.created != created {
            return true;
        }
        if self.config.credentials.is_some() || created.elapsed() < MIN_CREDENTIALS_AGE {
            return false;
        }
        session.created = Instant::now();
        match Box::pin(config::connect(&self.config)).await {
            Ok(connection) => session.client = connection.client,
            Err(error) => {
                warn!(%error, "AWS refused the credentials, and fetching new ones failed");
                return false;
            }
        }
        info!("AWS refused the credentials; fetched new ones");
        true
    }

    /// Bounds the time of an operation, whatever it waits for.
    async fn within<T>(
        &self,
        doing: &str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let expired = || Failure::timed_out().to_error(&format!("{doing} in {}", self.place));
        within(self.config.timeouts.operation, expired, work).await
    }

    fn error(&self, failure: &Failure, doing: &str, id: &str) -> StoreError {
        failure.to_error(&format!("{doing} the secret '{id}' in {}", self.place))
    }

    /// Sends the request to create a secret, in a part of the operation's time: the rest is for finding out whether it
    /// succeeded.
    async fn send_create(&self, id: &str, value: &Value, token: &str) -> Result<(), Failure> {
        let text = std::str::from_utf8(value.as_bytes()).ok();
        let request = self.call(|client| {
            let create = client.create_secret().name(id).client_request_token(token);
            let create = create.set_kms_key_id(self.config.kms_key.clone());
            match text {
                Some(text) => create.secret_string(text),
                None => create.secret_binary(Blob::new(value.as_bytes())),
            }
            .send()
        });
        within(self.config.timeouts.operation * 5 / 8, Failure::timed_out, request).await.map(drop)
    }

    async fn create_secret(&self, id: &str, value: &Value) -> Result<(), StoreError> {
        // Unique to this create.
        // Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html> (32 to 64
        // characters)
        let token = uuid::Uuid::new_v4().to_string();
        for _ in 0..ATTEMPTS {
            let Err(failure) = self.send_create(id, value, &token).await else { return Ok(()) };
            let is_taken = failure.code() == "ResourceExistsException";
            if failure.code() == "InvalidRequestException" && is_deleted(&failure) {
                return Err(match self.state(id).await? {
                    Some(State::Missing) => self.being_removed(id),
                    Some(State::Scheduled | State::Empty | State::Present) | None => self.scheduled(id),
                });
            }
            if !is_taken && failure.is_refusal() {
                return Err(self.error(&failure, "create", id));
            }
            // Taken, or the response is lost: what the secret contains decides.
            match self.read(id).await {
                Ok(found) if found.version.as_deref() == Some(&*token) && found.value == *value => return Ok(()),
                Ok(_) | Err(StoreError::Damaged { .. }) => return Err(StoreError::AlreadyExists),
                // It was deleted in the meantime.
                Err(StoreError::NotFound) if is_taken => tokio::time::sleep(ATTEMPT_PAUSE).await,
                Err(withheld @ StoreError::Withheld { .. }) => return Err(withheld),
                Err(error) if is_taken => return Err(error),
                Err(_) => return Err(self.error(&failure, "create", id)),
            }
        }
        Err(self.changing(id))
    }

    async fn delete_secret(&self, id: &str) -> Result<(), StoreError> {
        // AWS reports success for the permanent deletion of what does not exist.
        match self.state(id).await? {
            Some(State::Missing) => return Err(StoreError::NotFound),
            Some(State::Scheduled) => return Err(self.scheduled(id)),
            Some(State::Empty | State::Present) => {}
            None => match self.read(id).await {
                Ok(_) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            },
        }
        let request = |client: Client| {
            let delete = client.delete_secret().secret_id(id);
            match self.config.recovery_window {
                Some(days) => delete.recovery_window_in_days(days.into()),
                None => delete.force_delete_without_recovery(true),
            }
            .send()
        };
        match self.call(request).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.code() == "ResourceNotFoundException" => Err(StoreError::NotFound),
            // By another caller in the meantime, or by us and the response was lost.
            Err(failure) if failure.code() == "InvalidRequestException" && is_deleted(&failure) => Ok(()),
            Err(failure) => Err(self.error(&failure, "delete", id)),
        }
    }

    async fn list_secrets(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        let start = self.id(prefix);
        // The value of a filter must not be empty; several filters must all match.
        let filter = Filter::builder().key(FilterNameStringType::Name).values(&start).build();
        let filters = (!start.is_empty()).then(|| vec![filter]);
        let mut names = BTreeSet::new();
        let mut next = None;
        loop {
            let request = |client: Client| {
                let list = client.list_secrets().max_results(PAGE);
                list.set_filters(filters.clone()).set_next_token(next.clone()).send()
            };
            let page = match self.call(request).await {
                Ok(page) => page,
                Err(failure) => return Err(failure.to_error(&format!("list the secrets in {}", self.place))),
            };
            for secret in page.secret_list() {
                let Some(rest) = secret.name().and_then(|name| name.strip_prefix(&self.config.prefix)) else {
                    continue;
                };
                let Ok(name) = Name::parse(rest) else { continue };
                if rest.starts_with(prefix) && after.is_none_or(|after| name > *after) {
                    names.insert(name);
                    if names.len() > limit {
                        names.pop_last();
                    }
                }
            }
            next = page.next_token;
            if next.as_ref().is_none_or(String::is_empty) {
                return Ok(names.into_iter().collect());
            }
        }
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let id = self.id(PING_NAME);
        match self.call(|client| client.get_secret_value().secret_id(&id).send()).await {
            Ok(_) => Ok(()),
            // The request is allowed, and there is nothing, or nothing with a value.
            Err(failure) if failure.code() == "ResourceNotFoundException" => Ok(()),
            Err(failure) if failure.code() == "InvalidRequestException" && is_deleted(&failure) => Ok(()),
            Err(failure) => Err(self.error(&failure, "read", &id)),
        }
    }
}

#[async_trait]
impl Store for Aws {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        value.check_len()?;
        if value.is_empty() || value.len() > MAX_VALUE {
            let reason =
                format!("the value has {} bytes, and AWS Secrets Manager accepts 1 to {MAX_VALUE}", value.len());
            return Err(StoreError::unavailable(reason));
        }
        let id = self.id(name.as_str());
        self.within(&format!("create the secret '{id}'"), self.create_secret(&id, value)).await
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        let id = self.id(name.as_str());
        self.within(&format!("read the secret '{id}'"), async { Ok(self.read(&id).await?.value) }).await
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        let id = self.id(name.as_str());
        self.within(&format!("delete the secret '{id}'"), self.delete_secret(&id)).await
    }

    /// Reads all pages, because AWS sorts by date: about 100 ms per 100 secrets with the prefix.
    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.within("list the secrets", self.list_secrets(prefix, after, limit)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.within("read a secret", self.probe()).await
    }

    fn changes(&self) -> Option<tokio::sync::broadcast::Receiver<crate::Change>> {
        None
    }

    fn missing_rights(&self) -> Option<String> {
        None
    }

    async fn close(&self) {}
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("config", &self.config).field("place", &self.place).finish_non_exhaustive()
    }
}
