//! What the commands that access keystores directly share: the config, signals, the report and the exit code.

use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

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
    /// Runs a command. The first SIGINT (Ctrl-C), SIGTERM or SIGHUP ends it after the keys in progress, the second one
    /// immediately.
    pub(super) fn run(
        self,
        bulk: &BulkArgs,
        command: impl AsyncFnOnce(Workers) -> anyhow::Result<(String, Report)>,
    ) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let concurrency = NonZeroUsize::new(bulk.concurrency.into()).unwrap_or(NonZeroUsize::MIN);
        let workers = Workers { concurrency, stop: CancellationToken::new(), progress: self.0 };
        let stop = workers.stop.clone();
        let start = Instant::now();
        let (heading, report) = runtime.block_on(async {
            handle_signals(stop.clone(), workers.progress.clone())?;
            Box::pin(command(workers)).await
        })?;
        print(&format!("{heading}, in {:.1} s", start.elapsed().as_secs_f64()), &report, bulk.json)?;
        if report.is_complete() {
            return Ok(ExitCode::SUCCESS);
        }
        let problem = report.cut_short.unwrap_or_else(|| "some keys need attention; see the report above".to_owned());
        if stop.is_cancelled() {
            super::print_error(&anyhow!(problem));
            return Ok(ExitCode::from(exit::INTERRUPTED));
        }
        Err(anyhow!(problem))
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
fn print(heading: &str, report: &Report, json: bool) -> anyhow::Result<()> {
    let text = if json { format!("{}\n", report.json()?) } else { format!("{heading}\n{report}") };
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
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
