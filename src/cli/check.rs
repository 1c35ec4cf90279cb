//! `keyway check FILE`: the checks that `keyway server --config FILE` makes before it opens anything, and those of the
//! files that the config names. Nothing is created or changed. With `--connect`, the keystore is opened and read once.

mod files;
mod keystore;
mod report;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{self, Config};
use crate::{process, tls};
use keystore::Outcome;
use report::Report;

/// The arguments of `keyway check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Config file; - is standard input.
    file: PathBuf,
    /// Treat warnings as errors.
    #[arg(long)]
    strict: bool,
    /// Also open the keystore, log in to it and read once; nothing is created.
    #[arg(long)]
    connect: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What messages call a config from standard input.
const STDIN: &str = "<stdin>";

/// Checks a config. All problems are reported in one run, with their lines.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    process::harden();
    let (name, config) = if args.file == Path::new("-") {
        let name = PathBuf::from(STDIN);
        let config = config::read_from(&name, io::stdin().lock());
        (name, config)
    } else {
        (args.file.clone(), config::read(&args.file))
    };
    let mut report = Report::default();
    match config {
        Ok(config) => {
            check(&config, &mut report);
            if args.connect {
                connect(&config, &mut report)?;
            }
        }
        Err(errors) => report.add(&errors),
    }
    if args.strict {
        report.make_warnings_errors();
    }
    if args.json {
        report.print_json(&name)?;
    } else {
        report.print(&name)?;
    }
    Ok(report.exit_code())
}

/// All checks that need no connection.
fn check(config: &Config, report: &mut Report) {
    report.warnings.extend(config.warnings.iter().cloned());
    if !config.has_clients() {
        let text = "nobody can use keys: this is not the identity of a client, and no policy has one; set it to the \
                    identity of the admin (64 hex digits), or add identities to a policy";
        report.warn(config, "admin.identity", text);
    }
    match tls::server_config(&config.tls, config.certificate_required()) {
        Ok(server) => report.warnings.extend(server.warnings.iter().map(|warning| warning.at(&config.source))),
        Err(errors) => report.add(&errors.at(&config.source)),
    }
    files::check(config, report);
    for (key, danger) in config.keystore.dangers() {
        report.warn(config, &key_of(config, key), &danger);
    }
}

/// Opens the keystore and reads from it, unless its settings are known to be wrong.
fn connect(config: &Config, report: &mut Report) -> anyhow::Result<()> {
    if report.errors.iter().any(|error| error.key().is_some_and(|key| key.starts_with("keystore."))) {
        return Ok(());
    }
    let kind = config.keystore.kind();
    let key = format!("keystore.{kind}");
    match keystore::connect(&config.keystore)? {
        Outcome::Answered(time) => report.answer = Some((kind, time)),
        Outcome::Failed(reason) => report.error(config, &key, &reason),
        // A path that does not exist is already a warning.
        Outcome::Absent if config.keystore.path().is_some() => {}
        Outcome::Absent => {
            let text = "the keystore answers, but the place of the keys does not exist in it yet; the server creates it \
                        when it starts, if the settings allow that";
            report.warn(config, &key, text);
        }
    }
    Ok(())
}

/// The whole path of a key in the section of the keystore.
fn key_of(config: &Config, key: &str) -> String {
    format!("keystore.{}.{key}", config.keystore.kind())
}
