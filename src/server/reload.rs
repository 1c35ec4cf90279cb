//! From a config to the state of a server: at start, and again on SIGHUP or when a file has changed. A new state is
//! complete and checked before it takes the place of the old one; on any error the old one stays.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backends::{BackendConfig, Name, Operation, StoreError, chain, open, open_later};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::systemd;
use super::watch::Watch;
use crate::config::{self, Config, ConfigError, Startup};
use crate::keys::{Deadlines, Keys, KeysError, Settings};
use crate::policy::Policies;
use crate::routes::ROUTES;
use crate::state::{Current, Running, State};
use crate::telemetry::audit::{self, Audit};
use crate::telemetry::log;
use crate::tls::{self, TlsError};

/// The path under which reloads are in the audit log. It is no API.
const AUDIT_PATH: &str = "/config/reload";

/// The deadline of an operation of the store, at most; shorter where the config gives requests less time.
const MAX_STORE_DEADLINE: Duration = Duration::from_secs(12);

/// Between two attempts to create the keys of the config in a keystore that is not ready.
const RETRY: Duration = Duration::from_secs(1);

/// Why a config cannot be put to use.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something that only a restart can change.
    #[error("{key} has changed from {before} to {now}: restart the server to apply that; nothing was changed")]
    Restart {
        /// The key of the config.
        key: &'static str,
        /// Its value in use.
        before: String,
        /// Its new value.
        now: String,
    },
    /// The TLS files are wrong.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keystore cannot be opened.
    #[error("cannot open the keystore ({kind}): {source}")]
    Keystore {
        /// Its kind.
        kind: &'static str,
        /// What it said.
        source: StoreError,
    },
    /// A key of the config's `keys` can neither be found nor made.
    #[error("cannot create key '{name}' of the config's `keys`: {failure}")]
    Key {
        /// The key.
        name: Name,
        /// Why.
        failure: KeysError,
    },
    /// Reading files ended by a panic, which is a defect.
    #[error("reading the files of the config failed")]
    Read,
}

/// Makes a state of a config. What `before` has and the new one can go on with, it does: the keystore and its cache.
///
/// # Errors
/// [`SetupError`]; then nothing is changed, but keys that the config names may have been made.
pub async fn build(config: Config, running: &Arc<Running>, before: Option<&State>) -> Result<Arc<State>, SetupError> {
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let (options, is_required, store_files) =
        (config.tls.clone(), config.certificate_required(), config.keystore.files());
    let files = move || Ok::<_, TlsError>((tls::server_config(&options, is_required)?, digest(&store_files)));
    let (tls, store_files) = tokio::task::spawn_blocking(files).await.map_err(|_| SetupError::Read)??;
    for warning in &tls.warnings {
        warn!("{warning}");
    }
    let same_store =
        before.filter(|before| before.config.keystore == config.keystore && before.store_files == store_files);
    let mut is_pending = false;
    let keys = if let Some(before) = same_store {
        before.keys.clone()
    } else {
        let kind = config.keystore.kind();
        // A reload does not wait: the keystore before is still there.
        let waits = before.is_none() && config.startup == Startup::Wait;
        let store = match open(&config.keystore).await {
            Ok(store) => store,
            Err(error) if waits && error.is_worth_waiting() => {
                warn!(kind, reason = chain(&error), "the keystore is not ready; the server starts and tries again");
                is_pending = true;
                open_later(config.keystore.clone(), error)
            }
            Err(source) => return Err(SetupError::Keystore { kind, source }),
        };
        if config.keystore == BackendConfig::Memory {
            warn!("keystore.memory: ALL KEYS ARE LOST when the server ends, and with them all data under them");
        }
        Keys::new(store, settings(&config), running.metrics.keystore.clone())
    };
    let named = |name: &Name| same_store.is_some_and(|before| before.config.keys.contains(name));
    let absent: Vec<_> = config.keys.iter().filter(|name| !named(name)).cloned().collect();
    if is_pending {
        let _ = keys.ping().await; // from the start it is known to be down
        let created = create_absent_later(keys.clone(), absent, config.admin.to_string());
        tokio::spawn(running.stopping.clone().run_until_cancelled_owned(created));
    } else if let Err(failure) = create_absent(&keys, &absent, config.admin.as_str()).await {
        if same_store.is_none() {
            keys.close().await;
        }
        return Err(failure);
    }
    let idle = CancellationToken::new();
    Ok(Arc::new(State {
        keys,
        policies: Policies::new(
            config.admin.clone(),
            config.policies.clone(),
            config.identities.clone(),
            OffsetDateTime::now_utc(),
        ),
        tls: tls.config,
        audit: Audit::new(running.audit.clone(), running.audit_console.clone(), config.log.audit, config.log.format),
        running: running.clone(),
        store_files,
        in_use: idle.clone().drop_guard(),
        idle,
        config,
    }))
}

