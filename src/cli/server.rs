//! `keyway server`: reads and checks everything, then opens the store, then binds, then serves.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::dev::Dev;
use super::signals;
use crate::config::duration::GoDuration;
use crate::config::{self, Config};
use crate::server::reload::{self, Reloader};
use crate::server::watch::Watch;
use crate::server::{self, probe, systemd};
use crate::state::{Current, Running};
use crate::telemetry::log;
use crate::telemetry::metrics::{Metrics, StreamCounters};
use crate::{VERSION, process};

/// How long blocking tasks may continue after the server has stopped.
const BLOCKING_TASKS_TIMEOUT: Duration = Duration::from_secs(1);

/// The arguments of `keyway server`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "keyway server --config FILE [--addr IP:PORT]\n       \
                      keyway server --dev [--data DIR] [--addr IP:PORT]")]
pub(super) struct Args {
    /// Config file: an existing KES config (`version: v1`), or one with Keyway's keystores.
    #[arg(long, value_name = "FILE", required_unless_present = "dev", conflicts_with = "dev")]
    config: Option<PathBuf>,
    /// Start a development server without a config: new certificate and admin API key, keys in an embedded database.
    #[arg(long)]
    dev: bool,
    /// Listen on this address instead of the configured one (127.0.0.1:7373 with --dev).
    #[arg(long, value_name = "IP:PORT")]
    addr: Option<String>,
    /// With --dev: keep keys, certificate and API key in this directory across restarts.
    #[arg(long, value_name = "DIR", requires = "dev", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// How long requests in progress may take to finish when the server stops.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    drain: GoDuration,
}

/// Runs a server until it is stopped.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let address = args.addr.as_deref().map(config::parse_address).transpose()?;
    let (config, watched, dev) = if let Some(file) = args.config {
        let mut watch = Watch::new(vec![file.clone()]); // before reading, so that no change in between is missed
        let mut config = config::read(&file)?;
        watch.follow(Reloader::files(&file, &config));
        config.address = address.unwrap_or(config.address);
        (config, Some((file, watch)), None)
    } else {
        let dev = Dev::prepare(args.data, address)?;
        (dev.config(), None, Some(dev))
    };
    let worker_threads = process::usable_cpus();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(worker_threads).enable_all().build()?;
    let sources = Sources { watched, address, dev, drain: args.drain.0 };
    let code = runtime.block_on(serve(config, &sources, worker_threads));
    runtime.shutdown_timeout(BLOCKING_TASKS_TIMEOUT);
    drop(sources); // removes the temporary directory of a development server, which is no longer in use
    code
}

async fn serve(config: Config, sources: &Sources, worker_threads: usize) -> anyhow::Result<ExitCode> {
    let (audit_counters, error_counters) = (StreamCounters::new("audit")?, StreamCounters::new("error")?);
    let errors = error_counters.broadcast();
    let (log_console, _flush_log) = log::console(io::stderr());
    let (audit_console, _flush_audit) = log::console(io::stdout());
    let log = log::init(log_console, config.log.error, config.log.format, errors.clone());
    process::harden();

    let running = Arc::new(Running {
        metrics: Metrics::new(&audit_counters, &error_counters)?,
        audit: audit_counters.broadcast(),
        audit_console,
        errors,
        load: Arc::default(),
        started: Instant::now(),
        worker_threads,
        tasks: TaskTracker::new(),
        stopping: CancellationToken::new(),
    });
    let state = reload::build(config, &running, None).await?;
    state.keys.take_over(None);
    let (address, probe) = (state.config.address, state.config.probe);
    let keystore = state.config.keystore.kind();
    let current = Arc::new(Current::new(state));

    let interrupted = handle_signals(running.stopping.clone())?;
    let hangup = signal(SignalKind::hangup())?;
    let listener = bind(address).await?;
    if let Some(probe) = probe {
        let listener = bind(probe).await?;
        info!(address = %listener.local_addr()?, "answering probes over plain HTTP");
        tokio::spawn(probe::run(listener, current.clone()));
    }
    let address = listener.local_addr()?;
    info!(%address, version = VERSION, keystore, "serving");
    if let Some(dev) = &sources.dev {
        dev.print(address);
    }
    if let Some((file, watch)) = sources.watched.clone() {
        let reloader = Reloader { file, address: sources.address, current: current.clone(), log, watch };
        tokio::spawn(running.stopping.clone().run_until_cancelled_owned(reloader.run(hangup)));
    } else {
        // A process without a handler would end on SIGHUP.
        let ignore = || info!("SIGHUP ignored: a development server has no config file to reload");
        tokio::spawn(signals::on_each(hangup, ignore));
    }
    tokio::spawn(systemd::feed_watchdog());
    systemd::ready();
    tokio::select! {
        _ = server::run(listener, current, sources.drain) => {
            info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        () = interrupted.cancelled() => {
            warn!("stopped immediately: a second signal arrived before all requests were finished");
            Ok(ExitCode::from(super::exit::INTERRUPTED))
        }
    }
}

/// Where a server's config comes from, and how the server ends.
struct Sources {
    /// The config file, and the files that it refers to.
    watched: Option<(PathBuf, Watch)>,
    /// The address given on the command line.
    address: Option<SocketAddr>,
    /// The data of a development server.
    dev: Option<Dev>,
    /// How long requests in progress may take to finish when the server stops.
    drain: Duration,
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}; check that no other process uses it"))
}

/// Stops the server gracefully on the first SIGTERM or SIGINT; the second one cancels the token.
fn handle_signals(stopping: CancellationToken) -> io::Result<CancellationToken> {
    let interrupted = CancellationToken::new();
    let interrupt = interrupted.clone();
    let stop = move || {
        systemd::stopping();
        stopping.cancel();
    };
    signals::on_stop(&[SignalKind::terminate(), SignalKind::interrupt()], stop, move || interrupt.cancel())?;
    Ok(interrupted)
}
