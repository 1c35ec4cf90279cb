//! Every operation, for all programs in turn, so that other activity on the machine affects all of them alike.

use crate::load::{Load, Shape};
use crate::program::{Kind, Server, Setup};
use crate::report::Place;
use crate::request::Request;
use crate::run::{HTTP1, HTTP2, KEY, Run};
use crate::sections::SIDE_BY_SIDE;
use crate::session::Session;

/// The sizes of encrypted and decrypted messages.
const SIZES: [(&str, usize); 4] = [("32 B", 32), ("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("700 KiB", 700 << 10)];

/// The number of names in the listing.
const LISTED: u64 = 1_000;

/// Concurrent new connections.
const FRESH: Shape = Shape::Fresh(16);

/// One case to measure.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    shape: Shape,
    resume: bool,
    request: Request,
}

/// Runs this section.
pub(crate) fn run(run: &mut Run) -> anyhow::Result<()> {
    for round in 0..run.rounds {
        let mut servers = Vec::new();
        for program in &run.programs {
            let server = run.start(program, &Setup::fs(), &format!("side-{round}-{}", program.kind.name()))?;
            // The floor receives the same requests as Keyway, and always sends the same response.
            let cases = match servers.first() {
                Some((_, cases)) if program.kind == Kind::Floor => Clone::clone(cases),
                _ => cases(run, &server)?,
            };
            servers.push((server, cases));
        }
        let number = servers.first().map_or(0, |(_, cases)| cases.len());
        if !servers.iter().flat_map(|(_, cases)| cases).any(|case| run.wants(&case.name)) {
            return Ok(());
        }
        for case in 0..number {
            for turn in 0..servers.len() {
                let Some((server, cases)) = servers.get((turn + round + case) % servers.len()) else { continue };
                let Some(case) = cases.get(case).filter(|case| run.wants(&case.name)) else { continue };
                let sample =
                    Load { resume: case.resume, ..run.load(server, case.shape, case.request.clone())? }.run()?;
                let place = Place { section: SIDE_BY_SIDE, case: &case.name, protocol: case.shape.name() };
                let (place, kind) = (place, server.kind);
                run.note(place, kind, sample);
            }
        }
    }
    Ok(())
}

/// All cases for a server. Creates the keys that they need.
fn cases(run: &Run, server: &Server) -> anyhow::Result<Vec<Case>> {
    let mut session = Session::open(server, &run.certificates)?;
    session.send(&Request::create(KEY))?;
    run.each(server, Request::create("listed-"), LISTED)?;
    let mut requests = vec![
        ("generate".to_owned(), Request::generate(KEY)),
        ("describe".to_owned(), Request::get(format!("/v1/key/describe/{KEY}"))),
        ("hmac".to_owned(), Request::hmac(KEY)),
    ];
    for (size, length) in SIZES {
        let encrypt = Request::encrypt(KEY, length);
        let ciphertext = session.field(&encrypt, "ciphertext")?;
        requests.push((format!("encrypt {size}"), encrypt));
        requests.push((format!("decrypt {size}"), Request::decrypt(KEY, &ciphertext)));
    }
    // Memory includes that of earlier cases, so the ones that use much of it come last.
    let listing = ("list of 1,000".to_owned(), Request::get("/v1/key/list/listed-*"));
    requests.insert(5, listing);
    let both = requests.into_iter().flat_map(|(name, request)| {
        [HTTP1, HTTP2].map(|shape| Case { name: name.clone(), shape, resume: false, request: request.clone() })
    });
    let handshakes = [("new connection, full handshake", false), ("new connection, resumed", true)]
        .map(|(name, resume)| Case { name: name.to_owned(), shape: FRESH, resume, request: Request::generate(KEY) });
    let mut cases: Vec<_> = both.collect();
    cases.splice(12..12, handshakes);
    Ok(cases)
}
