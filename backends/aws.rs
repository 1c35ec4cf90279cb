//! AWS Secrets Manager, in the layout of KES: one secret per key, whose name is the key's (after a prefix of ours, by
//! choice) and whose `SecretString` is the value. A `SecretBinary` is read, and written for what is no text.
//!
//! | file | what lives there |
//! |---|---|
//! | `aws/config.rs` | settings and their bounds; region, credentials and HTTP client |
//! | `aws/standing.rs` | reading a secret, and telling why there is none to read |
//! | `aws/failure.rs` | from the SDK's errors to ours |
//!
//! # Who wins
//! AWS takes a secret's name once. Each create has a request token of its own, which becomes the version of the
//! secret: so a repeated request, by the SDK after a lost answer, is known for the same. When the name is taken or the
//! answer is lost, the secret is read: only the caller whose token and value stand there is told `Ok`.
//!
//! # Certainty
//! AWS says "not found" also of a secret that is there without a value, and "invalid request" of one that is scheduled
//! for deletion. `DescribeSecret` tells which; either is withheld, neither missing nor overwritten. A role made for KES
//! may lack the right to describe; then the words of AWS decide, and words that we do not know are no "not found".
//!
//! # What AWS does not promise
//! Its operations are eventually consistent: a listing may be minutes old, and for some minutes after a deletion for
//! ever the name may still be taken. Of two deletes at once both may be told `Ok`. A value has 1 to
//! [`MAX_VALUE`] bytes, for AWS takes no other.
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
mod standing;

pub use config::{Config, Credentials, RECOVERY_DAYS, Timeouts};
use failure::Failure;
use standing::{Standing, says_deleted};

use crate::deadline::within;
use crate::{Name, Store, StoreError, Value};

/// Bytes in a value at most.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
pub const MAX_VALUE: usize = 65_536;

/// Secrets on one page of a listing: as many as AWS gives.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html>
const PAGE: i32 = 100;

/// What `ping` asks for, after the prefix: no name of a key. It need not exist; if it does, it is read with its KMS key.
const PING_NAME: &str = ".keyway-ping";

/// How often a secret may come and go between two looks at it before we give up.
const LOOKS: usize = 20;

/// The time between two such looks.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// How long new credentials are given before others are fetched.
const CREDENTIALS_AGE: Duration = Duration::from_secs(3);

/// The store.
pub struct Aws {
    config: Config,
    /// What messages call the place.
    place: String,
    session: RwLock<Session>,
}

/// A client with the credentials of one walk down the chain.
#[derive(Clone)]
struct Session {
    client: Client,
    made: Instant,
}

impl Aws {
    /// Finds region and credentials, and makes sure that secrets may be read.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when a setting is out of bounds, region or credentials are missing, or AWS refuses;
    /// [`StoreError::Unreachable`] when nobody answers.
    pub async fn open(config: &Config) -> Result<Self, StoreError> {
        let connection = Box::pin(config::connect(config)).await?;
        let mut place = format!("AWS Secrets Manager in {}", connection.region);
        if let Some(endpoint) = &config.endpoint {
            place = format!("{place} at {endpoint}");
        }
        let session = Session { client: connection.client, made: Instant::now() };
        let store = Self { config: config.clone(), place, session: RwLock::new(session) };
        store.ping().await?;
        info!(place = store.place, prefix = config.prefix, "keys are in AWS Secrets Manager");
        Ok(store)
    }

    /// The name of a key's secret.
    fn id(&self, name: &str) -> String {
        format!("{}{name}", self.config.prefix)
    }

