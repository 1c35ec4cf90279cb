//! `keyway migrate`: real keystores, kills, refusals and reports.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

mod legs;

use crate::services::aws::Moto;
use crate::services::postgres::Postgres;
use crate::support::bench::{keyway, stored, words};
use crate::support::server::unique;
use crate::support::{Bench, Program, heavy, stores};

/// More keys than any page size: that of KES's listing is 1024.
const MANY: usize = 2500;

#[test]
fn the_commands_for_keystores_have_help() {
    for command in ["migrate", "verify", "backup", "restore"] {
        let ended = keyway(&format!("{command} --help"));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{command}");
        assert!(ended.stdout.contains(&format!("Usage: keyway {command}")), "{}", ended.stdout);
    }
}

/// Slow enough to be interrupted: one key at a time.
fn slowly(from: &str, to: &str, options: &str) -> Program {
    Program::start(words(&format!("migrate --from {from} --to {to} --concurrency 1 {options}")))
}

/// Waits until a directory contains `count` keys.
fn wait_for(program: &mut Program, bench: &Bench, store: &str, count: usize) {
    program.wait_for(|_| (bench.count(store) >= count).then_some(()));
}

#[test]
fn every_key_arrives_past_any_page_size_as_it_was() {
    let _turn = heavy();
    let bench = Bench::new();
    let (a, db, b) = (bench.keys("a", "key-", MANY), bench.sqlite("db"), bench.fs("b"));
    for (from, to) in [(&a, &db), (&db, &b)] {
        let ended = keyway(&format!("migrate --from {from} --to {to}"));
        assert_eq!(ended.assert_done().reported("copied"), MANY);
        assert_eq!((ended.reported("already present"), ended.reported("failed")), (0, 0));
    }
    bench.assert_same("a", "b");
    let again = keyway(&format!("migrate --from {db} --to {b}"));
    assert_eq!(again.assert_done().reported("already present"), MANY);
    assert_eq!(again.reported("copied"), 0);
}

#[test]
fn only_the_keystore_of_a_config_matters() {
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", 1), bench.fs("b"));
    for config in [&a, &b] {
        let rest =
            "tls: {key: /none, cert: /none, password: \"${KEYWAY_NOT_SET}\"}\nadmin: {identity: \"${NOR_THIS}\"}\n";
        fs::write(config, fs::read_to_string(config).unwrap() + rest).unwrap();
    }
    keyway(&format!("migrate --from {a} --to {b}")).assert_done();
    bench.assert_same("a", "b");
    fs::write(&a, "version: v1\nkeystore: {fs: {pth: /x}}\n").unwrap();
    keyway(&format!("migrate --from {a} --to {b}")).assert_failed(&["a.yml:2:", "keystore.fs.pth", "path"]);
    fs::write(&a, "version: v1\nkeystroe: {fs: {path: /x}}\n").unwrap();
    keyway(&format!("migrate --from {a} --to {b}")).assert_failed(&["keystroe", "did you mean 'keystore'"]);
}

#[test]
fn a_pattern_chooses_the_keys() {
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "app-", 12), bench.fs("b"));
    bench.put("a", "other", &stored());
    bench.put("a", "app", &stored());
    for (pattern, copied, total) in [("app", 1, 1), ("app-0000?", 10, 11), ("*app-*", 2, 13), ("*", 1, 14)] {
        let ended = keyway(&format!("migrate --from {a} --to {b} {pattern}"));
        assert_eq!(ended.assert_done().reported("copied"), copied, "{pattern}");
        assert_eq!(bench.count("b"), total, "{pattern}");
    }
    bench.assert_same("a", "b");
    keyway(&format!("migrate --from {a} --to {b} zzz*")).assert_failed(&["no key", "'zzz*'", "a.yml"]);
    let bad = keyway(&format!("migrate --from {a} --to {b} a/b"));
    assert_eq!(bad.code, Some(2), "{}", bad.stderr);
    assert!(bad.stderr.contains("a/b"), "{}", bad.stderr);
}