/// How the cache behaves under this config.
fn settings(config: &Config) -> Settings {
    // The shortest time-out of the requests that need the operation, with a margin for their answer.
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

/// Creates the keys that the config names, where they are absent.
async fn create_absent(keys: &Keys, names: &[Name], created_by: &str) -> Result<(), SetupError> {
    for name in names {
        match keys.create(name, created_by).await {
            Ok(()) => info!(key = %name, "created key"),
            Err(KeysError::AlreadyExists) => {}
            Err(failure) => {
                error!(key = %name, error = %failure, "cannot create key");
                return Err(SetupError::Key { name: name.clone(), failure });
            }
        }
    }
    Ok(())
}

/// The same once the keystore is ready.
async fn create_absent_later(keys: Keys, names: Vec<Name>, created_by: String) {
    while !names.is_empty() {
        if keys.ping().await.is_ok() && create_absent(&keys, &names, &created_by).await.is_ok() {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A digest of the contents of files; one that cannot be read counts as empty.
fn digest(files: &[PathBuf]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for file in files {
        let content = zeroize::Zeroizing::new(std::fs::read(file).unwrap_or_default());
        digest.update((content.len() as u64).to_le_bytes());
        digest.update(&*content);
    }
    digest.finalize().into()
}

/// Reads the config of a running server again.
#[derive(Debug)]
pub struct Reloader {
    /// The config file.
    pub file: PathBuf,
    /// What the command line says in place of the file.
    pub overrides: config::Overrides,
    /// The state of the server.
    pub current: Arc<Current>,
    /// The server's log.
    pub log: log::Control,
    /// The files of the config in use.
    pub watch: Watch,
}

impl Reloader {
    /// The files that make a reload when they change.
    pub fn files(file: &std::path::Path, config: &Config) -> Vec<PathBuf> {
        let tls = [Some(&config.tls.key), Some(&config.tls.cert), config.tls.ca.as_ref()];
        let mut files = vec![file.to_owned()];
        files.extend(tls.into_iter().flatten().cloned());
        files.extend(config.keystore.files());
        files
    }

    /// Reloads on each signal and each change of a file.
    pub async fn run(mut self, mut hangup: Signal) {
        loop {
            let cause = tokio::select! {
                Some(()) = hangup.recv() => "SIGHUP",
                () = self.watch.changed() => "a file has changed",
            };
            info!(cause, "reloading the config");
            systemd::reloading();
            let start = Instant::now();
            let result = self.reload().await;
            self.record(start, result.as_ref().err());
            systemd::ready();
        }
    }

    /// One reload. Files are looked at before they are read, so that a change in between is seen as one.
    async fn reload(&mut self) -> Result<(), SetupError> {
        let (file, overrides, mut watch) = (self.file.clone(), self.overrides.clone(), self.watch.clone());
        let read = tokio::task::spawn_blocking(move || {
            watch.look();
            let config = config::read_with(&file, &overrides);
            if let Ok(config) = &config {
                watch.follow(Self::files(&file, config));
            }
            (watch, config)
        });
        let (watch, config) = read.await.map_err(|_| SetupError::Read)?;
        // Also when what is in the files is wrong: it is not told twice.
        self.watch = watch;
        let config = config?;
        let before = self.current.get();
        Self::refuse_what_needs_a_restart(&before.config, &config)?;
        let now = build(config, &before.running, Some(&before)).await?;
        self.log.set(now.config.log.error, now.config.log.format);
        if now.keys.is_same_as(&before.keys) {
            now.keys.set(settings(&now.config));
            self.current.replace(now);
            return Ok(());
        }
        now.keys.take_over(Some(&before.keys));
        self.current.replace(now.clone());
        let (from, to) = (before.config.keystore.kind(), now.config.keystore.kind());
        info!(from, to, "new requests use another keystore");
        let (keys, idle) = (before.keys.clone(), before.idle.clone());
        before.running.tasks.spawn(async move {
            idle.cancelled().await;
            keys.close().await;
            info!("the keystore before is closed");
        });
        Ok(())
    }

    fn refuse_what_needs_a_restart(before: &Config, now: &Config) -> Result<(), SetupError> {
        let place = |address: Option<SocketAddr>| address.map_or_else(|| "none".to_owned(), |it| it.to_string());
        let values = |config: &Config| {
            [
                ("address", config.address.to_string()),
                ("probe.address", place(config.probe)),
                ("cache.max_entries", config.cache.max_entries.to_string()),
            ]
        };
        for ((key, before), (_, now)) in values(before).into_iter().zip(values(now)) {
            if before != now {
                return Err(SetupError::Restart { key, before, now });
            }
        }
        Ok(())
    }

    /// Tells of a reload: in the log, the metrics and the audit events.
    fn record(&self, start: Instant, failure: Option<&SetupError>) {
        let state = self.current.get();
        let reason = failure.map(|failure| chain(failure));
        match &reason {
            None => info!("the config is reloaded"),
            Some(reason) => error!(reason, "the config cannot be reloaded: the one before stays in use"),
        }
        state.running.metrics.reloaded(reason.is_none());
        let (code, time) = (if reason.is_none() { 200 } else { 500 }, start.elapsed());
        state.audit.record(code, || audit::Event {
            time: OffsetDateTime::now_utc(),
            request: audit::Request { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), path: AUDIT_PATH, identity: "" },
            response: audit::Response { code, time },
            reason: reason.as_deref(),
        });
    }
}
