//! What the commands that work on stores themselves share: the config, signals, the report and the exit code.

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

use super::exit;
use crate::transfer::Workers;
use crate::transfer::progress::Progress;
use crate::transfer::report::Report;
use crate::{config, process};

/// The options of every command that works on many keys.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Work {
    /// Keys in work at a time. Fewer are kinder to a store that throttles.
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: u16,
    /// Print the report as JSON, with all names.
    #[arg(long)]
    json: bool,
}

impl Default for Work {
    fn default() -> Self {
        Self { concurrency: 32, json: false }
    }
}

/// A process that may hold secrets.
pub(super) struct Prepared(Progress);

/// Comes first in a command, before it reads a config or asks for a passphrase: keeps its memory to itself, and says in
/// between the lines of progress what there is to say.
pub(super) fn prepare() -> Prepared {
    let progress = Progress::new();
    let log = progress.clone();
    let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_writer(move || log.clone());
    let _ = lines.with_ansi(false).with_target(false).without_time().try_init();
    process::harden();
    Prepared(progress)
}

impl Prepared {
    /// Runs a command. Ctrl-C, SIGTERM and SIGHUP end it after the keys that are in work; the second one ends it at
    /// once.
    pub(super) fn run(
        self,
        work: &Work,
        command: impl AsyncFnOnce(Workers) -> anyhow::Result<(String, Report)>,
    ) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let concurrency = NonZeroUsize::new(work.concurrency.into()).unwrap_or(NonZeroUsize::MIN);
        let workers = Workers { concurrency, stop: CancellationToken::new(), progress: self.0 };
        let stop = workers.stop.clone();
        let began = Instant::now();
        let (heading, report) = runtime.block_on(async {
            watch_signals(stop.clone(), workers.progress.clone())?;
            Box::pin(command(workers)).await
        })?;
        show(&format!("{heading}, in {:.1} s", began.elapsed().as_secs_f64()), &report, work.json)?;
        if report.is_complete() {
            return Ok(ExitCode::SUCCESS);
        }
        let what = report.cut_short.unwrap_or_else(|| "not every key is there as it should be; see above".to_owned());
        if stop.is_cancelled() {
            super::print_error(&anyhow!(what));
            return Ok(ExitCode::from(exit::INTERRUPTED));
        }
        Err(anyhow!(what))
    }
}

/// The keystore of a config file; the rest of the file does not matter. Warnings go to standard error.
#[expect(clippy::print_stderr, reason = "warnings belong on standard error")]
pub(super) fn keystore(file: &Path) -> anyhow::Result<BackendConfig> {
    let (keystore, warnings) = config::read_keystore(file)?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    Ok(keystore)
}

/// Prints the report. Who does not read it takes nothing from what was done, nor from the exit code.
fn show(heading: &str, report: &Report, json: bool) -> anyhow::Result<()> {
    let text = if json { format!("{}\n", report.json()?) } else { format!("{heading}\n{report}") };
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot print the report"),
        _ => Ok(()),
    }
}

fn watch_signals(stop: CancellationToken, progress: Progress) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // A file that grows past RLIMIT_FSIZE is then an error of its write, and not the end of the process.
    let mut file_size = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
    tokio::spawn(async move { while file_size.recv().await.is_some() {} });
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if is_first {
                stop.cancel();
                let _ = progress.say(b"stopping after the keys that are in work; once more to stop at once\n");
            }
        }
        std::process::exit(exit::INTERRUPTED.into());
    });
    Ok(())
}
