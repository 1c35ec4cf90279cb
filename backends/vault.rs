//! The KV engine of HashiCorp Vault or `OpenBao`, version 1 or 2, with transit encryption or without. What KES stored
//! there is read and written byte for byte.
//!
//! | file | what it contains |
//! |---|---|
//! | `vault/config.rs` | the settings, checked |
//! | `vault/client.rs` | connections, TLS, redirects, time-outs; how the libraries are kept from logging secrets |
//! | `vault/auth.rs` | logging in, renewing, logging in again |
//! | `vault/kv.rs` | read, write, remove, list |
//! | `vault/mount.rs` | which engine is mounted, and whether it deletes keys |
//! | `vault/claim.rs` | how a name is assigned only once on KV v1 |
//! | `vault/transit.rs` | values encrypted under a transit key |
//! | `vault/rights.rs` | what the token's policy has to allow, and what it does not |
//! | `vault/error.rs` | what can go wrong, and the only function that turns it into a [`StoreError`] |
//!
//! # Create
//! KV v2 has check-and-set: `cas: 0` is accepted only for a name without metadata, which deleted versions have, too. KV
//! v1 has not, see `vault/claim.rs`. Whenever the outcome of a write is unknown, the value is read back: `Ok` if it is
//! ours, [`StoreError::AlreadyExists`] if it is another one, else the failure.
//!
//! # Not found
//! Vault responds with 404 in many other cases than a missing value: a missing engine, the wrong version of it, deleted
//! versions. Only `{"errors":[]}` means that nothing is there, and only if the engine is still the one of the start. For
//! the same reason a create checks the engine before the write and before `Ok`, and the transit key in between
//! (`vault/transit.rs`).
//! With the wrong `version` of the engine, KES worked as well, and put its keys into another folder; a key that is there
//! is not missing (`Inner::check_missing`).
//!
//! # Time
//! An operation takes at most 8 s, a request 3.8 s, a connection 2 s. Reads are tried twice, over another connection,
//! in case the first one is dead. There is no back-off but for refused logins: the next operation tries again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tracing::warn;

use crate::deadline::within;
use crate::vault::auth::Connection;
use crate::vault::claim::{Claims, STALE, Verdict, WRITE_WITHIN, pause};
use crate::vault::error::Failure;
use crate::vault::kv::{Deletion, Found, Stored};
use crate::vault::mount::Mount;
use crate::vault::rights::{Probe, Right};
use crate::vault::transit::TransitKey;
use crate::{Name, Store, StoreError, Value};

mod auth;
mod claim;
mod client;
mod config;
mod error;
mod kv;
mod mount;
mod rights;
mod transit;

use config::Place;
pub use config::{Config, Credential, KvVersion, Login, Tls, Transit};

/// The time limit of an operation, which ends before the 15 s of a request to the gateway.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);

/// How many keys that Vault will delete are remembered, so that each is reported once.
const MAX_EXPIRING: usize = 10_000;

/// How late in an operation a new attempt to create may start.
const BEGIN_WITHIN: Duration = Duration::from_secs(5);

/// The store.
#[derive(Debug)]
pub struct Vault {
    inner: Arc<Inner>,
    renewal: AbortHandle,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    mount: Mount,
    probe: Probe,
    transit: Option<TransitKey>,
    /// The rights that the token's policy lacks, as of the start or of the last probe.
    missing_rights: Mutex<Option<String>>,
    claims: Claims,
    /// The keys that were reported because Vault will delete them, at most [`MAX_EXPIRING`].
    expiring: Mutex<BTreeSet<Name>>,
}

