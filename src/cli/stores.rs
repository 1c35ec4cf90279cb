//! What the commands that access keystores directly share: the config, signals, the report and the exit code.

use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use backends::BackendConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;

use super::{exit, signals};
use crate::transfer::Workers;
use crate::transfer::progress::Progress;
use crate::transfer::report::Report;
use crate::{config, process};

/// The options of every command that processes many keys.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BulkArgs {
    /// Keys processed concurrently; lower it if the store throttles.
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: u16,
    /// Print the report as JSON, with all key names.
    #[arg(long)]
    json: bool,
}

impl Default for BulkArgs {
    fn default() -> Self {
        Self { concurrency: 32, json: false }
    }
}

/// Where a report goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error, if standard output is for data.
    Stderr,
}

/// Proof that the process is ready to hold secrets.
pub(super) struct Prepared(Progress);

/// Must run first in a command, before it reads a config or a passphrase: protects the memory of the process, and
/// prints log messages without disturbing the progress display.
pub(super) fn prepare() -> Prepared {
    let progress = Progress::new();
    let log = progress.clone();
    let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_writer(move || log.clone());
    let _ = lines.with_ansi(false).with_target(false).without_time().try_init();
    process::harden();
    Prepared(progress)
}

impl Prepared {
    /// Runs a command and prints its report to standard output.
    pub(super) fn run(
        self,
        bulk: &BulkArgs,
        command: impl AsyncFnOnce(Workers) -> anyhow::Result<(String, Report)>,
    ) -> anyhow::Result<ExitCode> {
        self.run_reporting(bulk, Channel::Stdout, command)
    }

    /// Runs a command and prints its report.
    pub(super) fn run_reporting(
        self,
        bulk: &BulkArgs,
        channel: Channel,
        command: impl AsyncFnOnce(Workers) -> anyhow::Result<(String, Report)>,
    ) -> anyhow::Result<ExitCode> {
        self.start(bulk, async |workers| {
            let (stop, start) = (workers.stop.clone(), Instant::now());
            let (heading, report) = Box::pin(command(workers)).await?;
            print(&heading, start.elapsed(), &report, bulk, channel)?;
            match report.problem() {
                None => Ok(ExitCode::SUCCESS),
                Some(problem) if stop.is_cancelled() => {
                    super::print_error(&anyhow!(problem));
                    Ok(ExitCode::from(exit::INTERRUPTED))
                }
                Some(problem) => Err(anyhow!(problem)),
            }
        })
    }

    /// Runs a command that prints its own reports. The first SIGINT (Ctrl-C), SIGTERM or SIGHUP ends it after the keys
    /// in progress, the second one immediately.
    pub(super) fn start(
        self,
        bulk: &BulkArgs,
        command: impl AsyncFnOnce(Workers) -> anyhow::Result<ExitCode>,
    ) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let concurrency = NonZeroUsize::new(bulk.concurrency.into()).unwrap_or(NonZeroUsize::MIN);
        let workers = Workers { concurrency, stop: CancellationToken::new(), progress: self.0 };
        runtime.block_on(async {
            handle_signals(workers.stop.clone(), workers.progress.clone())?;
            Box::pin(command(workers)).await
        })
    }
}

/// Reads the keystore section of a config file and ignores the rest. Warnings go to standard error.
#[expect(clippy::print_stderr, reason = "warnings belong on standard error")]
pub(super) fn read_keystore(file: &Path) -> anyhow::Result<BackendConfig> {
    let (keystore, warnings) = config::read_keystore(file)?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    Ok(keystore)
}

/// Prints the report. A closed pipe is not an error: it changes neither the result nor the exit code.
pub(super) fn print(
    heading: &str,
    duration: Duration,
    report: &Report,
    bulk: &BulkArgs,
    channel: Channel,
) -> anyhow::Result<()> {
    let text = if bulk.json {
        format!("{}\n", report.json()?)
    } else {
        format!("{heading}, in {:.1} s\n{report}", duration.as_secs_f64())
    };
    let write = |output: &mut dyn io::Write| output.write_all(text.as_bytes()).and_then(|()| output.flush());
    let written = match channel {
        Channel::Stdout => write(&mut io::stdout().lock()),
        Channel::Stderr => write(&mut io::stderr().lock()),
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot print the report"),
        _ => Ok(()),
    }
}

fn handle_signals(stop: CancellationToken, progress: Progress) -> io::Result<()> {
    // With a handler, a file that grows past RLIMIT_FSIZE fails its write instead of killing the process.
    let file_size = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
    tokio::spawn(signals::on_each(file_size, || {}));
    let stop_gracefully = move || {
        stop.cancel();
        let _ = progress.say(b"stopping after the keys in progress; press Ctrl-C again to stop immediately\n");
    };
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    signals::on_stop(&kinds, stop_gracefully, || std::process::exit(exit::INTERRUPTED.into()))
}
