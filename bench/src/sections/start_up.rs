//! From the start of a program to its first answer.

use crate::program::{Kind, Setup};
use crate::report::Place;
use crate::run::Run;
use crate::sample::{P50, PEAK, RESIDENT, Sample};
use crate::usage;

/// What it is called.
pub(crate) const NAME: &str = "start-up";

/// Starts a round.
const STARTS: usize = 5;

/// Measures. The first answer is to a client that shakes hands with TLS, tried again every quarter of a millisecond.
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
