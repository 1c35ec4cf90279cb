//! `keyway backup`: writes all keys of a keystore to one encrypted file, once or at an interval.

mod metrics;
mod schedule;

use std::io::{self, IsTerminal as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use backends::BackendConfig;
use time::OffsetDateTime;

use super::exit::Usage;
use super::given::{self, STANDARD};
use super::stores::{BulkArgs, Channel, prepare, read_keystore};
use super::terminal::passphrase::Passphrase;
use crate::config::duration::GoDuration;
use crate::transfer::backup::file::Destination;
use crate::transfer::backup::lock::{Lock, recipient, recipients};
use crate::transfer::backup::write::{Options, backup};
use crate::transfer::report::{Outcome, Report};
use crate::transfer::{Keystore, Workers};

/// What follows the options in the help.
const HELP: &str = "\
The file is in age format (age-encryption.org) and can also be decrypted with `age -d`. It is written completely or \
not at all. On standard output (--out -), a backup that is not complete lacks its end, and `keyway restore` refuses it; \
check the exit code. The passphrase cannot be given as an argument, as command lines are visible to other users.

With --every, the command runs until SIGTERM or SIGINT, and --out is a directory, in which it creates files named \
keyway-YYYYMMDDTHHMMSSZ.age (UTC). The first backup is due an interval after the newest of these files. A failed \
backup is reported, and the next one follows at its time. Old files of such names are deleted only after a complete \
backup, whatever wrote them: use a directory of its own for each keystore. Other files are never deleted.

--metrics-file is for the textfile collector of node_exporter: keyway_backup_last_success_timestamp_seconds and \
keyway_backup_keys. A backup that lacks keys does not change it.

Exit codes: 0 all keys that existed at the start are in the file, or stopped between two backups, 1 some keys are not, \
2 invalid command line, 130 interrupted.

Examples: age-keygen -o backup.key
          keyway backup --config keyway.yml --out keys.age --recipient age1...
          keyway backup --config keyway.yml --out - --recipient age1... | ssh host 'cat > keys.age'
          keyway backup --config keyway.yml --out /backups --every 24h --keep 30 --recipient age1...";

/// The shortest and the longest interval: names of files have seconds, and a year is as good as never.
const INTERVALS: std::ops::RangeInclusive<u64> = 1..=8760 * 3600;

/// The arguments of `keyway backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, group = clap::ArgGroup::new("lock").required(true).multiple(true))]
pub(super) struct Args {
    /// Config file of the keystore; only its `keystore` section is used.
    #[arg(long, value_name = "CONFIG", value_parser = given::path())]
    config: PathBuf,
    /// Backup file to create; - is standard output. With --every, an existing directory for the backups.
    #[arg(long, value_name = "FILE", value_parser = given::path())]
    out: PathBuf,
    /// Replace an existing file.
    #[arg(long, conflicts_with = "every")]
    force: bool,
    /// Encrypt to this age public key (see age-keygen); may be repeated, any one of the keys decrypts the file.
    #[arg(
        long,
        value_name = "AGE1...",
        group = "lock",
        conflicts_with_all = ["passphrase", "passphrase_file"],
        value_parser = given::text()
    )]
    recipient: Vec<String>,
    /// Encrypt to the age public keys in this file, one per line; may be repeated.
    #[arg(
        long,
        value_name = "FILE",
        group = "lock",
        conflicts_with_all = ["passphrase", "passphrase_file"],
        value_parser = given::path()
    )]
    recipients_file: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Leave out damaged keys instead of failing; the exit code is still 1.
    #[arg(long)]
    skip_damaged: bool,
    /// Create a backup at this interval, such as 24h, until stopped.
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    every: Option<GoDuration>,
    /// Keep only the newest N backups in the directory. Default: all.
    #[arg(long, value_name = "N", requires = "every")]
    keep: Option<NonZeroUsize>,
    /// Write the time and the key count of the last complete backup to this file, as Prometheus metrics.
    #[arg(long, value_name = "FILE", value_parser = given::path())]
    metrics_file: Option<PathBuf>,
    #[command(flatten)]
    bulk: BulkArgs,
}

/// What every backup of this command needs.
struct Job<'a> {
    args: &'a Args,
    config: BackendConfig,
    lock: Arc<Lock>,
}

