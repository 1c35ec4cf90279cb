//! From a config to the state of a server: at start, and again on SIGHUP or after a file has changed. A new state is
//! complete and checked before it replaces the current one; on an error the current one stays in use.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use backends::chain;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::keystore::{self, KeystoreError};
use super::systemd;
use super::watch::Watch;
use crate::config::{self, Config, ConfigError};
use crate::policy::Policies;
use crate::state::{Current, Running, State};
use crate::telemetry::audit::{self, Audit};
use crate::telemetry::log;
use crate::tls;

/// The path of reloads in the audit log. It is not an API.
const AUDIT_PATH: &str = "/config/reload";

/// Why a config cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file has errors, or the TLS files that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting that requires a restart has changed.
    #[error("{key} cannot be changed by a reload (from {old} to {new}); restart the server to apply the new config")]
    Restart {
        /// The config key.
        key: &'static str,
        /// Its current value.
        old: String,
        /// Its new value.
        new: String,
    },
    /// The keystore cannot be used.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// Reading files panicked, which is a bug.
    #[error("internal error while reading the files of the config")]
    Read,
}

/// Builds the state for a config. Reuses the keystore and the cache of `current` if their settings have not changed.
///
/// # Errors
/// [`SetupError`]; then nothing has changed, except that keys of the config may have been created.
pub async fn build(config: Config, running: &Arc<Running>, current: Option<&State>) -> Result<Arc<State>, SetupError> {
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let (options, is_required, store_files) =
        (config.tls.clone(), config.certificate_required(), config.keystore.files_read_once());
    let files = move || (tls::server_config(&options, is_required), digest(&store_files));
    let (tls, store_files) = tokio::task::spawn_blocking(files).await.map_err(|_| SetupError::Read)?;
    let tls = tls.map_err(|errors| errors.at(&config.source))?;
    for warning in &tls.warnings {
        warn!("{}", warning.at(&config.source));
    }
    let is_same = |current: &&State| {
        let (old, new) = (&current.config, &config);
        old.keystore == new.keystore && old.trash == new.trash && current.store_files == store_files
    };
    let same_store = current.filter(is_same);
    let keys = match (same_store, current) {
        (Some(same), _) => {
            let added: Vec<_> = config.keys.iter().filter(|name| !same.config.keys.contains(name)).cloned().collect();
            keystore::create_missing(&same.keys, &added, config.admin.as_str()).await?;
            same.keys.clone()
        }
        (None, Some(current)) => keystore::open_at_reload(&config, running, &current.config.keystore).await?,
        (None, None) => keystore::open_at_start(&config, running).await?,
    };
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
        verifier: tls.verifier,
        audit: Audit::new(running.audit.clone(), running.audit_console.clone(), config.log.audit, config.log.format),
        running: running.clone(),
        store_files,
        in_use: idle.clone().drop_guard(),
        idle,
        config,
    }))
}

/// A digest of the contents of files; an unreadable file counts as empty.
fn digest(files: &[PathBuf]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for file in files {
        let content = zeroize::Zeroizing::new(std::fs::read(file).unwrap_or_default());
        digest.update((content.len() as u64).to_le_bytes());
        digest.update(&*content);
    }
    digest.finalize().into()
}

/// Reloads the config of a running server.
#[derive(Debug)]
pub struct Reloader {
    /// The config file.
    pub file: PathBuf,
    /// The options of the command line that override the file.
    pub overrides: config::Overrides,
    /// The state of the server.
    pub current: Arc<Current>,
    /// The server's log.
    pub log: log::Control,
    /// The files of the config in use.
    pub watch: Watch,
}

impl Reloader {
    /// The files whose changes trigger a reload.
    pub fn files(file: &std::path::Path, config: &Config) -> Vec<PathBuf> {
        let tls = [Some(&config.tls.key), Some(&config.tls.cert), config.tls.ca.as_ref()];
        let mut files = vec![file.to_owned()];
        files.extend(tls.into_iter().flatten().cloned());
        files.extend(config.keystore.files_read_once());
        files.extend(config.included.iter().cloned());
        files
    }

    /// Reloads on each signal and after each change of a file.
    pub async fn run(mut self, mut hangup: Signal) {
        loop {
            let cause = tokio::select! {
                Some(()) = hangup.recv() => "SIGHUP",
                () = self.watch.changed() => "file changed",
            };
            info!(cause, "reloading config");
            systemd::reloading();
            let start = Instant::now();
            let result = self.reload().await;
            self.record(start, result.as_ref().err());
            systemd::ready();
        }
    }

    /// Reloads once. Files are checked before they are read, so that a change in between triggers another reload.
    async fn reload(&mut self) -> Result<(), SetupError> {
        let (file, overrides, mut watch) = (self.file.clone(), self.overrides.clone(), self.watch.clone());
        let read = tokio::task::spawn_blocking(move || {
            watch.refresh();
            let config = config::read_with(&file, &overrides);
            if let Ok(config) = &config {
                watch.follow(Self::files(&file, config));
            }
            (watch, config)
        });
        let (watch, config) = read.await.map_err(|_| SetupError::Read)?;
        // Even if the files have errors, which are then not reported again.
        self.watch = watch;
        let config = config?;
        backends::credentials_may_work_again();
        let current = self.current.get();
        Self::check_unchanged(&current.config, &config)?;
        let new = build(config, &current.running, Some(&current)).await?;
        self.log.set(new.config.log.error, new.config.log.format);
        if new.keys.is_same_as(&current.keys) {
            new.keys.set(keystore::settings(&new.config));
            self.current.replace(new);
            return Ok(());
        }
        new.keys.take_over(Some(&current.keys));
        self.current.replace(new.clone());
        let (from, to) = (current.config.keystore.kind(), new.config.keystore.kind());
        info!(from, to, "keystore changed; new requests use the new one");
        let (keys, idle) = (current.keys.clone(), current.idle.clone());
        current.running.tasks.spawn(async move {
            idle.cancelled().await;
            keys.close().await;
            info!("closed the previous keystore");
        });
        Ok(())
    }

    /// Rejects changes of settings that a reload cannot change.
    fn check_unchanged(current: &Config, new: &Config) -> Result<(), SetupError> {
        let text = |address: Option<SocketAddr>| address.map_or_else(|| "none".to_owned(), |it| it.to_string());
        let values = |config: &Config| {
            [
                ("address", config.address.to_string()),
                ("probe.address", text(config.probe)),
                ("cache.max_entries", config.cache.max_entries.to_string()),
            ]
        };
        for ((key, old), (_, new)) in values(current).into_iter().zip(values(new)) {
            if old != new {
                return Err(SetupError::Restart { key, old, new });
            }
        }
        Ok(())
    }

    /// Records a reload in the log, the metrics and the audit log.
    fn record(&self, start: Instant, failure: Option<&SetupError>) {
        let state = self.current.get();
        let reason = failure.map(|failure| chain(failure));
        match &reason {
            None => info!("config reloaded"),
            Some(reason) => error!(reason, "config reload failed; the current config stays in use"),
        }
        state.running.metrics.reloaded(reason.is_none());
        let (code, time) = (if reason.is_none() { 200 } else { 500 }, start.elapsed());
        let is_change = false; // of keys
        state.audit.record(code, is_change, || audit::Event {
            time: OffsetDateTime::now_utc(),
            request: audit::Request { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), path: AUDIT_PATH, identity: "" },
            response: audit::Response { code, time },
            reason: reason.as_deref(),
        });
    }
}
