//! `keyway backup`: when it creates a file, and when it does not. For the use of the file see `restore.rs`.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use age::secrecy::ExposeSecret as _;
use rustix::process::Signal;

use crate::support::bench::{keyway, stored, words};
use crate::support::server::program;
use crate::support::{Bench, Program};

/// A pair of age keys: the public one, and the path of a file with the secret one.
pub fn identity(bench: &Bench, name: &str) -> (String, String) {
    let identity = age::x25519::Identity::generate();
    let file = bench.path(name);
    fs::write(&file, format!("# a test\n{}\n", identity.to_string().expose_secret())).unwrap();
    (identity.to_public().to_string(), file.display().to_string())
}

#[test]
fn a_backup_is_one_age_file_only_for_its_owner() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 1500);
    let (recipient, _) = identity(&bench, "id");
    let out = bench.text("backup");
    let ended = keyway(&format!("backup --config {a} --out {out} --recipient {recipient}"));
    assert_eq!(ended.assert_done().reported("in the backup"), 1500);
    let file = fs::read(&out).unwrap();
    assert!(file.starts_with(b"age-encryption.org/v1\n"));
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(bench.names(), ["a", "a.yml", "backup", "id"]);
    let (name, value) = bench.content("a").pop_first().unwrap();
    for secret in [name.as_bytes(), &value[..40]] {
        assert!(!file.windows(secret.len()).any(|window| window == secret), "it is encrypted");
    }
}

#[test]
fn an_existing_file_is_only_replaced_on_request() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 3);
    let (recipient, _) = identity(&bench, "id");
    let out = bench.text("backup");
    fs::write(&out, "precious").unwrap();
    let line = format!("backup --config {a} --out {out} --recipient {recipient}");
    keyway(&line).assert_failed(&[&out, "exists", "--force"]);
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    keyway(&format!("{line} --force")).assert_done();
    assert!(fs::read(&out).unwrap().starts_with(b"age-encryption.org/v1\n"));
    let nowhere = bench.text("none/backup");
    keyway(&format!("backup --config {a} --out {nowhere} --recipient {recipient}"))
        .assert_failed(&["none/backup", "check the path"]);
    keyway(&format!("backup --config {a} --out /dev/null --force --recipient {recipient}"))
        .assert_failed(&["not a regular file"]);
}

#[test]
fn a_backup_needs_a_recipient_or_a_passphrase() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 3);
    let (recipient, id) = identity(&bench, "id");
    let out = bench.text("backup");
    let line = format!("backup --config {a} --out {out}");
    for (options, part) in [
        (String::new(), "--recipient"),
        (format!("--passphrase --recipient {recipient}"), "--recipient"),
        (format!("--passphrase --passphrase-file {id}"), "--passphrase"),
    ] {
        let ended = keyway(&format!("{line} {options}"));
        assert_eq!(ended.code, Some(2), "{options}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{options}: {}", ended.stderr);
    }
    let secret = fs::read_to_string(&id).unwrap().lines().nth(1).unwrap().to_owned();
    let ended = keyway(&format!("{line} --recipient {secret}"));
    ended.assert_failed(&["secret key", "age-keygen -y"]);
    assert!(!ended.stderr.contains(&secret), "{}", ended.stderr);
    keyway(&format!("{line} --recipient age1nonsense")).assert_failed(&["age1nonsense"]);
    keyway(&format!("{line} --recipients-file {id}")).assert_failed(&[&id, "secret key"]);
    fs::write(bench.path("empty"), "").unwrap();
    keyway(&format!("{line} --recipients-file {}", bench.text("empty"))).assert_failed(&["no recipient"]);
    keyway(&format!("{line} --passphrase-file {}", bench.text("empty"))).assert_failed(&["passphrase is empty"]);
    // Without a terminal to prompt on.
    let mut alone = Command::new("setsid");
    alone.arg("-w").arg(program()).args(words(&format!("{line} --passphrase")));
    Program::spawn(alone).end().assert_failed(&["no terminal", "--passphrase-file", "KEYWAY_BACKUP_PASSPHRASE"]);
    assert!(!bench.path("backup").exists());
}

