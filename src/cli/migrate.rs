//! `keyway migrate`: all keys of one keystore into another.

use std::path::PathBuf;
use std::process::ExitCode;

use super::stores::{Work, keystore, prepare};
use crate::transfer::Keystore;
use crate::transfer::glob::Glob;
use crate::transfer::migrate::{Conflict, Options, migrate};

/// What follows the options in the help.
const HELP: &str = "\
Every key is read first, and when anything is to be refused, nothing is written. Every key that is written is read back \
and compared. After an interruption, run it again: it goes on. One migration at a time, and stop the servers on the \
source: a key that is deleted and made again meanwhile is found out by `keyway verify` alone. Whether two addresses lead to \
one keystore is not found out; every key is then equal.

Exit codes: 0 every key is in the target, or another value was kept with --merge, 1 not every one, 2 the command line is wrong, 130 interrupted.

Example: keyway migrate --from kes.yml --to keyway.yml 'app-*'";

/// The arguments of `keyway migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Args {
    /// The config with the keystore to read from. Only its `keystore` is used.
    #[arg(long, value_name = "CONFIG")]
    from: PathBuf,
    /// The config with the keystore to write to. Only its `keystore` is used.
    #[arg(long, value_name = "CONFIG")]
    to: PathBuf,
    /// Write nothing, and tell what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Where the target has another value for a name, keep that, and tell.
    #[arg(long, conflicts_with = "force")]
    merge: bool,
    /// Where the target has another value for a name, replace it. Stop the servers on the target before.
    #[arg(long)]
    force: bool,
    /// Copy the other keys when some are damaged, in place of nothing. The exit code is 1 all the same.
    #[arg(long)]
    skip_damaged: bool,
    /// Which keys: a name, or a pattern with * for any characters and ? for one.
    #[arg(default_value = "*")]
    pattern: Glob,
    #[command(flatten)]
    work: Work,
}

impl Args {
    /// The arguments of `kes migrate`.
    pub(super) fn of_kes(from: PathBuf, to: PathBuf, pattern: Glob, merge: bool, force: bool) -> Self {
        Self { from, to, dry_run: false, merge, force, skip_damaged: false, pattern, work: Work::default() }
    }
}

/// Moves the keys.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prepared = prepare();
    let (from, to) = (keystore(&args.from)?, keystore(&args.to)?);
    Keystore::check_distinct((&args.from, &from), (&args.to, &to))?;
    let conflict = match (args.merge, args.force) {
        (true, _) => Conflict::Keep,
        (_, true) => Conflict::Replace,
        (false, false) => Conflict::Refuse,
    };
    if args.force {
        Keystore::check_replaceable(&args.to, &to)?;
    }
    let options =
        Options { pattern: args.pattern.clone(), conflict, dry_run: args.dry_run, skip_damaged: args.skip_damaged };
    prepared.run(&args.work, async |workers| {
        let source = Keystore::open_to_read(&args.from, &from).await?;
        let target = if args.dry_run {
            Keystore::open_to_look(&args.to, &to).await?
        } else {
            Keystore::open_to_write(&args.to, &to).await?
        };
        let report = Box::pin(migrate(&source, &target, &options, &workers)).await;
        source.close().await;
        target.close().await;
        let doing = if args.dry_run { "dry run, nothing is written" } else { "migration" };
        Ok((format!("{doing}: {source} -> {target}, keys {}", args.pattern), report?))
    })
}
