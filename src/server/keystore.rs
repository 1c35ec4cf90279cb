//! The keystore of a config: opened at start, which may create it, or by a reload, which never does. A typing error in the
//! config of a running server must not lead to an empty keystore, in which every key is "not found".

use std::sync::Arc;
use std::time::Duration;

use backends::trash::Trash;
use backends::{BackendConfig, Name, Operation, Store, StoreError, chain, open, open_later};
use tracing::{error, info, warn};

use crate::config::{Config, Startup};
use crate::keys::{Deadlines, Keys, KeysError, Settings};
use crate::routes::ROUTES;
use crate::state::Running;

/// The maximum deadline of a keystore operation; shorter if the config has shorter timeouts for requests.
const MAX_STORE_DEADLINE: Duration = Duration::from_secs(12);

/// The pause between two attempts to create the keys of the config in a keystore that is not ready.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Why the keystore of a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// It cannot be opened.
    #[error("cannot open the keystore ({kind}): {source}")]
    Open {
        /// Its kind.
        kind: &'static str,
        /// The error.
        source: StoreError,
    },
    /// A key in the section `keys` does not exist and cannot be created.
    #[error("cannot create key '{name}', which the config lists in 'keys': {failure}")]
    Key {
        /// The key.
        name: Name,
        /// The error.
        failure: KeysError,
    },
    /// A reload leads to a keystore that does not exist.
    #[error(
        "the keystore{place} does not exist, and a reload creates none; correct its settings, or restart the server to \
         create it"
    )]
    Absent {
        /// Its path, in quotes after a space, if it has one.
        place: String,
    },
    /// A reload leads to another keystore, without keys.
    #[error(
        "the keystore{place} contains no keys, and a reload does not change to an empty one; correct its settings, copy \
         the keys to it with keyway migrate, or restart the server if it is to be empty"
    )]
    Empty {
        /// As above.
        place: String,
    },
    /// A reload leads to another keystore, which lacks a key of the section `keys`.
    #[error(
        "key '{name}', which the config lists in 'keys', is not in the keystore{place}, and a reload creates no keys in \
         another keystore; correct its settings, copy the keys to it with keyway migrate, or restart the server"
    )]
    Missing {
        /// The key.
        name: Name,
        /// As above.
        place: String,
    },
}

/// Opens the keystore, creates it if it does not exist, and creates the keys of the config. If it is not ready and the
/// config says so, it is opened later.
///
/// # Errors
/// [`KeystoreError::Open`], [`KeystoreError::Key`].
pub(super) async fn open_at_start(config: &Config, running: &Arc<Running>) -> Result<Keys, KeystoreError> {
    let kind = config.keystore.kind();
    if config.keystore == BackendConfig::Memory {
        warn!("keystore.memory: ALL KEYS ARE LOST when the server stops, and all data encrypted with them");
    }
    match open(&config.keystore).await {
        Ok(store) => {
            let keys = keys_in(store, config, running);
            or_close(&keys, create_missing(&keys, &config.keys, config.admin.as_str()).await).await?;
            Ok(keys)
        }
        Err(error) if config.startup == Startup::Wait && error.is_worth_waiting() => {
            warn!(kind, reason = chain(&error), "the keystore is not ready; starting anyway and retrying");
            let store = open_later(config.keystore.clone(), error);
            let keys = keys_in(store, config, running);
            keys.set_pending();
            let _ = keys.ping().await; // it is known to be down from the start
            let created = create_missing_later(keys.clone(), config.keys.clone(), config.admin.to_string());
            tokio::spawn(running.stopping.clone().run_until_cancelled_owned(created));
            Ok(keys)
        }
        Err(source) => Err(KeystoreError::Open { kind, source }),
    }
}

