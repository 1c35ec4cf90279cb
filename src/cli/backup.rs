//! `keyway backup`: writes all keys of a keystore to one encrypted file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::stores::{BulkArgs, prepare, read_keystore};
use super::terminal::passphrase::Passphrase;
use crate::transfer::Keystore;
use crate::transfer::backup::lock::{Lock, recipient, recipients};
use crate::transfer::backup::write::{Options, backup};

/// What follows the options in the help.
const HELP: &str = "\
The file is in age format (age-encryption.org) and can also be decrypted with `age -d`. It is written completely or \
not at all. The passphrase cannot be given as an argument, as command lines are visible to other users.

Exit codes: 0 all keys that existed at the start are in the file, 1 some keys are not, 2 invalid command line, 130 \
interrupted.

Example: age-keygen -o backup.key
         keyway backup --config keyway.yml --out keys.age --recipient age1...";

/// The arguments of `keyway backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, group = clap::ArgGroup::new("lock").required(true).multiple(true))]
pub(super) struct Args {
    /// Config file of the keystore; only its `keystore` section is used.
    #[arg(long, value_name = "CONFIG")]
    config: PathBuf,
    /// Backup file to create.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
    /// Encrypt to this age public key (see age-keygen); may be repeated, any one of the keys decrypts the file.
    #[arg(long, value_name = "AGE1...", group = "lock", conflicts_with_all = ["passphrase", "passphrase_file"])]
    recipient: Vec<String>,
    /// Encrypt to the age public keys in this file, one per line; may be repeated.
    #[arg(long, value_name = "FILE", group = "lock", conflicts_with_all = ["passphrase", "passphrase_file"])]
    recipients_file: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Leave out damaged keys instead of failing; the exit code is still 1.
    #[arg(long)]
    skip_damaged: bool,
    #[command(flatten)]
    bulk: BulkArgs,
}

/// Creates the backup.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prepared = prepare();
    let config = read_keystore(&args.config)?;
    if config.contains(&args.out) {
        bail!(super::exit::Usage(format!(
            "'{}' belongs to the keystore itself; choose another file",
            args.out.display()
        )));
    }
    let options = Options { out: &args.out, replaces: args.force, skip_damaged: args.skip_damaged };
    // Before the user types a passphrase in vain.
    crate::transfer::backup::file::NewFile::create(&args.out, args.force)?;
    let lock = match args.passphrase.for_new_file()? {
        Some(passphrase) => Lock::Passphrase(passphrase),
        None => Lock::Recipients(read_recipients(&args.recipient, &args.recipients_file)?),
    };
    prepared.run(&args.bulk, async |workers| {
        let source = Keystore::open_to_read(&args.config, &config).await?;
        let report = Box::pin(backup(&source, lock, &options, &workers)).await;
        source.close().await;
        Ok((format!("backup: {source} -> {}", args.out.display()), report?))
    })
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
