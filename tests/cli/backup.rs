//! `keyway backup`: when it creates a file, and when it does not. For the use of the file see `restore.rs`, for backups at
//! an interval `backup/every.rs`.

mod every;

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use age::secrecy::ExposeSecret as _;
use rustix::process::Signal;

use crate::support::bench::{keyway, piped, reported, stored, words};
use crate::support::program::run;
use crate::support::server::program;
use crate::support::{Bench, Program, Shell};

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
    Program::spawn(alone).end().assert_ended(2, &["no terminal", "--passphrase-file", "KEYWAY_BACKUP_PASSPHRASE"]);
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

#[test]
fn an_empty_value_is_a_usage_error_that_names_its_option() {
    let bench = Bench::new();
    let (a, out) = (bench.keys("a", "key-", 1), bench.text("backup"));
    let (recipient, _) = identity(&bench, "id");
    let backup = |option: &str| match option {
        "--config" => vec!["backup", "--out", &out, "--recipient", &recipient],
        "--out" => vec!["backup", "--config", &a, "--recipient", &recipient],
        "--metrics-file" => vec!["backup", "--config", &a, "--out", &out, "--recipient", &recipient],
        _ => vec!["backup", "--config", &a, "--out", &out],
    };
    let restore = |option: &str| match option {
        "--in" => vec!["restore", "--config", &a, "--identity", "none"],
        _ => vec!["restore", "--config", &a, "--in", &out],
    };
    let empty = |line: Vec<&str>, option: &str| {
        let ended = run(line.into_iter().chain([option, ""]));
        ended.assert_ended(2, &[&format!("'{option} <"), "it is empty", "shell variable"]);
    };
    for option in ["--config", "--out", "--recipient", "--recipients-file", "--passphrase-file", "--metrics-file"] {
        empty(backup(option), option);
    }
    for option in ["--in", "--identity", "--passphrase-file"] {
        empty(restore(option), option);
    }
    empty(vec!["migrate", "--to", &a], "--from");
    empty(vec!["verify", "--from", &a], "--to");
    run(["restore", "--config", &a, "--in", &out, "--identity", "none", ""]).assert_ended(2, &["pattern is empty"]);
    run(["key", "rm", "--match", ""]).assert_ended(2, &["--match", "pattern is empty"]);
    assert!(!bench.path("backup").exists());
}

#[test]
fn a_backup_on_standard_output_is_an_intact_file_and_its_report_is_on_standard_error() {
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", 300), bench.fs("b"));
    let (recipient, id) = identity(&bench, "id");
    let before = bench.names();
    let (file, ended) = piped(&format!("backup --config {a} --out - --recipient {recipient}"), b"");
    ended.assert_done();
    assert!(file.starts_with(b"age-encryption.org/v1\n"));
    assert_eq!(reported(&ended.stderr, "in the backup"), 300);
    assert!(ended.stderr.contains("-> standard output, in "), "{}", ended.stderr);
    assert_eq!(bench.names(), before, "no file is created");
    fs::write(bench.path("backup"), &file).unwrap();
    keyway(&format!("restore --config {b} --in {} --identity {id}", bench.text("backup"))).assert_done();
    bench.assert_same("a", "b");
    let (_, ended) = piped(&format!("backup --config {a} --out - --force --json --recipient {recipient}"), b"");
    assert!(ended.assert_done().stderr.starts_with("warning: --force"), "{}", ended.stderr);
    assert!(ended.stderr.contains(r#""complete":true"#), "{}", ended.stderr);
}

#[test]
fn a_backup_that_fails_on_standard_output_lacks_its_end() {
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", 2000), bench.fs("b"));
    bench.put("a", "empty", b"");
    let (recipient, id) = identity(&bench, "id");
    let line = format!("backup --config {a} --out - --recipient {recipient}");
    let (file, ended) = piped(&line, b"");
    ended.assert_failed(&["empty: it is empty", "on standard output is incomplete", "--skip-damaged"]);
    assert!(file.len() > 2 * 65_536, "the keys after the damaged one were written");
    let restore = format!("restore --config {b} --in - --identity {id}");
    piped(&restore, &file).1.assert_failed(&["standard input", "not an intact backup", "truncated"]);
    assert!(!bench.path("b").exists());
    // What may be left out was named in the request; the exit code still tells.
    let (file, ended) = piped(&format!("{line} --skip-damaged"), b"");
    ended.assert_failed(&["empty: it is empty"]);
    piped(&restore, &file).1.assert_done();
    assert_eq!(bench.count("b"), 2000);
}

#[test]
fn a_reader_that_ends_early_fails_the_backup() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 2000);
    let (recipient, _) = identity(&bench, "id");
    let program = program().display().to_string();
    let backup = format!("{program} backup --config {a} --out - --recipient {recipient}");
    for (line, part) in [
        (format!("{backup} | head -c 1000 >/dev/null; exit ${{PIPESTATUS[0]}}"), "its reader ended early"),
        (format!("{backup} >/dev/full"), "cannot write 'standard output'"),
    ] {
        let mut command = Command::new("bash");
        command.args(["-c", &line]);
        Program::spawn(command).end().assert_failed(&[part]);
    }
}