/// Opens the keystore that a reload leads to. It has to exist, and if it is not the one in use, it has to contain keys,
/// and those of the config. A reload does not wait, either: the keystore in use is still there.
///
/// # Errors
/// [`KeystoreError`]; then nothing has been created.
pub(super) async fn open_at_reload(
    config: &Config,
    running: &Arc<Running>,
    in_use: &BackendConfig,
) -> Result<Keys, KeystoreError> {
    let kind = config.keystore.kind();
    let place = config.keystore.path().map(|path| format!(" '{}'", path.display())).unwrap_or_default();
    let opened = config.keystore.clone().open_existing().await;
    let store = opened.map_err(|source| KeystoreError::Open { kind, source })?;
    let Some(store) = store else { return Err(KeystoreError::Absent { place }) };
    let keys = keys_in(store.clone(), config, running);
    let checked = if in_use.is_same_place(&config.keystore) {
        create_missing(&keys, &config.keys, config.admin.as_str()).await
    } else {
        check_served(&*store, &config.keys, place).await
    };
    or_close(&keys, checked).await?;
    Ok(keys)
}

/// The cache in front of an open keystore. Entries of a trash are never keys; deletes create them if the config says so.
fn keys_in(store: Arc<dyn Store>, config: &Config, running: &Running) -> Keys {
    let store = match config.trash {
        Some(keep) => Trash::around(store, keep),
        None => Trash::hidden_in(store),
    };
    Keys::new(store, settings(config), running.metrics.keystore.clone())
}

/// Makes sure that another keystore contains keys, and these.
async fn check_served(store: &dyn Store, names: &[Name], place: String) -> Result<(), KeystoreError> {
    match store.list("", None, 1).await {
        Ok(first) if first.is_empty() => return Err(KeystoreError::Empty { place }),
        Ok(_) => {}
        // Not every policy of Vault allows it.
        Err(error) => warn!(reason = chain(&error), "cannot verify that the new keystore contains keys"),
    }
    for name in names {
        match store.get(name).await {
            Ok(_) => {}
            Err(StoreError::NotFound) => return Err(KeystoreError::Missing { name: name.clone(), place }),
            Err(error) => {
                let failure = KeysError::from(error);
                return Err(KeystoreError::Key { name: name.clone(), failure });
            }
        }
    }
    Ok(())
}

/// Closes a keystore that is not going to be used.
async fn or_close(keys: &Keys, done: Result<(), KeystoreError>) -> Result<(), KeystoreError> {
    if done.is_err() {
        keys.close().await;
    }
    done
}

/// The settings of the cache and the keystore in this config.
pub(super) fn settings(config: &Config) -> Settings {
    // The shortest timeout of the requests that use the operation, minus a margin for the response.
    let deadline = |operation: Operation| {
        let timeouts = ROUTES.iter().filter(|route| route.operation == Some(operation));
        let timeouts = timeouts.map(|route| config.timeout_of(route));
        let shortest = timeouts.filter(|timeout| !timeout.is_zero()).min().unwrap_or(MAX_STORE_DEADLINE);
        (shortest * 4 / 5).min(MAX_STORE_DEADLINE)
    };
    Settings {
        any: config.cache.any,
        unused: config.cache.unused,
        offline: config.cache.offline,
        max_entries: config.cache.max_entries,
        deadlines: Deadlines {
            create: deadline(Operation::Create),
            read: deadline(Operation::Read),
            delete: deadline(Operation::Delete),
            list: deadline(Operation::List),
        },
    }
}

/// Creates the keys in the section `keys` that do not exist.
///
/// # Errors
/// [`KeystoreError::Key`]
pub(super) async fn create_missing(keys: &Keys, names: &[Name], created_by: &str) -> Result<(), KeystoreError> {
    for name in names {
        match keys.create(name, created_by).await {
            Ok(()) => info!(key = %name, "created key"),
            Err(KeysError::AlreadyExists) => {}
            Err(failure) => {
                error!(key = %name, error = %failure, "cannot create key");
                return Err(KeystoreError::Key { name: name.clone(), failure });
            }
        }
    }
    Ok(())
}

/// As [`create_missing`], once the keystore is ready.
async fn create_missing_later(keys: Keys, names: Vec<Name>, created_by: String) {
    while !names.is_empty() {
        if keys.ping().await.is_ok() && create_missing(&keys, &names, &created_by).await.is_ok() {
            return;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}
