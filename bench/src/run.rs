//! The state shared by all sections: the programs, the clients, a directory, and the report.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::cores::Cores;
use crate::load::{End, Load, Shape};
use crate::program::{Kind, Program, Server, Setup};
use crate::report::{Place, Report};
use crate::request::Request;
use crate::sample::{CPU, P50, RATE, Sample};
use crate::table::short;

/// The default number of HTTP/1.1 connections.
pub(crate) const HTTP1: Shape = Shape::Http1(64);

/// The default number of HTTP/2 connections, and of streams on each.
pub(crate) const HTTP2: Shape = Shape::Http2(8, 16);

/// The key for cases that need only one.
pub(crate) const KEY: &str = "bench";

/// A run of the benchmark.
#[derive(Debug)]
pub(crate) struct Run {
    /// The programs, Keyway first.
    pub(crate) programs: Vec<Program>,
    /// The clients.
    pub(crate) certificates: Certificates,
    /// The cores of servers and load.
    pub(crate) cores: Cores,
    /// The number of rounds.
    pub(crate) rounds: usize,
    /// The duration of each measurement.
    pub(crate) time: Duration,
    /// The requested cases and sections; empty for all.
    pub(crate) only: Vec<String>,
    /// The figures.
    pub(crate) report: Report,
    /// The parent directory of the servers' directories.
    pub(crate) directory: TempDir,
}

impl Run {
    /// Whether `name`, a case or a section, was requested.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }

    /// The program of this kind, if it is part of this run.
    pub(crate) fn program(&self, kind: Kind) -> Option<&Program> {
        self.programs.iter().find(|program| program.kind == kind)
    }

    /// The directory of a server.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a server of `program`, with keys and files in the directory `name`.
    pub(crate) fn start(&self, program: &Program, setup: &Setup, name: &str) -> anyhow::Result<Server> {
        program.start(setup, &self.directory(name), &self.certificates, &self.cores)
    }

    /// A load by the admin, for the duration of a measurement.
    pub(crate) fn load(&self, server: &Server, shape: Shape, request: Request) -> anyhow::Result<Load> {
        let warm_up = (self.time / 4).clamp(Duration::from_millis(300), Duration::from_secs(2));
        Ok(Load {
            address: server.address,
            pid: server.pid(),
            tls: self.certificates.client_config(&self.certificates.admin, shape.is_http2())?,
            resume: false,
            shape,
            request,
            end: End::After(warm_up, self.time),
            threads: self.cores.load(server.threads).len(),
        })
    }

    /// One request for each of `names` names.
    pub(crate) fn each(&self, server: &Server, request: Request, names: u64) -> anyhow::Result<Sample> {
        let load = self.load(server, HTTP1, request.numbered(names).scattered())?;
        Load { end: End::Count(names), ..load }.run()
    }

    /// Adds a sample to the report, and prints it.
    pub(crate) fn note(&mut self, place: Place<'_>, program: Kind, sample: Sample) {
        let figures = [CPU, RATE, P50].map(|name| Some(format!("{name} {}", short(*sample.get(name)?))));
        let figures: Vec<_> = figures.into_iter().flatten().collect();
        let Place { section, case, protocol } = place;
        say(&format!("{section}: {case} {protocol} {}: {}", program.name(), figures.join(", ")));
        self.report.add(place, program, sample);
    }
}

/// Prints a line of progress.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}"); // standard error may be closed
}
