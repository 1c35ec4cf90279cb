//! `keyway key restore`: lists the deleted keys in the trash of a keystore, or restores one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use backends::trash::{Entry, entries, restore};
use backends::{Store, StoreError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::connection::block_on;
use crate::cli::stores::{prepare, read_keystore};
use crate::cli::terminal::output::{Form, Output, confirm_done};
use crate::cli::{exit, given, print_error};

/// The arguments of `keyway key restore`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A server whose config sets keystore.trash keeps deleted keys for that time. The command uses the \
                  keystore itself; servers notice the restored key within a second. A key that exists is not \
                  overwritten.\n\n\
                  Examples:\n  keyway key restore --config keyway.yml\n  keyway key restore --config keyway.yml my-key"
)]
pub(super) struct Args {
    /// Name of the key to restore, as it was when it was deleted last. Without it, the deleted keys are listed.
    name: Option<String>,
    /// Config file of the keystore; only its `keystore` section is used.
    #[arg(long, value_name = "CONFIG", value_parser = given::path())]
    config: PathBuf,
    /// Restore this entry of the list, if the key was deleted more than once.
    #[arg(long, value_name = "ENTRY", requires = "name")]
    entry: Option<String>,
    /// Print an array of objects.
    #[arg(long, conflicts_with = "name")]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let _prepared = prepare();
    let config = read_keystore(&args.config)?;
    block_on(async {
        let store = config.open_existing().await?;
        let store = store.with_context(|| format!("the keystore of {} does not exist", args.config.display()))?;
        let code = with_store(args, &store).await;
        store.close().await;
        code
    })
}

async fn with_store(args: &Args, store: &Arc<dyn Store>) -> anyhow::Result<ExitCode> {
    let all = entries(&**store).await?;
    let Some(name) = &args.name else {
        print(&all, args.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let is_wanted = |entry: &&Entry| {
        entry.name.as_str() == name && args.entry.as_ref().is_none_or(|wanted| entry.entry.as_str() == wanted)
    };
    let Some(entry) = all.iter().rfind(is_wanted) else {
        print_error(&anyhow!("'{name}' is not in the trash; list it with `keyway key restore --config FILE`"));
        return Ok(ExitCode::from(exit::NOT_FOUND));
    };
    match restore(&**store, entry).await {
        Ok(()) => {}
        Err(StoreError::AlreadyExists) => bail!("the key '{name}' exists; it was not overwritten"),
        Err(error) => return Err(error).with_context(|| format!("cannot restore '{name}'")),
    }
    confirm_done(&format!("restored {name}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the deleted keys, oldest first.
fn print(all: &[Entry], json: bool) -> anyhow::Result<()> {
    let mut output = Output::new(json);
    let row = |entry: &Entry| -> anyhow::Result<[String; 3]> {
        let deleted = OffsetDateTime::from(entry.deleted).format(&Rfc3339)?;
        Ok([entry.name.to_string(), deleted, entry.entry.to_string()])
    };
    let rows = all.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    if output.form == Form::Json {
        let objects = rows
            .iter()
            .map(|[name, deleted, entry]| serde_json::json!({ "name": name, "deleted_at": deleted, "entry": entry }));
        output.json(&objects.collect::<Vec<_>>())?;
    } else {
        output.table(["NAME", "DELETED", "ENTRY"], &rows)?;
    }
    Ok(())
}
