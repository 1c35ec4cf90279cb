//! `keyway migrate`: copies all keys from one keystore to another.

use std::path::PathBuf;
use std::process::ExitCode;

use super::given;
use super::stores::{BulkArgs, prepare, read_keystore};
use crate::glob::Glob;
use crate::transfer::Keystore;
use crate::transfer::migrate::{Conflict, Options, migrate};

/// What follows the options in the help.
const HELP: &str = "\
All keys are read first; if any of them is refused, nothing is written. Every key that is written is read back and \
compared. After an interruption, run the command again to resume. Run only one migration at a time, and stop the \
servers that use the source first: a key that is deleted and created again in the meantime is detected only by `keyway \
verify`. Two addresses of the same keystore are not detected; all keys are then reported as equal.

Exit codes: 0 every key is in the target, or --merge kept a different value, 1 some keys are not, 2 invalid command \
line, 130 interrupted.

Example: keyway migrate --from kes.yml --to keyway.yml 'app-*'";

/// The arguments of `keyway migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Args {
    /// Config file of the source; only its `keystore` section is used.
    #[arg(long, value_name = "CONFIG", value_parser = given::path())]
    from: PathBuf,
    /// Config file of the target; only its `keystore` section is used.
    #[arg(long, value_name = "CONFIG", value_parser = given::path())]
    to: PathBuf,
    /// Report what would be done, without writing anything.
    #[arg(long)]
    dry_run: bool,
    /// Keep and report keys that have a different value in the target.
    #[arg(long, conflicts_with = "force")]
    merge: bool,
    /// Replace keys that have a different value in the target. Stop the servers that use the target first.
    #[arg(long)]
    force: bool,
    /// Copy the intact keys even if some keys are damaged; the exit code is still 1.
    #[arg(long)]
    skip_damaged: bool,
    /// Keys to copy: a name, or a pattern with * for any characters and ? for one character.
    #[arg(default_value = "*")]
    pattern: Glob,
    #[command(flatten)]
    bulk: BulkArgs,
}

impl Args {
    /// The arguments of `kes migrate`.
    pub(super) fn of_kes(from: PathBuf, to: PathBuf, pattern: Glob, merge: bool, force: bool) -> Self {
        Self { from, to, dry_run: false, merge, force, skip_damaged: false, pattern, bulk: BulkArgs::default() }
    }
}

/// Copies the keys.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let prepared = prepare();
    let (from, to) = (read_keystore(&args.from)?, read_keystore(&args.to)?);
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
    prepared.run(&args.bulk, async |workers| {
        let source = Keystore::open_to_read(&args.from, &from).await?;
        let target = if args.dry_run {
            Keystore::open_to_look(&args.to, &to).await?
        } else {
            Keystore::open_to_write(&args.to, &to).await?
        };
        let report = Box::pin(migrate(&source, &target, &options, &workers)).await;
        source.close().await;
        target.close().await;
        let action = if args.dry_run { "dry run, nothing written" } else { "migration" };
        Ok((format!("{action}: {source} -> {target}, keys {}", args.pattern), report?))
    })
}
