//! How cost grows with connections, bodies, identities, rules, cached keys and threads.

use std::fmt::Write as _;

use crate::load::{Load, Shape};
use crate::program::{Kind, Server, Setup};
use crate::report::Place;
use crate::request::Request;
use crate::run::{HTTP1, HTTP2, KEY, Run};
use crate::session::Session;

/// The steps of most sweeps.
const STEPS: [usize; 5] = [1, 10, 100, 1_000, 10_000];

/// The sizes of encrypted messages in bytes.
const SIZES: [usize; 7] = [32, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 700 << 10];

/// The numbers of cached keys.
const KEYS: [u64; 5] = [1, 100, 10_000, 100_000, 1_000_000];

/// Measures each step once per round.
pub(crate) fn run(run: &mut Run) -> anyhow::Result<()> {
    for _ in 0..run.rounds {
        connections(run)?;
        bodies(run)?;
        identities(run)?;
        rules(run)?;
        keys(run)?;
        threads(run)?;
    }
    Ok(())
}

fn connections(run: &mut Run) -> anyhow::Result<()> {
    for program in run.programs.clone() {
        let server = with_key(run, program.kind, &Setup::memory())?;
        for connections in STEPS {
            let load = run.load(&server, Shape::Http1(connections), Request::generate(KEY))?;
            note(run, "scale: connections", &connections.to_string(), &server, load)?;
        }
    }
    Ok(())
}

fn bodies(run: &mut Run) -> anyhow::Result<()> {
    let server = with_key(run, Kind::Keyway, &Setup::memory())?;
    for size in SIZES {
        for shape in [HTTP1, HTTP2] {
            let load = run.load(&server, shape, Request::encrypt(KEY, size))?;
            note(run, "scale: bytes to encrypt", &size.to_string(), &server, load)?;
        }
    }
    Ok(())
}

fn identities(run: &mut Run) -> anyhow::Result<()> {
    for identities in STEPS {
        let mut policies = "policy:\n".to_owned();
        for number in 1..=identities {
            let is_last = number == identities;
            let identity = if is_last { run.certificates.app.identity.clone() } else { format!("{number:064x}") };
            let _ = write!(
                policies,
                "  policy-{number}:\n    allow:\n    - /v1/key/generate/{KEY}*\n    identities:\n    - \"{identity}\"\n"
            ); // writing to a String cannot fail
        }
        under(run, "scale: identities, each with a policy", identities, policies)?;
    }
    Ok(())
}

fn rules(run: &mut Run) -> anyhow::Result<()> {
    for rules in STEPS {
        let mut policies = "policy:\n  app:\n    allow:\n".to_owned();
        for number in 1..rules {
            let _ = writeln!(policies, "    - /v1/key/generate/other-{number}"); // writing to a String cannot fail
        }
        let identity = &run.certificates.app.identity;
        let _ = write!(policies, "    - /v1/key/generate/{KEY}*\n    identities:\n    - \"{identity}\"\n");
        under(run, "scale: rules of a policy, the last allows", rules, policies)?;
    }
    Ok(())
}

/// Measures a client whose requests are allowed by these policies.
fn under(run: &mut Run, section: &str, step: usize, policies: String) -> anyhow::Result<()> {
    let server = with_key(run, Kind::Keyway, &Setup { policies, ..Setup::memory() })?;
    let tls = run.certificates.client_config(&run.certificates.app, false)?;
    let load = Load { tls, ..run.load(&server, HTTP1, Request::generate(KEY))? };
    note(run, section, &step.to_string(), &server, load)
}

fn keys(run: &mut Run) -> anyhow::Result<()> {
    let server = with_key(run, Kind::Keyway, &Setup::memory())?;
    for keys in KEYS {
        let prefix = format!("of-{keys}-");
        run.each(&server, Request::create(&prefix), keys)?;
        run.each(&server, Request::generate(&prefix), keys)?;
        let request = Request::generate(&prefix).numbered(keys).scattered();
        let load = run.load(&server, HTTP1, request)?;
        note(run, "scale: keys in the cache", &keys.to_string(), &server, load)?;
    }
    Ok(())
}

fn threads(run: &mut Run) -> anyhow::Result<()> {
    for program in run.programs.clone() {
        for threads in [1, 2] {
            let server = with_key(run, program.kind, &Setup { threads, ..Setup::memory() })?;
            for shape in [HTTP1, HTTP2] {
                let load = run.load(&server, shape, Request::generate(KEY))?;
                note(run, "scale: threads", &threads.to_string(), &server, load)?;
            }
        }
    }
    Ok(())
}

/// Starts a server with one key. KES has no in-memory store under that name, so it stores keys in files.
fn with_key(run: &Run, kind: Kind, setup: &Setup) -> anyhow::Result<Server> {
    let program = run.program(kind).ok_or_else(|| anyhow::anyhow!("{} is not part of this run", kind.name()))?;
    let directory = tempfile::tempdir_in(run.directory.path())?.keep();
    let on_files = Setup { threads: setup.threads, ..Setup::fs() };
    let server =
        program.start(if kind == Kind::Kes { &on_files } else { setup }, &directory, &run.certificates, &run.cores)?;
    Session::open(&server, &run.certificates)?.send(&Request::create(KEY))?;
    Ok(server)
}

fn note(run: &mut Run, section: &str, case: &str, server: &Server, load: Load) -> anyhow::Result<()> {
    let place = Place { section, case, protocol: load.shape.name() };
    let sample = load.run()?;
    run.note(place, server.kind, sample);
    Ok(())
}
