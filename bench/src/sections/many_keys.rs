//! A store with very many keys: how fast they are created, used and listed, and how much memory that takes.

use std::time::Instant;

use crate::load::{End, Load};
use crate::program::Kind;
use crate::report::Place;
use crate::request::Request;
use crate::run::{HTTP1, Run};
use crate::sample::{PEAK, RESIDENT, Sample, sample};
use crate::sections::stores::{self, Keystore};
use crate::session::Session;
use crate::usage;

/// The number of keys that are used after the restart.
const USED: u64 = 10_000;

/// Measures with `keys` keys, in the stores on this machine.
pub(crate) fn run(run: &mut Run, keys: u64) -> anyhow::Result<()> {
    for keystore in stores::local() {
        on(run, &keystore, keys)?;
    }
    if let Some(keystore) = stores::postgres() {
        on(run, &keystore, keys)?;
    }
    Ok(())
}

fn on(run: &mut Run, keystore: &Keystore, keys: u64) -> anyhow::Result<()> {
    let section = format!("{keys} keys");
    let [create, first_use, page] =
        ["create", "first use", "page of a listing"].map(|what| format!("{}: {what}", keystore.name));
    let place = |case| Place { section: &section, case, protocol: HTTP1.name() };
    let Some(program) = run.program(Kind::Keyway).cloned() else { return Ok(()) };
    let directory = format!("many-{}", keystore.name);
    let server = run.start(&program, &keystore.setup, &directory)?;
    let sample = run.each(&server, Request::create("many-"), keys)?;
    run.note(place(&create), program.kind, sample);
    drop(server);

    let server = run.start(&program, &keystore.setup, &directory)?;
    let use_ = Request::generate("many-").numbered(keys).scattered();
    let load = run.load(&server, HTTP1, use_)?;
    let sample = Load { end: End::Count(USED.min(keys)), ..load }.run()?;
    run.note(place(&first_use), program.kind, sample);
    let mut session = Session::open(&server, &run.certificates)?;
    let sample = pages(&mut session, server.pid())?;
    run.note(place(&page), program.kind, sample);
    Ok(())
}

/// Lists all keys, page by page.
fn pages(session: &mut Session, pid: u32) -> anyhow::Result<Sample> {
    usage::reset_peak(pid);
    let (start, cpu, mut latencies) = (Instant::now(), usage::cpu(pid)?, Vec::new());
    let mut next = "many-".to_owned();
    while !next.is_empty() {
        let started = Instant::now();
        next = session.field(&Request::get(format!("/v1/key/list/{next}")), "continue_at")?;
        latencies.push(started.elapsed());
    }
    let memory = usage::memory(pid)?;
    let mut sample = sample(&mut latencies, start.elapsed(), usage::cpu(pid)?.saturating_sub(cpu));
    sample.insert(RESIDENT.to_owned(), memory.resident);
    sample.insert(PEAK.to_owned(), memory.peak);
    Ok(sample)
}