#[test]
fn a_dry_run_reports_and_creates_nothing() {
    let bench = Bench::new();
    let (a, db, b) = (bench.keys("a", "key-", 20), bench.sqlite("db"), bench.fs("b"));
    let postgres = Postgres::start();
    let pg = bench.config("pg", &stores::postgres(postgres.address(), "keys_dry"));
    let before = bench.names();
    for to in [&db, &b, &pg] {
        let ended = keyway(&format!("migrate --dry-run --from {a} --to {to}"));
        assert_eq!(ended.assert_done().reported("to copy"), 20, "{to}");
    }
    assert_eq!(bench.names(), before, "no store was created");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'keys_dry'";
    assert_eq!(postgres.sql("postgres", schemas), "0");

    keyway(&format!("migrate --from {a} --to {b} key-0000?")).assert_done();
    bench.put("b", "key-00003", &stored());
    let content = bench.content("b");
    let refused = keyway(&format!("migrate --dry-run --from {a} --to {b}"));
    refused.assert_failed(&["nothing would be written", "key-00003"]);
    assert_eq!((refused.reported("to copy"), refused.reported("already present")), (10, 9));
    let ended = keyway(&format!("migrate --dry-run --force --from {a} --to {b}"));
    assert_eq!(ended.assert_done().reported("to replace"), 1);
    let ended = keyway(&format!("migrate --dry-run --merge --from {a} --to {b}"));
    assert_eq!(ended.assert_done().reported("to keep, different in the target"), 1);
    assert_eq!(bench.content("b"), content);
}

#[test]
fn another_value_in_the_target_is_refused_kept_or_replaced_as_requested() {
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", 30), bench.fs("b"));
    bench.keys("b", "key-", 3);
    bench.put("b", "theirs", &stored());
    let before = bench.content("b");
    let refused = keyway(&format!("migrate --from {a} --to {b}"));
    refused.assert_failed(&[
        "nothing was written",
        "3 keys",
        "--merge",
        "--force",
        "key-00000",
        "key-00001",
        "key-00002",
    ]);
    assert_eq!(bench.content("b"), before);

    let merged = keyway(&format!("migrate --merge --from {a} --to {b}"));
    assert_eq!(merged.assert_done().reported("kept, different in the target"), 3);
    assert_eq!(merged.reported("copied"), 27);
    assert!(merged.stdout.contains("key-00002"), "{}", merged.stdout);
    let content = bench.content("b");
    assert!(before.iter().all(|(name, value)| content.get(name) == Some(value)));

    let forced = keyway(&format!("migrate --force --from {a} --to {b}"));
    assert_eq!(forced.assert_done().reported("replaced"), 3);
    assert_eq!(forced.reported("already present"), 27);
    let mut expected = bench.content("a");
    expected.insert("theirs".to_owned(), before["theirs"].clone());
    assert_eq!(bench.content("b"), expected);
}

#[test]
fn damaged_keys_are_named_before_anything_is_written() {
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", 10), bench.fs("b"));
    bench.put("a", "empty", b"");
    bench.put("a", "cut", &stored()[..80]);
    bench.put("a", "text", b"hello");
    let refused = keyway(&format!("migrate --from {a} --to {b}"));
    refused.assert_failed(&[
        "nothing was written",
        "3 keys",
        "empty: in the source: it is empty",
        "cut: ",
        "text: ",
        "--skip-damaged",
    ]);
    assert_eq!(bench.count("b"), 0);
    let skipped = keyway(&format!("migrate --skip-damaged --from {a} --to {b}"));
    skipped.assert_failed(&["empty"]);
    assert_eq!((skipped.reported("copied"), skipped.reported("damaged")), (10, 3));
    assert_eq!(bench.count("b"), 10);

    // In the target it is another value, which is not worth keeping.
    bench.put("b", "key-00001", b"");
    keyway(&format!("migrate --from {a} --to {b} key-*")).assert_failed(&["key-00001", "it is empty"]);
    keyway(&format!("migrate --merge --from {a} --to {b} key-*")).assert_failed(&["key-00001", "--force"]);
    keyway(&format!("migrate --force --from {a} --to {b} key-*")).assert_done();
    assert_eq!(bench.content("b")["key-00001"], bench.content("a")["key-00001"]);
}

#[test]
fn a_migration_resumes_after_every_kill() {
    let _turn = heavy();
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", MANY), bench.fs("b"));
    for kill in 1..=3 {
        let mut program = slowly(&a, &b, "");
        wait_for(&mut program, &bench, "b", kill * 300);
        program.signal(Signal::KILL);
        assert_eq!(program.end().code, None);
        assert!(bench.count("b") < MANY, "it was killed too late");
        let source = bench.content("a");
        assert!(bench.content("b").iter().all(|(name, value)| source.get(name) == Some(value)), "whole or absent");
    }
    let there = bench.count("b");
    let ended = keyway(&format!("migrate --from {a} --to {b}"));
    assert_eq!(ended.assert_done().reported("copied"), MANY - there);
    assert_eq!(ended.reported("already present"), there);
    // Temporary files of killed processes are hidden; a server removes them later.
    assert_eq!(bench.content("a"), bench.content("b"));
}

