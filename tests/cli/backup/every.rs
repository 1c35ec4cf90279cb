//! `keyway backup --every`: backups at an interval, of which the newest are kept.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use time::OffsetDateTime;

use super::identity;
use crate::support::bench::{keyway, words};
use crate::support::{Bench, Program};

/// The name of a backup of this many seconds ago.
fn name(seconds_ago: i64) -> String {
    let time = OffsetDateTime::now_utc() - time::Duration::seconds(seconds_ago);
    let (date, clock) = (time.date().to_string().replace('-', ""), time.to_hms());
    format!("keyway-{date}T{:02}{:02}{:02}Z.age", clock.0, clock.1, clock.2)
}

/// The names in the directory of the backups, in order, without those of files in progress.
fn backups(bench: &Bench) -> Vec<String> {
    let entries = fs::read_dir(bench.path("out")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

/// The number of complete backups that the program reported.
fn reports(program: &Program) -> usize {
    program.stdout().lines().filter(|line| line.starts_with("backup: ")).count()
}

#[test]
fn backups_at_an_interval_replace_only_the_oldest_of_their_own() {
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", 20), bench.fs("b"));
    let (recipient, id) = identity(&bench, "id");
    fs::create_dir(bench.path("out")).unwrap();
    let (oldest, old) = (name(7200), name(3600));
    let others = ["keys.age", "keyway-20200101T000000Z.age.old", "keyway-2020.age"];
    for name in [&oldest, &old].into_iter().map(String::as_str).chain(others) {
        fs::write(bench.path("out").join(name), "precious").unwrap();
    }
    let mut program = Program::start(words(&format!(
        "backup --config {a} --out {} --recipient {recipient} --every 1s --keep 3 --metrics-file {}",
        bench.text("out"),
        bench.text("keyway.prom")
    )));
    program.wait_for(|_| (!bench.path("out").join(&oldest).exists()).then_some(()));
    assert!(reports(&program) >= 2, "with the first new one there are three");
    program.wait_for(|program| (reports(program) >= 4).then_some(()));
    program.wait_for(|_| (backups(&bench).len() == 6).then_some(()));
    let asked = Instant::now();
    program.signal(Signal::TERM);
    let ended = program.end();
    ended.assert_done();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let left = backups(&bench);
    assert!(others.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
    let ours: Vec<_> = left.iter().filter(|name| !others.contains(&name.as_str())).collect();
    assert!(ours.len() == 3 && !ours.contains(&&old), "{left:?}");
    let newest = bench.path("out").join(ours[2]).display().to_string();
    keyway(&format!("restore --config {b} --in {newest} --identity {id}")).assert_done();
    bench.assert_same("a", "b");
    assert!(fs::read_to_string(bench.path("keyway.prom")).unwrap().contains("\nkeyway_backup_keys 20\n"));
}

#[test]
fn a_failed_backup_deletes_nothing_and_the_next_one_follows() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 3);
    let (recipient, _) = identity(&bench, "id");
    fs::create_dir(bench.path("out")).unwrap();
    let old = [name(7200), name(3600)];
    for name in &old {
        fs::write(bench.path("out").join(name), "precious").unwrap();
    }
    fs::rename(bench.path("a"), bench.path("gone")).unwrap();
    let out = bench.text("out");
    let mut program = Program::start(words(&format!(
        "backup --config {a} --out {out} --recipient {recipient} --every 1s --keep 1 --metrics-file {}",
        bench.text("keyway.prom")
    )));
    program.wait_for(|program| (program.stderr().matches("error: no keystore at").count() >= 2).then_some(()));
    assert_eq!(backups(&bench), old);
    assert!(!bench.path("keyway.prom").exists());
    fs::rename(bench.path("gone"), bench.path("a")).unwrap();
    program.wait_for(|_| (backups(&bench).len() == 1).then_some(()));
    program.signal(Signal::TERM);
    assert_eq!(program.end().code, Some(0));
    assert!(!old.contains(&backups(&bench)[0]));
    assert!(bench.path("keyway.prom").exists());
}

#[test]
fn a_backup_that_lacks_damaged_keys_deletes_no_older_one() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 3);
    bench.put("a", "empty", b"");
    let (recipient, _) = identity(&bench, "id");
    fs::create_dir(bench.path("out")).unwrap();
    let old = name(3600);
    fs::write(bench.path("out").join(&old), "precious").unwrap();
    let mut program = Program::start(words(&format!(
        "backup --config {a} --out {} --recipient {recipient} --every 1s --keep 1 --skip-damaged",
        bench.text("out")
    )));
    program.wait_for(|_| (backups(&bench).len() == 3).then_some(()));
    program.signal(Signal::TERM);
    program.end();
    assert_eq!(backups(&bench)[0], old);
}

#[test]
fn the_first_backup_is_due_an_interval_after_the_newest() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 3);
    let (recipient, _) = identity(&bench, "id");
    fs::create_dir(bench.path("out")).unwrap();
    let newest = name(600);
    fs::write(bench.path("out").join(&newest), "").unwrap();
    let mut program = Program::start(words(&format!(
        "backup --config {a} --out {} --recipient {recipient} --every 1h",
        bench.text("out")
    )));
    program.wait_for(|program| program.stderr().contains("the next backup is due in 49m").then_some(()));
    program.signal(Signal::INT);
    let ended = program.end();
    assert_eq!((ended.assert_done().stdout.as_str(), backups(&bench)), ("", vec![newest]));
}

#[test]
fn an_interval_that_cannot_work_is_refused_at_once() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 3);
    let (recipient, _) = identity(&bench, "id");
    let (out, none) = (bench.text("a.yml"), bench.text("none"));
    for (options, parts) in [
        (format!("--out {none} --every 1h"), &["not an existing directory", "create it"][..]),
        (format!("--out {out} --every 1h"), &["not an existing directory"]),
        ("--out - --every 1h".to_owned(), &["not standard output"]),
        (format!("--out {} --every 1h", bench.text("a")), &["belongs to the keystore"]),
        (format!("--out {none} --every 0s"), &["--every", "out of range"]),
        (format!("--out {none} --every 10"), &["--every", "has no unit"]),
        (format!("--out {none} --every 1h --keep 0"), &["--keep"]),
        (format!("--out {none} --keep 3"), &["--every"]),
        (format!("--out {none} --every 1h --force"), &["--force"]),
    ] {
        keyway(&format!("backup --config {a} --recipient {recipient} {options}")).assert_ended(2, parts);
    }
}