impl Vault {
    /// Logs in, and makes sure that the engine exists and has the right version, that keys can be read, and that the
    /// transit key exists. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::NotReady`] and [`StoreError::Unavailable`], with what is wrong,
    /// where, and what to do.
    pub async fn open(config: &Config) -> Result<Self, StoreError> {
        let mut connection = Connection::open(config).await?;
        let opened = async {
            let mount = Mount::find(&mut connection).await?;
            let probe = Probe::choose(&connection).await?;
            let transit = match &connection.place.transit {
                Some(transit) => Some(TransitKey::open(&connection, transit).await?),
                None => None,
            };
            Ok((mount, probe, transit))
        };
        let (mount, probe, transit) = match opened.await {
            Ok(opened) => opened,
            Err(error) => {
                connection.close().await;
                return Err(error);
            }
        };
        if connection.place.is_exposed() {
            warn!("{}", connection.place.exposure());
        }
        let missing_rights = probe.missing_rights(&connection).await;
        if let Some(missing) = &missing_rights {
            warn!("{missing}");
        }
        let inner = Arc::new(Inner {
            connection,
            mount,
            probe,
            transit,
            missing_rights: Mutex::new(missing_rights),
            claims: Claims::default(),
            expiring: Mutex::default(),
        });
        let renewed = inner.clone();
        let renewal = tokio::spawn(async move { renewed.connection.keep_renewed().await }).abort_handle();
        Ok(Self { inner, renewal })
    }

    /// Bounds the time of an operation.
    async fn within<T>(
        &self,
        doing: &str,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let expired = || Failure::TimedOut.into_error(doing, &self.inner.connection.place, None);
        within(OPERATION_TIMEOUT, expired, operation).await
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

#[async_trait]
impl Store for Vault {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        value.check_len()?;
        let doing = format!("create the key '{name}'");
        let create = async {
            let began = Instant::now();
            let stored = match &self.inner.transit {
                Some(transit) => Stored::Text(transit.encrypt(&self.inner.connection, name, value).await?.into()),
                None => Stored::of(value),
            };
            // In a separate task, so that no claim is left behind when the caller is gone.
            let (inner, owned) = (self.inner.clone(), name.clone());
            let task = tokio::spawn(async move {
                match inner.connection.place.version {
                    KvVersion::V1 => inner.create_v1(&owned, &stored, began).await,
                    KvVersion::V2 => inner.create_v2(&owned, &stored).await,
                }
            });
            match task.await {
                // In an engine that was mounted in the meantime, the key would be lost with it.
                Ok(Ok(())) => self.inner.mount.check(&self.inner.connection).await,
                Ok(Err(error)) => Err(error),
                Err(_) => Err(StoreError::unavailable(format!("creating the key '{name}' was aborted"))),
            }
        };
        self.within(&doing, create).await
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        self.within(&format!("read the key '{name}'"), self.inner.get(name)).await
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        self.within(&format!("delete the key '{name}'"), self.inner.delete(name)).await
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        let listed = self.within("list keys", self.inner.list()).await?;
        let mut names: Vec<Name> = listed
            .iter()
            .filter(|text| text.starts_with(prefix))
            .filter_map(|text| Name::parse(text).ok())
            .filter(|name| after.is_none_or(|after| name > after))
            .collect();
        names.sort_unstable();
        names.truncate(limit);
        Ok(names)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.within("read keys", self.inner.ping()).await
    }

    fn changes(&self) -> Option<tokio::sync::broadcast::Receiver<crate::Change>> {
        None
    }

    fn missing_rights(&self) -> Option<String> {
        self.inner.missing_rights.lock().clone()
    }

    async fn close(&self) {
        self.renewal.abort();
        self.inner.connection.close().await;
    }
}

impl Inner {
    /// The error of an operation on a key; if it was denied, with the right that it needs.
    async fn failed(&self, failure: Failure, doing: &str, name: &Name, right: Right) -> StoreError {
        let needs = if failure.is_denied() { format!(", which needs {right},") } else { String::new() };
        self.connection.explain(failure, &format!("{doing} the key '{name}'{needs}")).await
    }

    fn place(&self) -> &Place {
        &self.connection.place
    }

    /// Makes sure that a key that was not found is nowhere else, and that the engine is the one of the start.
    async fn check_absent(&self, name: &Name, doing: &str) -> Result<(), StoreError> {
        self.check_missing(name, doing).await?;
        self.mount.check(&self.connection).await
    }

    /// The same before the key is created: the engine must keep it, too.
    async fn check_creatable(&self, name: &Name) -> Result<(), StoreError> {
        self.check_absent(name, "create").await?;
        self.mount.check_keeps(&self.connection, name).await
    }

    /// Reports a key that Vault will delete, once.
    fn report_deletion(&self, name: &Name, deletion: &Deletion) {
        let mut expiring = self.expiring.lock();
        if expiring.len() >= MAX_EXPIRING {
            expiring.clear();
        }
        if expiring.insert(name.clone()) {
            warn!("{}", deletion.text(self.place(), name));
        }
    }

