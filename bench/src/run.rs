//! What all sections work with: the programs, the clients, a directory, and the report that they fill.

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

/// Connections of HTTP/1.1 where nothing else is said.
pub(crate) const HTTP1: Shape = Shape::Http1(64);

/// Connections and streams of HTTP/2.
pub(crate) const HTTP2: Shape = Shape::Http2(8, 16);

/// The key that is used where one is enough.
pub(crate) const KEY: &str = "bench";

/// A run of the bench.
#[derive(Debug)]
pub(crate) struct Run {
    /// The programs, Keyway first.
    pub(crate) programs: Vec<Program>,
    /// The clients.
    pub(crate) certificates: Certificates,
    /// Where servers and load run.
    pub(crate) cores: Cores,
    /// How often everything is measured.
    pub(crate) rounds: usize,
    /// For how long.
    pub(crate) time: Duration,
    /// Names of cases and sections; none: all.
    pub(crate) only: Vec<String>,
    /// What came of it.
    pub(crate) report: Report,
    /// Directories of servers.
    pub(crate) directory: TempDir,
}

impl Run {
    /// Whether `name`, a case or a section, was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }

    /// The program of this kind, if it takes part.
    pub(crate) fn program(&self, kind: Kind) -> Option<&Program> {
        self.programs.iter().find(|program| program.kind == kind)
    }

    /// A directory for a server.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a server of `program`, with keys and files in the directory `name`.
    pub(crate) fn start(&self, program: &Program, setup: &Setup, name: &str) -> anyhow::Result<Server> {
        program.start(setup, &self.directory(name), &self.certificates, &self.cores)
    }

    /// A load of the admin, for the time that everything is measured.
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

    /// The same for each of so many names, once.
    pub(crate) fn each(&self, server: &Server, request: Request, names: u64) -> anyhow::Result<Sample> {
        let load = self.load(server, HTTP1, request.numbered(names).scattered())?;
        Load { end: End::Count(names), ..load }.run()
    }

    /// Notes a sample, and says so.
    pub(crate) fn note(&mut self, place: Place<'_>, program: Kind, sample: Sample) {
        let figures = [CPU, RATE, P50].map(|name| Some(format!("{name} {}", short(*sample.get(name)?))));
        let figures: Vec<_> = figures.into_iter().flatten().collect();
        let Place { section, case, protocol } = place;
        say(&format!("{section}: {case} {protocol} {}: {}", program.name(), figures.join(", ")));
        self.report.add(place, program, sample);
    }
}

/// Tells whoever waits.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}"); // nobody may listen
}
