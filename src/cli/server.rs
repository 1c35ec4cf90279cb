//! `keyway server`: reads and checks everything, then opens the store, then binds, then serves.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::dev::Dev;
use crate::audit::Audit;
use crate::config::{self, Config};
use crate::keys::{self, Keys, Lifetime};
use crate::metrics::{Metrics, StreamCounters};
use crate::policy::Policies;
use crate::state::State;
use crate::{VERSION, log, process, server, tls};

/// How long open requests may take to finish when the server is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How long tasks that block may go on after the server has ended.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// The exit code of a process that a second signal ended before its requests were done.
const INTERRUPTED: u8 = 130;

/// The arguments of `keyway server`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "keyway server --config FILE [--addr IP:PORT]\n       keyway server --dev [--data DIR] [--addr IP:PORT]"
)]
pub(super) struct Args {
    /// The config file: KES's own (`version: v1`), or one with Keyway's stores.
    #[arg(long, value_name = "FILE", required_unless_present = "dev", conflicts_with = "dev")]
    config: Option<PathBuf>,
    /// Start without a config: a fresh certificate and admin API key, keys in an embedded database.
    #[arg(long)]
    dev: bool,
    /// Listen on this address instead of the configured one (127.0.0.1:7373 with --dev).
    #[arg(long, value_name = "IP:PORT")]
    addr: Option<String>,
    /// With --dev: keep keys, certificate and API key in this directory, so that they survive a restart.
    #[arg(long, value_name = "DIR", requires = "dev", conflicts_with = "config")]
    data: Option<PathBuf>,
}

/// Runs a server until it is told to stop.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let address = args.addr.as_deref().map(config::parse_address).transpose()?;
    let (config, dev) = if let Some(file) = args.config {
        let mut config = config::read(&file)?;
        config.address = address.unwrap_or(config.address);
        (config, None)
    } else {
        let dev = Dev::prepare(args.data, address)?;
        (dev.config(), Some(dev))
    };
    let worker_threads = process::usable_cpus();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(worker_threads).enable_all().build()?;
    let code = runtime.block_on(serve(config, dev.as_ref(), worker_threads));
    runtime.shutdown_timeout(LAST_TASKS);
    drop(dev); // removes its temporary directory, which nothing uses any more
    code
}

async fn serve(config: Config, dev: Option<&Dev>, worker_threads: usize) -> anyhow::Result<ExitCode> {
    let (audit_counters, error_counters) = (StreamCounters::new("audit")?, StreamCounters::new("error")?);
    let errors = error_counters.broadcast();
    let (log_console, _flush_log) = log::console(io::stderr());
    let (audit_console, _flush_audit) = log::console(io::stdout());
    log::init(log_console, config.log.error, config.log.format, errors.clone());
    for warning in &config.warnings {
        warn!("{warning}");
    }
    if !config.cache.offline.is_zero() {
        warn!("cache.expiry.offline has no effect in this version: keys are not served while the keystore is down");
    }
    process::harden();

    let certificate_required = config.certificate_required();
    let tls_options = config.tls.clone();
    let tls = tokio::task::spawn_blocking(move || tls::server_config(&tls_options, certificate_required)).await??;
    for warning in &tls.warnings {
        warn!("{warning}");
    }

    let store = backends::open(&config.keystore)
        .await
        .with_context(|| format!("cannot open the keystore ({})", config.keystore.kind()))?;
    if config.keystore == backends::BackendConfig::Memory {
        warn!("keystore.memory: ALL KEYS ARE LOST when the server ends, and with them all data under them");
    }
    let keys = Keys::new(store, Lifetime { any: config.cache.any, unused: config.cache.unused });
    keys::create_absent(&keys, &config.keys, config.admin.as_str())
        .await
        .map_err(|(name, failure)| anyhow::anyhow!("cannot create key '{name}' of the config's `keys`: {failure}"))?;

    let state = Arc::new(State {
        keys,
        policies: Policies::new(config.admin, config.policies, config.identities, OffsetDateTime::now_utc()),
        api: config.api,
        proxy: config.tls.proxy,
        metrics: Metrics::new(&audit_counters, &error_counters)?,
        audit: Audit::new(audit_counters.broadcast(), audit_console, config.log.audit, config.log.format),
        errors,
        started: Instant::now(),
        worker_threads,
        mutations: TaskTracker::new(),
        stopping: CancellationToken::new(),
    });
    let interrupted = watch_signals(state.stopping.clone())?;
    let listener = TcpListener::bind(config.address)
        .await
        .with_context(|| format!("cannot listen on {}: is another server running there?", config.address))?;
    let address = listener.local_addr()?;
    info!(%address, version = VERSION, keystore = config.keystore.kind(), "serving");
    if let Some(dev) = dev {
        dev.print(address);
    }
    tokio::select! {
        _ = server::run(listener, tls.config, state, DRAIN) => {
            info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        () = interrupted.cancelled() => {
            warn!("stopped at once: a second signal came before open requests were done");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// SIGTERM and SIGINT stop the server, a second one at once.
fn watch_signals(stopping: CancellationToken) -> io::Result<CancellationToken> {
    let interrupted = CancellationToken::new();
    let interrupt_now = interrupted.clone();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        async fn any(first: &mut Signal, second: &mut Signal) {
            tokio::select! {
                _ = first.recv() => {}
                _ = second.recv() => {}
            }
        }
        any(&mut terminate, &mut interrupt).await;
        stopping.cancel();
        any(&mut terminate, &mut interrupt).await;
        interrupt_now.cancel();
    });
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            warn!("SIGHUP: this version does not reload its config; restart it to apply changes");
        }
    });
    Ok(interrupted)
}

/// The address that `--dev` listens on.
pub(super) const DEV_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7373);