    /// One request. When it fails for its credentials, the chain is walked anew, and the request made once more: each
    /// of our requests can be repeated.
    async fn call<T, E, F>(&self, request: impl Fn(Client) -> F + Send + Sync) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let session = self.session.read().await.clone();
        let failure = match Box::pin(request(session.client)).await {
            Ok(answer) => return Ok(answer),
            Err(error) => Failure::of(error),
        };
        if failure.is_about_credentials() && self.renew(session.made).await {
            let client = self.session.read().await.client.clone();
            return Box::pin(request(client)).await.map_err(Failure::of);
        }
        Err(failure)
    }

    /// Replaces the session made at that time, and tells whether there is a newer one. The SDK alone goes on with
    /// credentials that were revoked, and never reads a profile again.
    async fn renew(&self, made: Instant) -> bool {
        let mut session = self.session.write().await;
        if session.made != made {
            return true;
        }
        if self.config.credentials.is_some() || made.elapsed() < CREDENTIALS_AGE {
            return false;
        }
        session.made = Instant::now();
        match Box::pin(config::connect(&self.config)).await {
            Ok(connection) => session.client = connection.client,
            Err(error) => {
                warn!(%error, "AWS refused the credentials, and there are no others");
                return false;
            }
        }
        info!("AWS refused the credentials; fetched new ones");
        true
    }

    /// Bounds an operation, whatever it waits for.
    async fn within<T>(
        &self,
        doing: &str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let expired = || Failure::timed_out().told(&format!("{doing} in {}", self.place));
        within(self.config.timeouts.operation, expired, work).await
    }

    fn told(&self, failure: &Failure, doing: &str, id: &str) -> StoreError {
        failure.told(&format!("{doing} the secret '{id}' in {}", self.place))
    }

    /// Asks AWS to make a secret, in a part of the operation's time: the rest is for finding out what became of it.
    async fn make(&self, id: &str, value: &Value, token: &str) -> Result<(), Failure> {
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
        // A version 4 UUID that no other create has.
        // Source: <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html> (32 to 64 characters)
        let token = uuid::Uuid::new_v4().to_string();
        for _ in 0..LOOKS {
            let Err(failure) = self.make(id, value, &token).await else { return Ok(()) };
            let is_taken = failure.code() == "ResourceExistsException";
            if failure.code() == "InvalidRequestException" && says_deleted(&failure) {
                return Err(match self.standing(id).await? {
                    Some(Standing::Missing) => self.leaving(id),
                    _ => self.scheduled(id),
                });
            }
            if !is_taken && failure.is_refusal() {
                return Err(self.told(&failure, "create", id));
            }
            // Taken, or the answer is lost: what stands there decides.
            match self.read(id).await {
                Ok(found) if found.version.as_deref() == Some(&*token) && found.value == *value => return Ok(()),
                Ok(_) | Err(StoreError::Damaged { .. }) => return Err(StoreError::AlreadyExists),
                // It was deleted meanwhile.
                Err(StoreError::NotFound) if is_taken => tokio::time::sleep(LOOK_PAUSE).await,
                Err(withheld @ StoreError::Withheld { .. }) => return Err(withheld),
                Err(error) if is_taken => return Err(error),
                Err(_) => return Err(self.told(&failure, "create", id)),
            }
        }
        Err(self.unsteady(id))
    }

    async fn delete_secret(&self, id: &str) -> Result<(), StoreError> {
        // AWS says yes to a deletion for ever of what is not there.
        match self.standing(id).await? {
            Some(Standing::Missing) => return Err(StoreError::NotFound),
            Some(Standing::Scheduled) => return Err(self.scheduled(id)),
            Some(Standing::Empty | Standing::Whole) => {}
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
            // By another one since our look, or by us and the answer was lost.
            Err(failure) if failure.code() == "InvalidRequestException" && says_deleted(&failure) => Ok(()),
            Err(failure) => Err(self.told(&failure, "delete", id)),
        }
    }

    async fn list_secrets(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        let start = self.id(prefix);
        // A value of a filter has at least one character; of several filters all must hold.
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
                Err(failure) => return Err(failure.told(&format!("list the secrets in {}", self.place))),
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
            // Allowed to look, and there is nothing; or nothing that is whole.
            Err(failure) if failure.code() == "ResourceNotFoundException" => Ok(()),
            Err(failure) if failure.code() == "InvalidRequestException" && says_deleted(&failure) => Ok(()),
            Err(failure) => Err(self.told(&failure, "read", &id)),
        }
    }
}

#[async_trait]
impl Store for Aws {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        value.check_len()?;
        if value.is_empty() || value.len() > MAX_VALUE {
            let reason = format!("a value of {} bytes: AWS Secrets Manager takes 1 to {MAX_VALUE}", value.len());
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

    /// Every page is asked for, as AWS sorts by date: some 100 ms for 100 secrets with the prefix.
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

    async fn close(&self) {}
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("config", &self.config).field("place", &self.place).finish_non_exhaustive()
    }
}
