//! Keys that are not cached: many keys are created, the server is restarted, and each key is used once.

use crate::program::Kind;
use crate::report::Place;
use crate::request::Request;
use crate::run::{HTTP1, Run};
use crate::sections::stores::{self, Keystore};

/// The name of this section.
pub(crate) const NAME: &str = "cold keys";

/// Measures with `names` keys, on every installed store.
pub(crate) fn run(run: &mut Run, names: u64) -> anyhow::Result<()> {
    let section = format!("{NAME}: {names} names");
    for keystore in stores::local() {
        on(run, &section, &keystore, names)?;
    }
    if let Some(keystore) = stores::postgres() {
        on(run, &section, &keystore, names)?;
    }
    if let Some(keystore) = stores::openbao()? {
        on(run, &section, &keystore, names)?;
    }
    Ok(())
}

fn on(run: &mut Run, section: &str, keystore: &Keystore, names: u64) -> anyhow::Result<()> {
    for program in run.programs.clone() {
        if program.kind == Kind::Floor || (program.kind == Kind::Kes && !keystore.is_of_kes) {
            continue;
        }
        let prefix = format!("{}-", program.kind.name());
        let directory = format!("cold-{}-{}", keystore.name, program.kind.name());
        let [create, first_use] = ["create", "first use"].map(|what| format!("{}: {what}", keystore.name));
        let place = |case| Place { section, case, protocol: HTTP1.name() };
        let server = run.start(&program, &keystore.setup, &directory)?;
        let sample = run.each(&server, Request::create(&prefix), names)?;
        run.note(place(&create), program.kind, sample);
        drop(server);
        for _ in 0..run.rounds {
            let server = run.start(&program, &keystore.setup, &directory)?;
            let sample = run.each(&server, Request::generate(&prefix), names)?;
            run.note(place(&first_use), program.kind, sample);
        }
    }
    Ok(())
}
