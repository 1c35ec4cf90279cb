//! `keyway restore`: writes the keys of a backup to a keystore.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::stores::{BulkArgs, prepare, read_keystore};
use super::terminal::passphrase::Passphrase;
use crate::transfer::Keystore;
use crate::transfer::backup::file::BackupFile;
use crate::transfer::backup::lock::{Key, identities};
use crate::transfer::backup::restore::{check, restore};

/// What follows the options in the help.
const HELP: &str = "\
The whole file is read and checked before anything is written; a truncated or altered file is refused. Nothing is \
overwritten: keys that already exist with the same value are skipped, and if a name already belongs to a different \
key, nothing is written at all. After an interruption, run the command again to resume.

Exit codes: 0 all keys are in the keystore, 1 some keys are not, 2 invalid command line, 130 interrupted.

Example: keyway restore --config keyway.yml --in keys.age --identity backup.key";

/// The arguments of `keyway restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, group = clap::ArgGroup::new("lock").required(true).multiple(true))]
pub(super) struct Args {
    /// Config file of the keystore; only its `keystore` section is used.
    #[arg(long, value_name = "CONFIG")]
    config: PathBuf,
    /// Backup file to restore.
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// File with an age secret key (see age-keygen); may be repeated.
    #[arg(long, value_name = "FILE", group = "lock", conflicts_with_all = ["passphrase", "passphrase_file"])]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Report what would be done, without writing anything.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    bulk: BulkArgs,
}

/// Restores the backup.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prepared = prepare();
    let config = read_keystore(&args.config)?;
    let key = match args.passphrase.for_existing_file()? {
        Some(passphrase) => Key::Passphrase(passphrase),
        None => Key::Identities(read_identities(&args.identity)?),
    };
    let file = Arc::new(BackupFile::open(&args.input, key)?);
    prepared.run(&args.bulk, async |workers| {
        let checked = Arc::clone(&file);
        let contents = tokio::task::spawn_blocking(move || check(&checked)).await??;
        let target = if args.dry_run {
            Keystore::open_to_look(&args.config, &config).await?
        } else {
            Keystore::open_to_write(&args.config, &config).await?
        };
        let report = Box::pin(restore(file, &contents, &target, args.dry_run, &workers)).await;
        target.close().await;
        let action = if args.dry_run { "dry run, nothing written" } else { "restore" };
        let (from, keys) = (args.input.display(), contents.len());
        let created = contents.created.format(&Rfc3339)?;
        Ok((format!("{action}: {from}, created {created} with {keys} keys -> {target}"), report?))
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