    /// The error of a create that has stored a key which Vault will delete. The key is not removed: another gateway may
    /// have it already, and what Vault deletes can be restored for some time.
    fn stored_for_a_time(&self, name: &Name, deletion: &Deletion) -> StoreError {
        StoreError::Withheld {
            reason: format!("the key '{name}' was stored, but {}", deletion.text(self.place(), name)),
        }
    }

    /// Makes sure that a key that was not found is not at the other place where KES puts keys when `version` is not that
    /// of the engine.
    ///
    /// # Errors
    /// [`StoreError::Withheld`], with the settings that lead there.
    async fn check_missing(&self, name: &Name, doing: &str) -> Result<(), StoreError> {
        let place = self.place();
        let (path, settings) = place.other_path(name.as_str());
        match kv::has_value_at(&self.connection, name.as_str(), &path).await {
            Ok(true) => Err(StoreError::Withheld {
                reason: format!(
                    "the key '{name}' is not where {place} has its keys, but at '{path}', where KES puts it with another \
                     version than that of the engine; to use the keys there, set {settings}, or copy them with \
                     `keyway migrate`"
                ),
            }),
            Ok(false) => Ok(()),
            Err(failure) => Err(self.failed(failure, doing, name, Right::read(place, name.as_str())).await),
        }
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        match kv::read_with_deletion(&self.connection, name.as_str()).await {
            Ok((found, deletion)) => {
                if let Some(deletion) = deletion {
                    self.report_deletion(name, &deletion);
                }
                self.value(name, found).await
            }
            Err(failure) => Err(self.failed(failure, "read", name, Right::read(self.place(), name.as_str())).await),
        }
    }

    async fn value(&self, name: &Name, found: Found) -> Result<Value, StoreError> {
        let place = &self.connection.place;
        let value = match (found, &self.transit) {
            (Found::Value(Stored::Text(text)), Some(transit)) => transit.decrypt(&self.connection, name, &text).await?,
            (Found::Value(Stored::Text(text)), None) if text.starts_with(transit::PREFIX) => {
                return Err(StoreError::Damaged {
                    reason: format!("the key '{name}' in {place} is encrypted by transit; configure the transit key"),
                });
            }
            (Found::Value(Stored::Text(text)), None) => Value::from(text.as_bytes().to_vec()),
            (Found::Value(Stored::Bytes(bytes)), _) => Value::from(bytes.to_vec()),
            (Found::Missing, _) => {
                self.check_absent(name, "read").await?;
                return Err(StoreError::NotFound);
            }
            (found, _) => return Err(self.not_a_value(name, &found)),
        };
        if value.len() > Value::MAX_LEN {
            let reason = format!(
                "the key '{name}' in {place} has {} bytes, and a key has at most {}; restore it from a backup",
                value.len(),
                Value::MAX_LEN
            );
            return Err(StoreError::Damaged { reason });
        }
        Ok(value)
    }

    /// The error for what exists but cannot be returned as a value.
    fn not_a_value(&self, name: &Name, found: &Found) -> StoreError {
        let place = &self.connection.place;
        let (engine, path) = (&place.engine, place.path(name.as_str()));
        match found {
            Found::Deleted(version) => StoreError::Withheld {
                reason: format!(
                    "version {version} of the key '{name}' in {place} was deleted; restore it with \
                     `vault kv undelete -mount={engine} -versions={version} {path}`; if nobody deleted it, set \
                     delete_version_after of the engine to 0s before"
                ),
            },
            Found::Destroyed(version) => StoreError::Withheld {
                reason: format!(
                    "version {version} of the key '{name}' in {place} was destroyed; restore an older version with \
                     `vault kv rollback -mount={engine} -version=N {path}` if `vault kv metadata get -mount={engine} \
                     {path}` shows one, or restore a backup"
                ),
            },
            Found::Foreign(why) => StoreError::Damaged {
                reason: format!(
                    "what is stored as '{name}' in {place} is not a key: {why}; it was stored by another program"
                ),
            },
            Found::Missing => StoreError::NotFound,
            Found::Value(_) => StoreError::AlreadyExists,
        }
    }

