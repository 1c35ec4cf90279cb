//! `keyway restore`: writes the keys of a backup to a keystore.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::exit::Usage;
use super::given::{self, STANDARD};
use super::stores::{BulkArgs, prepare, read_keystore};
use super::terminal::passphrase::Passphrase;
use crate::glob::Glob;
use crate::transfer::Keystore;
use crate::transfer::backup::file::BackupFile;
use crate::transfer::backup::lock::{Key, identities};
use crate::transfer::backup::restore::{Options, check, restore};

/// What follows the options in the help.
const HELP: &str = "\
The whole file is read and checked before anything is written; a truncated or altered file is refused. Nothing is \
overwritten: keys that already exist with the same value are skipped, and if a name already belongs to a different \
key, nothing is written at all, or with --merge only the others. After an interruption, run the command again to resume.

Standard input (--in -) is first copied to a temporary file without a name (in TMPDIR, or /tmp), still encrypted, \
because a backup is read twice. A prompt for its passphrase uses the terminal.

Exit codes: 0 all selected keys are in the keystore, or --merge kept a different value, 1 some keys are not, 2 invalid \
command line, 130 interrupted.

Examples: keyway restore --config keyway.yml --in keys.age --identity backup.key
          keyway restore --config keyway.yml --in keys.age --identity backup.key --merge 'app-*'";

/// The arguments of `keyway restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, group = clap::ArgGroup::new("lock").required(true).multiple(true))]
pub(super) struct Args {
    /// Config file of the keystore; only its `keystore` section is used.
    #[arg(long, value_name = "CONFIG", value_parser = given::path())]
    config: PathBuf,
    /// Backup file to restore; - is standard input.
    #[arg(long = "in", value_name = "FILE", value_parser = given::path())]
    input: PathBuf,
    /// File with an age secret key (see age-keygen); may be repeated.
    #[arg(
        long,
        value_name = "FILE",
        group = "lock",
        conflicts_with_all = ["passphrase", "passphrase_file"],
        value_parser = given::path()
    )]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Report what would be done, without writing anything.
    #[arg(long)]
    dry_run: bool,
    /// Keep and report keys that have a different value in the keystore, and restore the others.
    #[arg(long)]
    merge: bool,
    /// Keys to restore: a name, or a pattern with * for any characters and ? for one character.
    #[arg(default_value = "*")]
    pattern: Glob,
    #[command(flatten)]
    bulk: BulkArgs,
}

/// Restores the backup.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prepared = prepare();
    let config = read_keystore(&args.config)?;
    let is_stdin = args.input == Path::new(STANDARD);
    if is_stdin && args.passphrase.is_on_stdin() {
        bail!(Usage(
            "--in and --passphrase-file cannot both read standard input; use a file for one of them".to_owned()
        ));
    }
    if is_stdin && io::stdin().is_terminal() {
        bail!(Usage("a backup is binary and is not read from a terminal; redirect standard input".to_owned()));
    }
    let key = match args.passphrase.for_existing_file()? {
        Some(passphrase) => Key::Passphrase(passphrase),
        None => Key::Identities(read_identities(&args.identity)?),
    };
    let (file, from) = if is_stdin {
        (BackupFile::spool(io::stdin().lock(), key)?, Path::new("standard input"))
    } else {
        (BackupFile::open(&args.input, key)?, &*args.input)
    };
    let file = Arc::new(file);
    let options = Options { pattern: args.pattern.clone(), merge: args.merge, dry_run: args.dry_run };
    prepared.run(&args.bulk, async |workers| {
        let checked = Arc::clone(&file);
        let contents = tokio::task::spawn_blocking(move || check(&checked)).await??;
        let target = if args.dry_run {
            Keystore::open_to_look(&args.config, &config).await?
        } else {
            Keystore::open_to_write(&args.config, &config).await?
        };
        let report = Box::pin(restore(file, &contents, &target, &options, &workers)).await;
        target.close().await;
        let action = if args.dry_run { "dry run, nothing written" } else { "restore" };
        let (from, keys) = (from.display(), contents.len());
        let created = contents.created.format(&Rfc3339)?;
        let heading =
            format!("{action}: {from}, created {created} with {keys} keys -> {target}, keys {}", args.pattern);
        Ok((heading, report?))
    })
}

fn read_identities(files: &[PathBuf]) -> anyhow::Result<Vec<Box<dyn age::Identity + Send + Sync>>> {
    let mut all = Vec::new();
    for file in files {
        let context = || format!("cannot read identities from '{}'", file.display());
        let text = std::fs::read_to_string(file).map(Zeroizing::new).with_context(context)?;
        all.extend(identities(&text).with_context(context)?);
    }
    Ok(all)
}