#[test]
fn a_damaged_key_prevents_a_backup_unless_it_may_be_skipped() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 10);
    bench.put("a", "empty", b"");
    let (recipient, id) = identity(&bench, "id");
    let line = format!("backup --config {a} --out {} --recipient {recipient}", bench.text("backup"));
    keyway(&line).assert_failed(&["empty: it is empty", "no backup was created", "--skip-damaged"]);
    assert_eq!(bench.names(), ["a", "a.yml", "id"]);
    let skipped = keyway(&format!("{line} --skip-damaged"));
    skipped.assert_failed(&["empty: it is empty"]);
    assert_eq!(skipped.reported("in the backup"), 10);
    // The existing file may be the last copy of the key, so it is not replaced by a file without it.
    let whole = std::fs::read(bench.text("backup")).unwrap();
    keyway(&format!("{line} --skip-damaged --force")).assert_failed(&["empty: it is empty", "was kept"]);
    assert_eq!(std::fs::read(bench.text("backup")).unwrap(), whole);
    let b = bench.fs("b");
    keyway(&format!("restore --config {b} --in {} --identity {id}", bench.text("backup"))).assert_done();
    assert_eq!(bench.count("b"), 10);
}

#[test]
fn a_full_disk_leaves_nothing() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 2000);
    let (recipient, _) = identity(&bench, "id");
    fs::create_dir(bench.path("out")).unwrap();
    let out = bench.text("out/backup");
    // 64 KiB are less than the file needs.
    let limited = |options: &str| {
        let mut command = Command::new("sh");
        let program = program().display().to_string();
        command.args([
            "-c",
            &format!("ulimit -f 128; exec {program} backup --config {a} --out {out} --recipient {recipient} {options}"),
        ]);
        Program::spawn(command).end()
    };
    limited("").assert_failed(&["cannot write", &out, "ulimit -f"]);
    assert_eq!(fs::read_dir(bench.path("out")).unwrap().count(), 0);
    fs::write(&out, "precious").unwrap();
    limited("--force").assert_failed(&["cannot write"]);
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    assert_eq!(fs::read_dir(bench.path("out")).unwrap().count(), 1);
}

#[test]
fn ctrl_c_leaves_nothing() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 10_000);
    let (recipient, _) = identity(&bench, "id");
    fs::create_dir(bench.path("out")).unwrap();
    let out = bench.text("out/backup");
    let mut program =
        Program::start(words(&format!("backup --config {a} --out {out} --recipient {recipient} --concurrency 1")));
    // It has begun to write once its temporary file grows.
    program.wait_for(|_| {
        let mut files = fs::read_dir(bench.path("out")).unwrap();
        files.any(|file| file.unwrap().metadata().is_ok_and(|metadata| metadata.len() > 0)).then_some(())
    });
    program.signal(Signal::INT);
    program.end().assert_ended(130, &["no backup was created"]);
    assert_eq!(fs::read_dir(bench.path("out")).unwrap().count(), 0);
    keyway(&format!("backup --config {a} --out {out} --recipient {recipient}")).assert_done();
}

#[test]
fn ctrl_c_while_the_passphrase_is_processed_leaves_nothing() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 3);
    fs::create_dir(bench.path("out")).unwrap();
    fs::write(bench.path("pass"), "correct horse").unwrap();
    let (out, pass) = (bench.text("out/backup"), bench.text("pass"));
    let mut program = Program::start(words(&format!("backup --config {a} --out {out} --passphrase-file {pass}")));
    // It also exists briefly before, to check that the directory is writable.
    let seen = Cell::new(0);
    program.wait_for(|_| {
        seen.set(if fs::read_dir(bench.path("out")).unwrap().count() == 1 { seen.get() + 1 } else { 0 });
        (seen.get() == 5).then_some(())
    });
    program.signal(Signal::INT);
    program.end().assert_ended(130, &["no backup was created"]);
    assert_eq!(fs::read_dir(bench.path("out")).unwrap().count(), 0);
}

#[test]
fn no_backup_is_created_of_missing_or_empty_keystores() {
    let bench = Bench::new();
    let (b, db) = (bench.fs("b"), bench.sqlite("db"));
    let (recipient, _) = identity(&bench, "id");
    let before = bench.names();
    for config in [&b, &db] {
        let line = format!("backup --config {config} --out {} --recipient {recipient}", bench.text("backup"));
        keyway(&line).assert_failed(&["no keystore at", config]);
    }
    assert_eq!(bench.names(), before);
    fs::create_dir(bench.path("b")).unwrap();
    bench.put("b", ".hidden", &stored());
    let line = format!("backup --config {b} --out {} --recipient {recipient}", bench.text("backup"));
    keyway(&line).assert_failed(&["has no key that matches"]);
}