#[test]
fn a_replacement_that_is_killed_never_leaves_neither_value() {
    const KEYS: usize = 400;
    let _turn = heavy();
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", KEYS), bench.fs("b"));
    bench.keys("b", "key-", KEYS);
    let (new, old) = (bench.content("a"), bench.content("b"));
    let has = |content: &BTreeMap<String, Vec<u8>>, name: &str, value: &Vec<u8>| content.get(name) == Some(value);
    let mut kills = 0;
    for replaced in (10..KEYS / 2).step_by(30) {
        let mut program = slowly(&a, &b, "--force");
        let is_done =
            |content: &BTreeMap<String, Vec<u8>>| new.iter().filter(|(name, value)| has(content, name, value)).count();
        program.wait_for(|_| (is_done(&bench.content("b")) >= replaced).then_some(()));
        // At a different point of the replacement each time.
        std::thread::sleep(Duration::from_micros(137 * replaced as u64));
        program.signal(Signal::KILL);
        program.end();
        kills += 1;
        let content = bench.content("b");
        for (name, value) in &new {
            let second = format!("keyway-new-{name}");
            let safe = has(&content, name, value) || has(&content, name, &old[name]) || has(&content, &second, value);
            assert!(safe, "after kill {kills}, {name} is lost");
        }
        assert!(content.len() <= KEYS + kills, "one leftover per kill");
    }
    let ended = keyway(&format!("migrate --force --from {a} --to {b}"));
    ended.assert_done();
    assert_eq!(bench.content("b"), new, "and no temporary key is left");
    assert!(kills >= 5, "{kills}");
}

#[test]
fn a_left_over_that_may_be_the_last_of_its_kind_is_not_touched() {
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", 2), bench.fs("b"));
    bench.keys("b", "key-", 1);
    let left_over = stored();
    bench.put("b", "keyway-new-key-00000", &left_over);
    let old = bench.content("b")["key-00000"].clone();
    keyway(&format!("migrate --force --from {a} --to {b}")).assert_failed(&[
        "key-00000",
        "keyway-new-key-00000",
        "left over from an interrupted migration",
    ]);
    let content = bench.content("b");
    assert_eq!((&content["key-00000"], &content["keyway-new-key-00000"]), (&old, &left_over));
}

