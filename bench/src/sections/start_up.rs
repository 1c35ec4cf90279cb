//! The time from the start of a program to its first response.

use crate::program::{Kind, Setup};
use crate::report::Place;
use crate::run::Run;
use crate::sample::{P50, PEAK, RESIDENT, Sample};
use crate::usage;

/// The name of this section.
pub(crate) const NAME: &str = "start-up";

/// Starts per round.
const STARTS: usize = 5;

/// Runs this section. A client attempts a TLS connection every quarter of a millisecond until it gets a response.
pub(crate) fn run(run: &mut Run) -> anyhow::Result<()> {
    for (store, setup) in [("fs", Setup::fs()), ("sqlite", Setup::sqlite())] {
        for _ in 0..run.rounds * STARTS {
            for program in run.programs.clone() {
                if matches!(program.kind, Kind::Floor | Kind::Kes) && store != "fs" {
                    continue;
                }
                let server = run.start(&program, &setup, &format!("start-{store}-{}", program.kind.name()))?;
                let memory = usage::memory(server.pid())?;
                let sample = Sample::from([
                    (P50.to_owned(), server.started_in.as_secs_f64() * 1e3),
                    (RESIDENT.to_owned(), memory.resident),
                    (PEAK.to_owned(), memory.peak),
                ]);
                run.note(Place { section: NAME, case: store, protocol: "" }, program.kind, sample);
            }
        }
    }
    Ok(())
}
