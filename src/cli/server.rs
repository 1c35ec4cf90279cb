//! `keyway server`: reads and checks everything, then opens the store, then binds, then serves.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::dev::Dev;
use super::signals;
use crate::config::duration::GoDuration;
use crate::config::{self, Config, Format};
use crate::server::listen::listen;
use crate::server::reload::{self, Reloader, SetupError};
use crate::server::watch::Watch;
use crate::server::{self, probe, systemd};
use crate::state::{Current, Running};
use crate::telemetry::console::Console;
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
    #[command(flatten)]
    overrides: Overrides,
}

/// The default of `--drain`.
const DRAIN: Duration = Duration::from_secs(10);

/// Flags of `kes server` in any of its releases. Those that have no effect are warned of.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Overrides {
    /// The private key of the server, in place of tls.key.
    #[arg(long, hide = true, value_name = "FILE", alias = "tls-key")]
    key: Option<PathBuf>,
    /// The certificate of the server, in place of tls.cert.
    #[arg(long, hide = true, value_name = "FILE", alias = "tls-cert")]
    cert: Option<PathBuf>,
    /// Without effect: see tls.auth.
    #[arg(long, hide = true, value_name = "on|off", num_args = 0..=1, default_missing_value = "on", alias = "mtls-auth")]
    auth: Option<String>,
    /// Without effect: see admin.identity.
    #[arg(long, hide = true, value_name = "IDENTITY")]
    root: Option<String>,
    /// Without effect: memory is locked where the system allows it.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    mlock: Option<String>,
    /// Without effect: log.error in the config says what is logged.
    #[arg(short, long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    quiet: Option<String>,
}

impl Overrides {
    /// What to say of these flags.
    fn warnings(&self) -> Vec<String> {
        let has_effect = |flag: &str, key: &str| format!("--{flag} overrides {key}; prefer to set {key} in the config");
        let no_effect = |flag: &str, instead: &str| format!("--{flag} has no effect; {instead}");
        let mut warnings = Vec::new();
        warnings.extend(self.key.as_ref().map(|_| has_effect("key", "tls.key")));
        warnings.extend(self.cert.as_ref().map(|_| has_effect("cert", "tls.cert")));
        warnings.extend(self.auth.as_ref().map(|_| {
            no_effect("auth", "tls.auth in the config says whether client certificates are verified (default off)")
        }));
        warnings.extend(self.root.as_ref().map(|_| no_effect("root", "admin.identity in the config is the admin")));
        warnings.extend(self.mlock.as_ref().map(|_| no_effect("mlock", "memory is locked where the system allows it")));
        warnings.extend(self.quiet.as_ref().map(|_| no_effect("quiet", "log.error in the config says what is logged")));
        warnings
    }
}

/// Runs a server as `kes server` does.
pub(super) fn run_as_kes(
    config: Option<PathBuf>,
    addr: Option<String>,
    overrides: Overrides,
) -> anyhow::Result<ExitCode> {
    let dev = config.is_none();
    run(Args { config, dev, addr, data: None, drain: GoDuration(DRAIN), overrides })
}

/// Runs a server until it is stopped.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let address = args.addr.as_deref().map(config::parse_address).transpose()?;
    let warnings = args.overrides.warnings();
    let overrides = config::Overrides { address, tls_key: args.overrides.key, tls_cert: args.overrides.cert };
    let (config, watched, dev) = if let Some(file) = args.config {
        let mut watch = Watch::new(vec![file.clone()]); // before reading, so that no change in between is missed
        let config = config::read_with(&file, &overrides)?;
        watch.follow(Reloader::files(&file, &config));
        (config, Some((file, watch)), None)
    } else {
        let dev = Dev::prepare(args.data, address)?;
        (dev.config(), None, Some(dev))
    };
    let worker_threads = process::usable_cpus();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(worker_threads).enable_all().build()?;
    let sources = Sources { watched, overrides, warnings, dev, drain: args.drain.0 };
    let code = runtime.block_on(serve(config, &sources, worker_threads));
    runtime.shutdown_timeout(BLOCKING_TASKS_TIMEOUT);
    drop(sources); // removes the temporary directory of a development server, which is no longer in use
    code
}