#[test]
fn ctrl_c_ends_it_after_the_keys_in_progress() {
    let _turn = heavy();
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", MANY), bench.fs("b"));
    for (signal, count) in [(Signal::INT, 100), (Signal::TERM, 300)] {
        let mut program = slowly(&a, &b, "");
        wait_for(&mut program, &bench, "b", count);
        program.signal(signal);
        let ended = program.end();
        ended.assert_ended(130, &["stopped by a signal", "run the command again"]);
        assert_eq!(ended.reported("copied") + ended.reported("already present"), bench.count("b"));
        assert_eq!(ended.reported("not tried"), MANY - bench.count("b"));
        let hidden = fs::read_dir(bench.path("b"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(hidden.count(), 0, "nothing half-written is left");
    }
    keyway(&format!("migrate --from {a} --to {b}")).assert_done();
    bench.assert_same("a", "b");
}

#[test]
fn a_target_that_fails_on_the_way_ends_it_soon_and_it_can_be_resumed() {
    let bench = Bench::new();
    let mut postgres = Postgres::start();
    let a = bench.keys("a", "key-", MANY);
    let pg = bench.config("pg", &stores::postgres(postgres.address(), "keys"));
    let mut program = slowly(&a, &pg, "");
    let count = || {
        postgres
            .try_sql("postgres", crate::services::postgres::PASSWORD, "postgres", "SELECT count(*) FROM keys.keys")
            .1
    };
    program.wait_for(|_| count().parse::<usize>().is_ok_and(|count| count >= 500).then_some(()));
    postgres.stop();
    let start = Instant::now();
    let ended = program.end();
    ended.assert_failed(&["too many consecutive failures", "run the command again", "PostgreSQL", "failed:"]);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let copied = ended.reported("copied");
    assert_eq!(copied + ended.reported("failed") + ended.reported("not tried"), MANY);
    postgres.resume();
    let ended = keyway(&format!("migrate --from {a} --to {pg}"));
    assert!(ended.assert_done().reported("already present") >= copied);
    assert_eq!(postgres.sql("postgres", "SELECT count(*) FROM keys.keys"), MANY.to_string());
}

#[test]
fn a_directory_that_disappears_during_the_run_is_reported() {
    let _turn = heavy();
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", MANY), bench.fs("b"));
    let mut program = slowly(&a, &b, "");
    wait_for(&mut program, &bench, "b", 200);
    fs::rename(bench.path("b"), bench.path("c")).unwrap();
    program.end().assert_failed(&["too many consecutive failures", "has been removed, renamed or unmounted"]);
    assert!(!bench.path("b").exists(), "no second store is created");
    fs::rename(bench.path("c"), bench.path("b")).unwrap();
    keyway(&format!("migrate --from {a} --to {b}")).assert_done();
    bench.assert_same("a", "b");
}

#[test]
fn a_key_created_during_the_run_is_reported_as_missing() {
    let _turn = heavy();
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", MANY), bench.fs("b"));
    let mut program = slowly(&a, &b, "");
    wait_for(&mut program, &bench, "b", 50);
    bench.put("a", "newcomer", &stored());
    fs::remove_file(bench.path("a").join("key-00000")).unwrap();
    let ended = program.end();
    ended.assert_failed(&["newcomer: created in the source during this run", "key-00000: deleted from the source"]);
    assert_eq!((ended.reported("copied"), ended.reported("missing from the target")), (MANY, 1));
    keyway(&format!("migrate --from {a} --to {b}")).assert_done();
    assert_eq!(bench.content("b")["newcomer"], bench.content("a")["newcomer"]);
}

#[test]
fn stores_that_cannot_be_meant_are_refused() {
    let bench = Bench::new();
    let (a, b, db) = (bench.keys("a", "key-", 2), bench.fs("b"), bench.sqlite("db"));
    let (memory, link) = (bench.config("memory", "memory: {}"), bench.fs("link"));
    std::os::unix::fs::symlink(bench.path("a"), bench.path("link")).unwrap();
    let before = bench.names();
    for (from, to, parts) in [
        (&a, &a, &["same keystore"][..]),
        (&a, &link, &["same keystore", "a.yml", "link.yml"]),
        (&b, &a, &["no keystore at", "b.yml"]),
        (&db, &a, &["no keystore at", "db.yml"]),
        (&memory, &a, &["memory.yml", "only inside a running server"]),
        (&a, &memory, &["memory.yml", "only inside a running server"]),
    ] {
        keyway(&format!("migrate --from {from} --to {to}")).assert_failed(parts);
        keyway(&format!("verify --from {from} --to {to}")).assert_failed(parts);
    }
    fs::create_dir(bench.path("b")).unwrap();
    keyway(&format!("migrate --from {b} --to {a}")).assert_failed(&["has no key that matches"]);
    fs::remove_dir(bench.path("b")).unwrap();
    keyway(&format!("migrate --from {} --to {b}", bench.text("none.yml"))).assert_failed(&["none.yml", "No such file"]);
    let mut after = bench.names();
    after.retain(|name| name != ".a.keyway"); // of a store with keys that was opened to be written
    assert_eq!(after, before, "nothing was created");
    let both = keyway(&format!("migrate --merge --force --from {a} --to {b}"));
    assert_eq!(both.code, Some(2), "{}", both.stderr);
}

#[test]
fn json_names_every_key_that_needs_attention() {
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", 40), bench.fs("b"));
    bench.keys("b", "key-", 25);
    let ended = keyway(&format!("migrate --json --from {a} --to {b}"));
    assert_eq!(ended.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&json["complete"], &json["counts"]["differs"]), (&false.into(), &25.into()));
    assert_eq!(json["names"]["differs"].as_object().unwrap().len(), 25);
    assert!(json["cut_short"].as_str().unwrap().contains("nothing was written"), "{json}");
}

#[test]
fn keys_move_to_and_from_aws_past_its_page_size() {
    const KEYS: usize = 150; // a page has 100
    let bench = Bench::new();
    let moto = Moto::start();
    let (a, b) = (bench.keys("a", "key-", KEYS), bench.fs("b"));
    let aws = bench.config("aws", &stores::aws(&moto.endpoint(), &unique()));
    for (from, to) in [(&a, &aws), (&aws, &b)] {
        assert_eq!(keyway(&format!("migrate --from {from} --to {to}")).assert_done().reported("copied"), KEYS);
    }
    bench.assert_same("a", "b");
    let text = fs::read_to_string(&aws).unwrap().replace("    region:", "    recovery_window: 7\n      region:");
    fs::write(&aws, text).unwrap();
    keyway(&format!("migrate --force --from {a} --to {aws}")).assert_failed(&["recovery_window"]);
}
