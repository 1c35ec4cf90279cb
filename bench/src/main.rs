//! `bench`: measures Keyway side by side with the floor program, and with KES where there is one. README.md says how to
//! run it and how to read what it prints.
//!
//! | file | what lives there |
//! |---|---|
//! | `sections/` | what is measured, one file for each part |
//! | `run.rs` | what all parts work with |
//! | `program.rs`, `certificates.rs`, `cores.rs` | the servers: built, configured, placed, started |
//! | `load.rs`, `load/`, `request.rs`, `session.rs` | the clients |
//! | `usage.rs`, `sample.rs` | figures of one measurement: from the kernel, from the clock |
//! | `report.rs`, `table.rs`, `plot.rs`, `machine.rs` | all figures, and how they are shown |
//! | `bin/floor.rs` | the floor program |

mod certificates;
mod cores;
mod load;
mod machine;
mod plot;
mod program;
mod report;
mod request;
mod run;
mod sample;
mod sections;
#[path = "../../tests/services/mod.rs"]
mod services;
mod session;
mod table;
mod usage;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use certificates::Certificates;
use cores::Cores;
use machine::Machine;
use program::{Kind, Program};
use report::Report;
use run::Run;
use sections::{cold, many_keys, scale, side_by_side, start_up};

/// Measure Keyway side by side with the floor: the same TLS and HTTP with nothing behind them.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    /// Measure this KES program too.
    #[arg(long, value_name = "PATH")]
    kes: Option<PathBuf>,
    /// Measure another build of Keyway too: this program.
    #[arg(long, value_name = "PATH")]
    before: Option<PathBuf>,
    /// How often everything is measured [default: 3, with --quick 1].
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Seconds that a measurement takes [default: 3, with --quick 1].
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Write all figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw CPU time by operation into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Measure only what begins so: generate, encrypt, decrypt, hmac, describe, list, new, start-up, cold.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// One short round.
    #[arg(long)]
    quick: bool,
    /// Also measure how cost grows with connections, bodies, identities, rules, keys and threads.
    #[arg(long)]
    scale: bool,
    /// Also measure stores with a million keys, which takes long.
    #[arg(long)]
    million: bool,
    /// The same with this many keys.
    #[arg(long, value_name = "N", conflicts_with = "million")]
    keys: Option<u64>,
    /// Measure nothing: show the figures that --json wrote to this file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kes", "before", "json", "only", "quick", "scale", "million", "keys"])]
    from: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let report = match &args.from {
        Some(file) => {
            let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("{}: not what --json writes", file.display()))?
        }
        None => measure(&args)?,
    };
    if let Some(file) = &args.svg {
        fs::write(file, plot::svg(&report)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    std::io::stdout().write_all(table::table(&report).as_bytes())?;
    Ok(())
}

/// Runs all that was asked for. What is done is saved after each part.
fn measure(args: &Args) -> anyhow::Result<Report> {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })?;
    let cores = Cores::take()?;
    let mut programs = Program::build()?;
    for (kind, path) in [(Kind::Before, &args.before), (Kind::Kes, &args.kes)] {
        let Some(path) = path else { continue };
        programs.push(Program::at(kind, fs::canonicalize(path).with_context(|| path.display().to_string())?)?);
    }
    let (rounds, seconds, names) = if args.quick { (1, 1.0, 1_000) } else { (3, 3.0, 10_000) };
    let (rounds, seconds) = (args.rounds.unwrap_or(rounds).max(1), args.seconds.unwrap_or(seconds));
    let directory = tempfile::tempdir()?;
    let report = Report { machine: Machine::describe(&cores, &programs), seconds, rounds, rows: Vec::new() };
    let mut run = Run {
        certificates: Certificates::make(directory.path())?,
        time: Duration::try_from_secs_f64(seconds).context("--seconds")?,
        only: args.only.clone(),
        programs,
        cores,
        rounds,
        report,
        directory,
    };
    side_by_side::run(&mut run)?;
    save(args, &run.report)?;
    if run.wants(start_up::NAME) {
        start_up::run(&mut run)?;
    }
    if run.wants(cold::NAME) {
        cold::run(&mut run, names)?;
    }
    save(args, &run.report)?;
    if args.scale {
        scale::run(&mut run)?;
        save(args, &run.report)?;
    }
    if let Some(keys) = args.keys.or(args.million.then_some(1_000_000)) {
        many_keys::run(&mut run, keys)?;
        save(args, &run.report)?;
    }
    Ok(run.report)
}

fn save(args: &Args, report: &Report) -> anyhow::Result<()> {
    let Some(file) = &args.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(report)?;
    fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}