#[test]
fn a_backup_is_not_written_to_a_terminal() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 1);
    let (recipient, id) = identity(&bench, "id");
    let shell = Shell::new();
    let ended = shell.terminal(&["backup", "--config", &a, "--out", "-", "--recipient", &recipient], &[]);
    assert!(ended.code == Some(2) && ended.stdout.contains("not written to a terminal"), "{ended:?}");
    let ended = shell.terminal(&["restore", "--config", &a, "--in", "-", "--identity", &id], &[]);
    assert!(ended.code == Some(2) && ended.stdout.contains("not read from a terminal"), "{ended:?}");
}

#[test]
fn the_metrics_file_tells_time_and_size_of_the_last_complete_backup() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 7);
    let (recipient, _) = identity(&bench, "id");
    let metrics = bench.path("keyway.prom");
    let start = time::OffsetDateTime::now_utc().unix_timestamp();
    let line = format!("backup --config {a} --recipient {recipient} --metrics-file {}", metrics.display());
    keyway(&format!("{line} --out {}", bench.text("one"))).assert_done();
    let text = fs::read_to_string(&metrics).unwrap();
    let value = |name: &str| -> i64 {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_else(|| panic!("{text}"))
    };
    let end = time::OffsetDateTime::now_utc().unix_timestamp();
    assert!((start..=end).contains(&value("keyway_backup_last_success_timestamp_seconds ")), "{text}");
    assert_eq!(value("keyway_backup_keys "), 7);
    assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE ") && line.ends_with(" gauge")).count(), 2);
    assert_eq!(fs::metadata(&metrics).unwrap().permissions().mode() & 0o777, 0o644, "the collector is another user");

    bench.put("a", "empty", b"");
    keyway(&format!("{line} --out {}", bench.text("two"))).assert_failed(&["empty"]);
    keyway(&format!("{line} --skip-damaged --out {}", bench.text("three"))).assert_failed(&["empty"]);
    assert_eq!(fs::read_to_string(&metrics).unwrap(), text, "an incomplete backup is not a success");

    let line = format!("backup --config {a} --recipient {recipient} --out {}", bench.text("four"));
    keyway(&format!("{line} --metrics-file {}", bench.text("none/keyway.prom"))).assert_failed(&["none/keyway.prom"]);
    keyway(&format!("{line} --metrics-file {}", bench.text("a/metrics"))).assert_ended(2, &["belongs to the keystore"]);
    // A file that would be lost.
    let config = fs::read_to_string(&a).unwrap();
    keyway(&format!("{line} --metrics-file {a}")).assert_ended(2, &["does not contain metrics", &a]);
    assert_eq!(fs::read_to_string(&a).unwrap(), config);
    keyway(&format!("{line} --metrics-file {}", bench.text("four"))).assert_ended(2, &["the same file"]);
    assert!(!bench.path("four").exists());
    fs::remove_file(bench.path("a/empty")).unwrap();
    let other_path = bench.path("./x/../four").display().to_string();
    fs::create_dir(bench.path("x")).unwrap();
    keyway(&format!("{line} --metrics-file {other_path}")).assert_failed(&["the backup is complete, but its metrics"]);
    assert!(fs::read(bench.path("four")).unwrap().starts_with(b"age-encryption.org/v1\n"));
}