    /// The error of a create when there is something under its name.
    fn taken(&self, name: &Name, found: &Found) -> StoreError {
        match found {
            Found::Deleted(_) | Found::Destroyed(_) => self.not_a_value(name, found),
            _ => StoreError::AlreadyExists,
        }
    }

    /// The rights to look whether a name is free, and to create it.
    fn rights_to_create(&self, name: &Name) -> (Right, Right) {
        (Right::read(self.place(), name.as_str()), Right::create(self.place(), name.as_str()))
    }

    async fn create_v2(&self, name: &Name, stored: &Stored) -> Result<(), StoreError> {
        // Not for atomicity: with the policy that KES documents, which allows create but not update, a write to a name
        // that is taken gets a 403, as if the token were invalid.
        let (read, create) = self.rights_to_create(name);
        match kv::read(&self.connection, name.as_str()).await {
            Ok(Found::Missing) => self.check_creatable(name).await?,
            Ok(found) => return Err(self.taken(name, &found)),
            Err(failure) => return Err(self.failed(failure, "create", name, read).await),
        }
        let done = |deletion: Option<Deletion>| match deletion {
            None => Ok(()),
            Some(deletion) => Err(self.stored_for_a_time(name, &deletion)),
        };
        let failure = match kv::write(&self.connection, name, stored).await {
            Ok(deletion) => return done(deletion),
            Err(failure) => failure,
        };
        let taken = kv::is_taken(&failure);
        if !taken && !failure.is_denied() && !failure.is_ambiguous() {
            return Err(self.failed(failure, "create", name, create).await);
        }
        match kv::read_with_deletion(&self.connection, name.as_str()).await {
            Ok((Found::Value(found), deletion)) if failure.is_ambiguous() && found == *stored => done(deletion),
            Ok((Found::Missing, _)) | Err(_) if !taken => Err(self.failed(failure, "create", name, create).await),
            Ok((found, _)) => Err(self.taken(name, &found)),
            Err(_) => Err(StoreError::AlreadyExists),
        }
    }

    /// Creates on KV v1, see `vault/claim.rs`.
    async fn create_v1(&self, name: &Name, stored: &Stored, began: Instant) -> Result<(), StoreError> {
        let connection = &self.connection;
        let _turn = self.claims.turn(name).await;
        loop {
            if began.elapsed() > BEGIN_WITHIN {
                return Err(StoreError::unavailable(format!(
                    "another client is creating the key '{name}' in {}, or was interrupted less than {STALE:?} \
                     ago; try again",
                    connection.place
                )));
            }
            match kv::read(connection, name.as_str()).await {
                Ok(Found::Missing) => self.check_creatable(name).await?,
                Ok(found) => return Err(self.taken(name, &found)),
                Err(failure) => return Err(self.failed(failure, "create", name, self.rights_to_create(name).0).await),
            }
            let (id, since) = self.claims.create_id();
            let done = match kv::claim(connection, name, &id).await {
                Ok(()) => self.create_claimed(name, stored, &id, since, began).await,
                Err(failure) => {
                    let right = Right::claim(self.place(), "create");
                    Step::Done(Err(self.failed(failure, "create a claim in order to create", name, right).await))
                }
            };
            if !matches!(done, Step::Unknown(_))
                && let Err(failure) = kv::unclaim(connection, name, &id).await
            {
                warn!(
                    "cannot remove the claim on the key '{name}' in Vault: {}; the key cannot be created again for \
                     {STALE:?}",
                    failure.text()
                );
            }
            match done {
                Step::Done(result) => return result,
                Step::Unknown(error) => return Err(error),
                Step::Again => pause().await,
            }
        }
    }

