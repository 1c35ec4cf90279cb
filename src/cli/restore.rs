//! `keyway restore`: the keys of a backup into a keystore.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::stores::{Work, keystore, prepare};
use super::terminal::passphrase::Passphrase;
use crate::transfer::Keystore;
use crate::transfer::backup::file::BackupFile;
use crate::transfer::backup::lock::{Key, identities};
use crate::transfer::backup::restore::{check, restore};

/// What follows the options in the help.
const HELP: &str = "\
The whole file is read and checked before anything is written; one that is cut off or altered is refused. Nothing is \
overwritten: keys that are there with the same value are left, and when a name is taken by another key, nothing is \
written at all. After an interruption, run it again: it goes on.

Exit codes: 0 all keys are in the keystore, 1 not all, 2 the command line is wrong, 130 interrupted.

Example: keyway restore --config keyway.yml --in keys.age --identity backup.key";

/// The arguments of `keyway restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, group = clap::ArgGroup::new("lock").required(true).multiple(true))]
pub(super) struct Args {
    /// The config with the keystore to write to. Only its `keystore` is used.
    #[arg(long, value_name = "CONFIG")]
    config: PathBuf,
    /// The backup.
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// A file with a secret key, as age-keygen writes it; may be given several times.
    #[arg(long, value_name = "FILE", group = "lock", conflicts_with_all = ["passphrase", "passphrase_file"])]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Write nothing, and tell what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    work: Work,
}

/// Restores the backup.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prepared = prepare();
    let config = keystore(&args.config)?;
    let key = match args.passphrase.of_a_file()? {
        Some(passphrase) => Key::Passphrase(passphrase),
        None => Key::Identities(read_identities(&args.identity)?),
    };
    let file = Arc::new(BackupFile::open(&args.input, key)?);
    prepared.run(&args.work, async |workers| {
        let checked = Arc::clone(&file);
        let contents = tokio::task::spawn_blocking(move || check(&checked)).await??;
        let target = if args.dry_run {
            Keystore::open_to_look(&args.config, &config).await?
        } else {
            Keystore::open_to_write(&args.config, &config).await?
        };
        let report = Box::pin(restore(file, &contents, &target, args.dry_run, &workers)).await;
        target.close().await;
        let doing = if args.dry_run { "dry run, nothing is written" } else { "restore" };
        let (from, keys) = (args.input.display(), contents.len());
        let made = contents.created.format(&Rfc3339)?;
        Ok((format!("{doing}: {from}, made {made} with {keys} keys -> {target}"), report?))
    })
}

fn read_identities(files: &[PathBuf]) -> anyhow::Result<Vec<Box<dyn age::Identity + Send + Sync>>> {
    let mut found = Vec::new();
    for file in files {
        let named = || format!("cannot take identities from '{}'", file.display());
        let text = std::fs::read_to_string(file).map(Zeroizing::new).with_context(named)?;
        found.extend(identities(&text).with_context(named)?);
    }
    Ok(found)
}