/// Sets up the outputs of a server, and runs it.
async fn serve(config: Config, sources: &Sources, worker_threads: usize) -> anyhow::Result<ExitCode> {
    let (audit_counters, error_counters) = (StreamCounters::new("audit")?, StreamCounters::new("error")?);
    let errors = error_counters.broadcast();
    let (log_console, _flush_log) = Console::new(io::stderr(), None, error_counters.lost())?;
    // Dropped first, so that the log can say what is lost.
    let (audit_console, _flush_audit) = Console::new(io::stdout(), Some("audit events"), audit_counters.lost())?;
    let format = config.log.format;
    let log = log::init(log_console, config.log.error, format, errors.clone());
    let running = Running {
        metrics: Metrics::new(&audit_counters, &error_counters)?,
        audit: audit_counters.broadcast(),
        audit_console,
        errors,
        load: Arc::default(),
        started: Instant::now(),
        worker_threads,
        tasks: TaskTracker::new(),
        stopping: CancellationToken::new(),
        in_use: watch::Sender::new(Weak::new()),
    };
    match start(config, sources, Arc::new(running), log).await {
        // Who reads a log of JSON cannot read the text that the program prints otherwise.
        Err(error) if format == Format::Json => {
            error!(reason = format!("{error:#}"), "the server cannot start");
            Ok(super::exit::code(&error))
        }
        ended => ended,
    }
}

/// Starts a server, and waits for its end.
async fn start(
    config: Config,
    sources: &Sources,
    running: Arc<Running>,
    log: log::Control,
) -> anyhow::Result<ExitCode> {
    for warning in &sources.warnings {
        warn!("{warning}");
    }
    process::harden();
    let state = reload::build(config, &running, None).await.map_err(|error| match error {
        SetupError::Config(problems) => anyhow::Error::new(problems), // printed as those of `keyway check`
        other => anyhow::Error::new(other),
    })?;
    state.keys.take_over(None);
    let (address, probe) = (state.config.address, state.config.probe);
    let keystore = state.config.keystore.kind();
    let current = Arc::new(Current::new(state));

    // A development server on a terminal is one of its jobs, and ends with it.
    let ends_on_hangup = sources.dev.is_some() && (io::stdin().is_terminal() || io::stdout().is_terminal());
    let interrupted = handle_signals(running.stopping.clone(), ends_on_hangup)?;
    let hangup = signal(SignalKind::hangup())?;
    for (kind, name) in [(SignalKind::user_defined1(), "SIGUSR1"), (SignalKind::user_defined2(), "SIGUSR2")] {
        // A process without a handler would end.
        tokio::spawn(signals::on_each(signal(kind)?, move || info!("{name} ignored: it has no meaning")));
    }
    let listener = listen(address)?;
    if let Some(probe) = probe {
        let listener = listen(probe)?;
        info!(address = %listener.local_addr()?, "answering probes over plain HTTP");
        tokio::spawn(probe::run(listener, current.clone()));
    }
    let address = listener.local_addr()?;
    info!(%address, version = VERSION, keystore, "serving");
    if let Some(dev) = &sources.dev {
        dev.print(address, super::is_kes());
    }
    if let Some((file, watch)) = sources.watched.clone() {
        let overrides = sources.overrides.clone();
        let reloader = Reloader { file, overrides, current: current.clone(), log, watch };
        tokio::spawn(running.stopping.clone().run_until_cancelled_owned(reloader.run(hangup)));
    } else if !ends_on_hangup {
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
    /// The options of the command line that override the file.
    overrides: config::Overrides,
    /// Warnings about the command line.
    warnings: Vec<String>,
    /// The data of a development server.
    dev: Option<Dev>,
    /// How long requests in progress may take to finish when the server stops.
    drain: Duration,
}

/// Stops the server gracefully on the first SIGTERM or SIGINT, or SIGHUP if it `ends_on_hangup`; the second one cancels
/// the token.
fn handle_signals(stopping: CancellationToken, ends_on_hangup: bool) -> io::Result<CancellationToken> {
    let interrupted = CancellationToken::new();
    let interrupt = interrupted.clone();
    let stop = move || {
        systemd::stopping();
        stopping.cancel();
    };
    let mut kinds = vec![SignalKind::terminate(), SignalKind::interrupt()];
    kinds.extend(ends_on_hangup.then(SignalKind::hangup));
    signals::on_stop(&kinds, stop, move || interrupt.cancel())?;
    Ok(interrupted)
}
