//! The whole way, fs -> sqlite -> postgres -> OpenBao -> fs, killed on each leg; and what it costs.
//!
//! `KEYWAY_MOVE_KEYS=50000 cargo test --test keyway legs -- --nocapture` prints the table for 50,000 keys.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::services::postgres::Postgres;
use crate::services::vault;
use crate::support::Bench;
use crate::support::bench::{keyway, words};
use crate::support::server::program;
use crate::support::stores::{self, Kv};

/// Longer than any leg takes.
const PATIENCE: Duration = Duration::from_hours(1);

/// What a leg cost.
struct Leg {
    seconds: f64,
    kibibytes: u64,
    output: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_went_through_all_stores_and_three_kills_are_as_they_were() {
    let keys: usize = std::env::var("KEYWAY_MOVE_KEYS").map_or(300, |keys| keys.parse().unwrap());
    let bench = Bench::new();
    let postgres = Postgres::start();
    let bao = stores::start(vault::Program::OpenBao).await;
    let stores = [
        ("fs", bench.keys("first", "key-", keys)),
        ("sqlite", bench.sqlite("db")),
        ("postgres", bench.config("pg", &stores::postgres(postgres.address(), "keys"))),
        ("OpenBao", bench.config("bao", &stores::vault(&bao, &bao.url(), Kv::V2Transit, "moved"))),
        ("fs", bench.fs("last")),
    ];
    let size = |file: &str| fs::metadata(bench.path(file)).map_or(0, |metadata| metadata.len());
    let listed = || {
        let (_, answer) = bao.call(&bao.token, "LIST", "kv2/metadata/moved", &serde_json::Value::Null);
        answer["data"]["keys"].as_array().map_or(0, Vec::len)
    };
    // When it is killed: in the middle of the copying, as far as that can be seen from outside.
    let is_half_done = |leg: usize| match leg {
        0 => Some(size("db.db") + size("db.db-wal") >= 150 * keys as u64),
        2 => Some(listed() >= keys / 10),
        3 => Some(bench.count("last") >= keys / 3),
        _ => None,
    };
    let mut kills = 0;
    for (number, legs) in stores.windows(2).enumerate() {
        let [(from, source), (to, target)] = legs else { unreachable!() };
        let line = format!("migrate --from {source} --to {target}");
        let before = kills;
        let start = Instant::now();
        if is_half_done(number).is_some() {
            // One key at a time for a fast target, so that the migration does not end too early.
            let options = if number == 0 { "--concurrency 1" } else { "" };
            let mut child = start_one(&format!("{line} {options}"), &bench);
            while is_half_done(number) == Some(false) {
                assert!(child.try_wait().unwrap().is_none(), "{line} ended before it was killed");
                assert!(start.elapsed() < PATIENCE, "{line} does nothing");
                std::thread::sleep(Duration::from_millis(5)); // no longer: the middle is soon over
            }
            child.kill().unwrap();
            assert!(!child.wait().unwrap().success(), "{line} ended before it was killed");
            kills += 1;
        }
        let leg = run_one(&line, &bench);
        println!(
            "move | {from} -> {to} | {keys} keys | killed {} times | {:.1} s in all, the last run {:.1} s | peak \
             {:.1} MiB | {}",
            kills - before,
            start.elapsed().as_secs_f64(),
            leg.seconds,
            kib_to_mib(leg.kibibytes),
            leg.output.split_whitespace().collect::<Vec<_>>().join(" ")
        );
        let verified = run_one(&format!("verify --from {source} --to {target}"), &bench);
        assert!(verified.output.contains(&format!("{keys}\n")), "{}", verified.output);
    }
    assert_eq!(kills, 3);
    // Its temporary file is what a killed create may leave; a server removes it later.
    assert_eq!(bench.content("first"), bench.content("last"));
    for hidden in fs::read_dir(bench.path("last")).unwrap().map(|entry| entry.unwrap()) {
        if hidden.file_name().to_string_lossy().starts_with('.') {
            fs::remove_file(hidden.path()).unwrap();
        }
    }
    bench.assert_same("first", "last");
    println!("move | diff -r first last | empty");
    let ended = keyway(&format!("verify --from {} --to {}", stores[0].1, stores[4].1));
    assert_eq!(ended.assert_done().reported("equal in both"), keys);
}

fn start_one(line: &str, bench: &Bench) -> Child {
    let output = |name: &str| fs::File::create(bench.path(name)).unwrap();
    Command::new(program())
        .args(words(line))
        .stdin(Stdio::null())
        .stdout(output("stdout"))
        .stderr(output("stderr"))
        .spawn()
        .unwrap()
}

/// Runs a command to success and watches its memory.
fn run_one(line: &str, bench: &Bench) -> Leg {
    let start = Instant::now();
    let mut child = start_one(line, bench);
    let status = format!("/proc/{}/status", child.id());
    let mut kibibytes = 0;
    let ended = loop {
        // The most that the process ever had; it only grows.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        kibibytes = kibibytes.max(peak.unwrap_or(0));
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        assert!(start.elapsed() < PATIENCE, "{line} does not end");
        std::thread::sleep(Duration::from_millis(5)); // no longer: the peak must be seen
    };
    let read = |name: &str| fs::read_to_string(bench.path(name)).unwrap();
    assert!(ended.success(), "{line}\n{}\n{}", read("stdout"), read("stderr"));
    let output = read("stdout").lines().skip(1).fold(String::new(), |text, line| text + line + "\n");
    Leg { seconds: start.elapsed().as_secs_f64(), kibibytes, output }
}

#[expect(clippy::cast_precision_loss, reason = "for a table")]
fn kib_to_mib(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}
