//! `keyway backup`: all keys of a keystore in one encrypted file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::stores::{Work, keystore, prepare};
use super::terminal::passphrase::Passphrase;
use crate::transfer::Keystore;
use crate::transfer::backup::lock::{Lock, recipient, recipients};
use crate::transfer::backup::write::{Options, backup};

/// What follows the options in the help.
const HELP: &str = "\
The file is an age file (age-encryption.org): `age -d` opens it, too. It is at its place whole, or not at all. The \
passphrase is never an argument, which others could read.

Exit codes: 0 all keys that were there at the beginning are in the file, 1 not all, 2 the command line is wrong, 130 interrupted.

Example: age-keygen -o backup.key
         keyway backup --config keyway.yml --out keys.age --recipient age1...";

/// The arguments of `keyway backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, group = clap::ArgGroup::new("lock").required(true).multiple(true))]
pub(super) struct Args {
    /// The config with the keystore to read from. Only its `keystore` is used.
    #[arg(long, value_name = "CONFIG")]
    config: PathBuf,
    /// The file to make.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file when it exists.
    #[arg(long)]
    force: bool,
    /// Encrypt to this public key of age-keygen; may be given several times, and any one of them opens the file.
    #[arg(long, value_name = "AGE1...", group = "lock", conflicts_with_all = ["passphrase", "passphrase_file"])]
    recipient: Vec<String>,
    /// Encrypt to the public keys in this file, one a line; may be given several times.
    #[arg(long, value_name = "FILE", group = "lock", conflicts_with_all = ["passphrase", "passphrase_file"])]
    recipients_file: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Leave out damaged keys, in place of making no file. The exit code is 1 all the same.
    #[arg(long)]
    skip_damaged: bool,
    #[command(flatten)]
    work: Work,
}

/// Makes the backup.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prepared = prepare();
    let config = keystore(&args.config)?;
    if config.contains(&args.out) {
        bail!(super::exit::Usage(format!(
            "'{}' is a place of the keystore itself; name another file",
            args.out.display()
        )));
    }
    let options = Options { out: &args.out, replaces: args.force, skip_damaged: args.skip_damaged };
    // Before anybody types a passphrase for nothing.
    crate::transfer::backup::file::NewFile::create(&args.out, args.force)?;
    let lock = match args.passphrase.of_a_new_file()? {
        Some(passphrase) => Lock::Passphrase(passphrase),
        None => Lock::Recipients(read_recipients(&args.recipient, &args.recipients_file)?),
    };
    prepared.run(&args.work, async |workers| {
        let source = Keystore::open_to_read(&args.config, &config).await?;
        let report = Box::pin(backup(&source, lock, &options, &workers)).await;
        source.close().await;
        Ok((format!("backup: {source} -> {}", args.out.display()), report?))
    })
}

fn read_recipients(given: &[String], files: &[PathBuf]) -> anyhow::Result<Vec<age::x25519::Recipient>> {
    let mut found = given.iter().map(|text| recipient(text)).collect::<Result<Vec<_>, _>>()?;
    for file in files {
        let named = |path: &Path| format!("cannot take recipients from '{}'", path.display());
        let text = std::fs::read_to_string(file).with_context(|| named(file))?;
        found.extend(recipients(&text).with_context(|| named(file))?);
    }
    Ok(found)
}