/// Creates the backup, or one after the other.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prepared = prepare();
    let config = read_keystore(&args.config)?;
    // Before the user types a passphrase in vain.
    args.check(&config)?;
    let lock = match args.passphrase.for_new_file()? {
        Some(passphrase) => Lock::Passphrase(passphrase),
        None => Lock::Recipients(read_recipients(&args.recipient, &args.recipients_file)?),
    };
    let job = Job { args, config, lock: Arc::new(lock) };
    if let Some(GoDuration(every)) = args.every {
        return prepared.start(&args.bulk, async |workers| schedule::run(&job, every, &workers).await);
    }
    let channel = if args.is_stdout() { Channel::Stderr } else { Channel::Stdout };
    prepared.run_reporting(&args.bulk, channel, async |workers| job.run(&args.destination(), &workers).await)
}

impl Args {
    fn is_stdout(&self) -> bool {
        self.out == Path::new(STANDARD)
    }

    /// Where the only backup goes.
    fn destination(&self) -> Destination {
        if self.is_stdout() {
            return Destination::Stdout;
        }
        Destination::File { path: self.out.clone(), replaces: self.force }
    }

    /// Checks that the files can be written.
    #[expect(clippy::print_stderr, reason = "warnings belong on standard error")]
    fn check(&self, config: &BackendConfig) -> anyhow::Result<()> {
        let out = match self.every {
            None => self.out.clone(),
            Some(_) if self.is_stdout() => {
                bail!(Usage("with --every, --out must be a directory, not standard output".to_owned()))
            }
            Some(_) if !self.out.is_dir() => bail!(Usage(format!(
                "'{}' is not an existing directory; with --every, --out is the directory of the backups: create it, and \
                 check that its volume is mounted",
                self.out.display()
            ))),
            Some(_) => self.out.join("keyway-check"),
        };
        if self.is_stdout() && io::stdout().is_terminal() {
            bail!(Usage("a backup is binary and is not written to a terminal; redirect standard output".to_owned()));
        }
        if self.is_stdout() && self.force {
            eprintln!("warning: --force is without effect on standard output");
        }
        for file in [Some(&out), self.metrics_file.as_ref()].into_iter().flatten() {
            if config.contains(file) {
                bail!(Usage(format!("'{}' belongs to the keystore itself; choose another path", file.display())));
            }
        }
        if self.metrics_file.as_ref() == Some(&self.out) {
            bail!(Usage("--metrics-file and --out are the same file; choose two files".to_owned()));
        }
        if !self.is_stdout() {
            Destination::File { path: out, replaces: self.force }.open()?;
        }
        self.metrics_file.as_deref().map_or(Ok(()), metrics::check)
    }
}

impl Job<'_> {
    /// Creates one backup, and updates the metrics if it is complete. Returns the heading of the report, and the report.
    async fn run(&self, destination: &Destination, workers: &Workers) -> anyhow::Result<(String, Report)> {
        let start = OffsetDateTime::now_utc();
        let source = Keystore::open_to_read(&self.args.config, &self.config).await?;
        let options = Options { destination, skip_damaged: self.args.skip_damaged };
        let report = Box::pin(backup(&source, Arc::clone(&self.lock), &options, workers)).await;
        source.close().await;
        let mut report = report?;
        if report.is_complete()
            && let Some(file) = &self.args.metrics_file
            && let Err(error) = metrics::write(file, start, report.count(Outcome::Copied))
        {
            // The report is printed all the same.
            report.cut_short = Some(format!("the backup is complete, but its metrics are not written: {error:#}"));
        }
        let out = match destination {
            Destination::File { path, .. } => path.display().to_string(),
            Destination::Stdout => "standard output".to_owned(),
        };
        Ok((format!("backup: {source} -> {out}"), report))
    }
}

/// Parses an interval between backups.
fn interval(text: &str) -> Result<GoDuration, String> {
    let interval = text.parse::<GoDuration>().map_err(|error| error.to_string())?;
    if interval.0.as_secs() < *INTERVALS.start() || interval.0.as_secs() > *INTERVALS.end() {
        return Err("is out of range; use 1s to 8760h".to_owned());
    }
    Ok(interval)
}

fn read_recipients(given: &[String], files: &[PathBuf]) -> anyhow::Result<Vec<age::x25519::Recipient>> {
    let mut all = given.iter().map(|text| recipient(text)).collect::<Result<Vec<_>, _>>()?;
    for file in files {
        let context = |path: &Path| format!("cannot read recipients from '{}'", path.display());
        let text = std::fs::read_to_string(file).with_context(|| context(file))?;
        all.extend(recipients(&text).with_context(|| context(file))?);
    }
    Ok(all)
}