    /// What happens while the claim exists.
    async fn create_claimed(&self, name: &Name, stored: &Stored, id: &str, since: Instant, began: Instant) -> Step {
        let connection = &self.connection;
        let (read, create) = self.rights_to_create(name);
        let failed = async |failure, right| self.failed(failure, "create", name, right).await;
        let claim = |capability| Right::claim(self.place(), capability);
        loop {
            if began.elapsed() > BEGIN_WITHIN {
                return Step::Again;
            }
            let listed = match kv::list_claims(connection, name).await {
                Ok(listed) => listed,
                Err(failure) => return Step::Done(Err(failed(failure, claim("list")).await)),
            };
            match self.claims.evaluate(name, id, &listed) {
                Verdict::Only => break,
                Verdict::Wait => pause().await,
                Verdict::Withdraw => return Step::Again,
                Verdict::Remove(other) => {
                    if let Err(failure) = kv::unclaim(connection, name, &other).await {
                        return Step::Done(Err(failed(failure, claim("delete")).await));
                    }
                }
            }
        }
        match kv::read(connection, name.as_str()).await {
            Ok(Found::Missing) => {}
            Ok(found) => return Step::Done(Err(self.taken(name, &found))),
            Err(failure) => return Step::Done(Err(failed(failure, read).await)),
        }
        if since.elapsed() > WRITE_WITHIN {
            return Step::Again;
        }
        let written = kv::write(connection, name, stored).await.map(drop);
        let found = kv::read(connection, name.as_str()).await;
        if since.elapsed() >= STALE {
            let reason = format!(
                "creating the key '{name}' took so long that another client may also have created it; try again"
            );
            return Step::Unknown(StoreError::unavailable(reason));
        }
        match (written, found) {
            (_, Ok(Found::Value(found))) if found == *stored => Step::Done(Ok(())),
            (Ok(()), Ok(Found::Missing)) => Step::Done(Err(StoreError::unavailable(format!(
                "the key '{name}' was deleted right after it was created; try again"
            )))),
            // The policy may allow create but not update, and a program without claims was faster.
            (_, Ok(found)) if found != Found::Missing => Step::Done(Err(self.taken(name, &found))),
            (Err(failure), _) if failure.is_ambiguous() => Step::Unknown(failed(failure, create).await),
            (Err(failure), _) => Step::Done(Err(failed(failure, create).await)),
            (Ok(()), Err(failure)) => Step::Done(Err(failed(failure, read).await)),
            (Ok(()), Ok(_)) => Step::Done(Err(StoreError::AlreadyExists)),
        }
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        match kv::read(&self.connection, name.as_str()).await {
            Ok(Found::Missing) => {
                self.check_absent(name, "delete").await?;
                return Err(StoreError::NotFound);
            }
            Ok(found @ Found::Foreign(_)) => return Err(self.not_a_value(name, &found)),
            // Deleted and destroyed versions, too: a delete is permanent.
            Ok(_) => {}
            Err(failure) => {
                return Err(self.failed(failure, "delete", name, Right::read(self.place(), name.as_str())).await);
            }
        }
        let failure = match kv::remove(&self.connection, name).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        if failure.is_ambiguous()
            && let Ok(Found::Missing) = kv::read(&self.connection, name.as_str()).await
            && self.mount.check(&self.connection).await.is_ok()
        {
            return Ok(());
        }
        Err(self.failed(failure, "delete", name, Right::delete(self.place(), name.as_str())).await)
    }

    async fn list(&self) -> Result<Vec<String>, StoreError> {
        match kv::list(&self.connection).await {
            Ok(listed) if listed.is_empty() => {
                self.mount.check(&self.connection).await?;
                Ok(listed)
            }
            Ok(listed) => Ok(listed),
            Err(failure) if failure.is_denied() => {
                let doing = format!("list keys, which needs {},", Right::list(self.place()));
                Err(self.connection.explain(failure, &doing).await)
            }
            Err(failure) => Err(self.connection.explain(failure, "list keys").await),
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let connection = &self.connection;
        let read =
            async { if self.probe.run(connection).await? { Ok(()) } else { self.mount.check(connection).await } };
        match &self.transit {
            Some(transit) => tokio::try_join!(read, transit.check(connection)).map(drop)?,
            None => read.await?,
        }
        // The operator may have granted them by now.
        if self.missing_rights.lock().is_some() {
            let missing = self.probe.missing_rights(connection).await;
            *self.missing_rights.lock() = missing;
        }
        Ok(())
    }
}

/// The outcome of an attempt to create under a claim.
enum Step {
    /// The claim can be removed.
    Done(Result<(), StoreError>),
    /// The claim must remain: the write may still take effect.
    Unknown(StoreError),
    /// Another creator has a claim: try again.
    Again,
}
