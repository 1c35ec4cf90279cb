//! `bench`: measures Keyway side by side with the floor program, and optionally with KES. README.md explains how to run
//! it and how to read its output.
//!
//! | file | contents |
//! |---|---|
//! | `sections/` | what is measured, one file per section |
//! | `run.rs` | shared by all sections |
//! | `program.rs`, `certificates.rs`, `cores.rs` | building, configuring, pinning and starting the servers |
//! | `load.rs`, `load/`, `request.rs`, `session.rs` | the clients |
//! | `usage.rs`, `sample.rs` | the figures of one measurement, from the kernel and from the clock |
//! | `report.rs`, `table.rs`, `plot.rs`, `machine.rs` | all figures, as JSON, table and plot |
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

/// Measure Keyway side by side with the floor, a program with the same TLS and HTTP and nothing else.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    /// Also measure this KES program.
    #[arg(long, value_name = "PATH")]
    kes: Option<PathBuf>,
    /// Also measure this other build of Keyway.
    #[arg(long, value_name = "PATH")]
    before: Option<PathBuf>,
    /// Number of rounds [default: 3, with --quick 1].
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Duration of each measurement in seconds [default: 3, with --quick 1].
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Write all figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a plot of CPU time by operation to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Measure only cases that begin with NAME: generate, encrypt, decrypt, hmac, describe, list, new, start-up, cold.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Run one short round.
    #[arg(long)]
    quick: bool,
    /// Also measure how cost grows with connections, bodies, identities, rules, keys and threads.
    #[arg(long)]
    scale: bool,
    /// Also measure stores with a million keys (takes long).
    #[arg(long)]
    million: bool,
    /// As --million, with this number of keys.
    #[arg(long, value_name = "N", conflicts_with = "million")]
    keys: Option<u64>,
    /// Measure nothing; show the figures in this file, which was written by --json.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["kes", "before", "json", "only", "quick", "scale", "million", "keys"]
    )]
    from: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let report = match &args.from {
        Some(file) => {
            let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("{} was not written by --json", file.display()))?
        }
        None => measure(&args)?,
    };
    if let Some(file) = &args.svg {
        fs::write(file, plot::svg(&report)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    std::io::stdout().write_all(table::table(&report).as_bytes())?;
    Ok(())
}

/// Runs everything that was requested. Figures are saved after each section.
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
