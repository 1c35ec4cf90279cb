//! `keyway restore`: complete backups are restored unchanged, others are refused before anything is written.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::backup::identity;
use crate::support::bench::{keyway, piped, reported, stored, words};
use crate::support::server::program;
use crate::support::{Bench, Program, Shell, heavy};

/// A backup of a directory of keys; the path of the file, and of the identity that opens it.
fn backup(bench: &Bench, keys: usize) -> (String, String) {
    let a = bench.keys("a", "key-", keys);
    let (recipient, id) = identity(bench, "id");
    let out = bench.text("backup");
    keyway(&format!("backup --config {a} --out {out} --recipient {recipient}")).assert_done();
    (out, id)
}

#[test]
fn a_backup_is_restored_unchanged_to_any_store() {
    let _turn = heavy();
    let bench = Bench::new();
    let (file, id) = backup(&bench, 2500);
    let (db, b, c) = (bench.sqlite("db"), bench.fs("b"), bench.fs("c"));
    let dry = keyway(&format!("restore --dry-run --config {db} --in {file} --identity {id}"));
    assert_eq!(dry.assert_done().reported("to restore"), 2500);
    assert!(!bench.path("db.db").exists());
    for config in [&db, &b] {
        let ended = keyway(&format!("restore --config {config} --in {file} --identity {id}"));
        assert_eq!(ended.assert_done().reported("restored"), 2500);
    }
    bench.assert_same("a", "b");
    keyway(&format!("migrate --from {db} --to {c}")).assert_done();
    bench.assert_same("a", "c");
    let again = keyway(&format!("restore --config {b} --in {file} --identity {id}"));
    assert_eq!(again.assert_done().reported("already present"), 2500);
}

#[test]
fn any_of_several_recipients_opens_it_and_a_stranger_does_not() {
    let bench = Bench::new();
    let a = bench.keys("a", "key-", 5);
    let [(one, one_id), (two, two_id), (_, stranger)] = ["one", "two", "stranger"].map(|name| identity(&bench, name));
    fs::write(bench.path("recipients"), format!("# ops\n{two}\n")).unwrap();
    let (out, recipients) = (bench.text("backup"), bench.text("recipients"));
    keyway(&format!("backup --config {a} --out {out} --recipient {one} --recipients-file {recipients}")).assert_done();
    let b = bench.fs("b");
    let line = format!("restore --config {b} --in {out}");
    keyway(&format!("{line} --identity {stranger}")).assert_failed(&["none of the identities matches", &out]);
    fs::write(bench.path("pass"), "hunter2").unwrap();
    keyway(&format!("{line} --passphrase-file {}", bench.text("pass"))).assert_failed(&["--identity"]);
    keyway(&format!("{line} --identity {recipients}")).assert_failed(&["AGE-SECRET-KEY", &recipients]);
    assert!(!bench.path("b").exists());
    keyway(&format!("{line} --identity {stranger} --identity {two_id}")).assert_done();
    keyway(&format!("{line} --identity {one_id}")).assert_done();
    bench.assert_same("a", "b");
    let ended = keyway(&line);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

#[test]
fn a_passphrase_comes_from_a_file_standard_input_or_the_environment() {
    let _turn = heavy();
    let bench = Bench::new();
    let (a, b) = (bench.keys("a", "key-", 5), bench.fs("b"));
    let out = bench.text("backup");
    fs::write(bench.path("pass"), "correct horse\n").unwrap();
    fs::write(bench.path("wrong"), "correct house\n").unwrap();
    let (pass, wrong) = (bench.text("pass"), bench.text("wrong"));
    let with_variable = |line: &str, passphrase: &str| {
        Program::start_with(words(line), |command| {
            command.env("KEYWAY_BACKUP_PASSPHRASE", passphrase);
        })
        .end()
    };
    with_variable(&format!("backup --config {a} --out {out} --passphrase"), "correct horse").assert_done();
    let line = format!("restore --config {b} --in {out}");
    let (_, id) = identity(&bench, "id");
    keyway(&format!("{line} --identity {id}")).assert_failed(&["encrypted with a passphrase", "--passphrase"]);
    let ended = keyway(&format!("{line} --passphrase-file {wrong}"));
    ended.assert_failed(&["passphrase is wrong"]);
    assert!(!ended.stderr.contains("house"), "{}", ended.stderr);
    assert!(!bench.path("b").exists());
    keyway(&format!("{line} --passphrase-file {pass}")).assert_done();
    bench.assert_same("a", "b");
    let standard_input = Command::new(program())
        .args(words(&format!("{line} --passphrase-file -")))
        .stdin(Stdio::from(fs::File::open(&pass).unwrap()))
        .output()
        .unwrap();
    assert!(standard_input.status.success(), "{}", String::from_utf8_lossy(&standard_input.stderr));
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_refused_and_nothing_is_written() {
    let bench = Bench::new();
    let (file, id) = backup(&bench, 1000);
    let whole = fs::read(&file).unwrap();
    assert!(whole.len() > 2 * 65_536, "more than two of age's chunks");
    let header = whole.windows(4).position(|window| window == b"\n---").unwrap();
    let cut = bench.text("cut");
    let chunks = (1..).map(|chunk| header + 64 + chunk * 65_552).take_while(|end| *end < whole.len());
    let near = chunks.flat_map(|end| [end - 20, end, end + 1]);
    let spread = (0..20).map(|part| part * whole.len() / 20);
    let lengths: Vec<usize> = spread
        .chain([1, 21, 22, header, header + 40, header + 60, whole.len() - 17, whole.len() - 1])
        .chain(near)
        .collect();
    assert!(lengths.len() > 30, "{}", lengths.len());
    for length in lengths {
        fs::write(&cut, &whole[..length]).unwrap();
        let ended = keyway(&format!("restore --config {} --in {cut} --identity {id}", bench.fs("b")));
        ended.assert_failed(&[&cut]);
        assert!(!bench.path("b").exists(), "{length} of {} bytes", whole.len());
    }
}

#[test]
fn a_file_with_a_changed_bit_or_more_at_its_end_is_refused_and_nothing_is_written() {
    let bench = Bench::new();
    let (file, id) = backup(&bench, 600);
    let whole = fs::read(&file).unwrap();
    let changed = bench.text("changed");
    let restore = |bytes: &[u8]| {
        fs::write(&changed, bytes).unwrap();
        let ended = keyway(&format!("restore --config {} --in {changed} --identity {id}", bench.fs("b")));
        ended.assert_failed(&[&changed]);
        assert!(!bench.path("b").exists());
    };
    let header = whole.windows(4).position(|window| window == b"\n---").unwrap();
    let places =
        (0..header + 60).step_by(7).chain((header..whole.len()).step_by(whole.len() / 25)).chain([whole.len() - 1]);
    for place in places {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 7);
        restore(&bytes);
    }
    restore(&[&whole[..], b"x"].concat());
    restore(&[&whole[..], &whole[..]].concat());
    restore(b"");
    restore(b"keyway-backup 1\n");
}

/// Encrypts a text as a backup is encrypted.
fn encrypted(bench: &Bench, recipient: &str, text: &[u8]) -> String {
    let recipient: age::x25519::Recipient = recipient.parse().unwrap();
    let file = bench.path("made");
    fs::write(&file, age::encrypt(&recipient, text).unwrap()).unwrap();
    file.display().to_string()
}

#[test]
fn what_age_opens_is_not_a_backup_for_that() {
    let bench = Bench::new();
    let (recipient, id) = identity(&bench, "id");
    let b = bench.fs("b");
    for (text, part) in [
        (&b""[..], "truncated after 0 keys"),
        (b"hello, world\n", "not created by keyway backup"),
        (b"keyway-backup 2\ncreated 2026-01-31T12:00:00Z\n", "version 2"),
        (b"keyway-backup 1\ncreated 2026-01-31T12:00:00Z\n", "truncated after 0 keys"),
        (b"keyway-backup 1\ncreated 2026-01-31T12:00:00Z\nkey a 1 00\nx\n", "checksum of key 'a'"),
        (b"keyway-backup 1\ncreated 2026-01-31T12:00:00Z\nkey ../a 1 00\nx\n", "damaged after 0 keys"),
        (b"keyway-backup 1\ncreated 2026-01-31T12:00:00Z\nkey a 99999999999 00\n", "damaged after 0 keys"),
        (b"keyway-backup 1\ncreated 2026-01-31T12:00:00Z\nend 0 00\n", "count or digest"),
    ] {
        let file = encrypted(&bench, &recipient, text);
        keyway(&format!("restore --config {b} --in {file} --identity {id}")).assert_failed(&[part, &file]);
        assert!(!bench.path("b").exists(), "{part}");
    }
}

#[test]
fn a_name_of_a_different_key_prevents_the_whole_restore() {
    let bench = Bench::new();
    let (file, id) = backup(&bench, 50);
    let b = bench.keys("b", "key-", 0);
    bench.put("b", "key-00007", &stored());
    bench.put("b", "theirs", &stored());
    bench.put("b", "key-00008", &bench.content("a")["key-00008"]);
    let before = bench.content("b");
    for option in ["", "--dry-run"] {
        let ended = keyway(&format!("restore {option} --config {b} --in {file} --identity {id}"));
        ended.assert_failed(&["  key-00007\n", "nothing was written", "--merge"]);
        assert_eq!(ended.reported("already present"), 1);
    }
    assert_eq!(bench.content("b"), before);
    fs::remove_file(bench.path("b").join("key-00007")).unwrap();
    keyway(&format!("restore --config {b} --in {file} --identity {id}")).assert_done();
    assert_eq!(bench.count("b"), 51);
}

#[test]
fn a_restore_resumes_after_a_kill_or_an_interruption() {
    let _turn = heavy();
    let bench = Bench::new();
    let (file, id) = backup(&bench, 2500);
    let b = bench.fs("b");
    let line = format!("restore --config {b} --in {file} --identity {id}");
    for (signal, count) in [(Signal::KILL, 200), (Signal::INT, 1100)] {
        let mut program = Program::start(words(&format!("{line} --concurrency 1")));
        program.wait_for(|_| (bench.count("b") >= count).then_some(()));
        program.signal(signal);
        let ended = program.end();
        if signal == Signal::INT {
            ended.assert_ended(130, &["stopped by a signal", "run the command again"]);
            assert_eq!(ended.reported("not tried"), 2500 - bench.count("b"));
        }
    }
    let there = bench.count("b");
    let ended = keyway(&line);
    assert_eq!(ended.assert_done().reported("already present"), there);
    assert_eq!(bench.content("a"), bench.content("b"));
}

#[test]
fn only_the_keys_that_match_are_restored() {
    let bench = Bench::new();
    let (file, id) = backup(&bench, 30);
    let b = bench.fs("b");
    let line = format!("restore --config {b} --in {file} --identity {id}");
    keyway(&format!("{line} zzz*")).assert_failed(&["no key that matches 'zzz*'", "use *"]);
    assert_eq!(bench.count("b"), 0);
    let dry = keyway(&format!("{line} --dry-run key-0001?"));
    assert_eq!((dry.assert_done().reported("to restore"), dry.reported("left out by the pattern")), (10, 20));
    for (pattern, restored, total) in [("key-00007", 1, 1), ("key-0001?", 10, 11), ("*9", 2, 13), ("*", 17, 30)] {
        let ended = keyway(&format!("{line} {pattern}"));
        assert_eq!(ended.assert_done().reported("restored"), restored, "{pattern}");
        assert_eq!(bench.count("b"), total, "{pattern}");
    }
    bench.assert_same("a", "b");
    let invalid = keyway(&format!("{line} a/b"));
    invalid.assert_ended(2, &["a/b", "valid key pattern"]);
    // The whole file is checked, whichever keys are wanted.
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let c = bench.fs("c");
    keyway(&format!("restore --config {c} --in {file} --identity {id} key-00000")).assert_failed(&["not an intact"]);
    assert!(!bench.path("c").exists());
}

#[test]
fn merge_keeps_different_keys_and_restores_the_rest() {
    let bench = Bench::new();
    let (file, id) = backup(&bench, 50);
    let b = bench.keys("b", "key-", 2);
    bench.put("b", "theirs", &stored());
    let before = bench.content("b");
    let line = format!("restore --merge --config {b} --in {file} --identity {id}");
    let dry = keyway(&format!("{line} --dry-run"));
    assert_eq!(dry.assert_done().reported("to restore"), 48);
    assert_eq!(bench.content("b"), before);
    let ended = keyway(&line);
    assert_eq!(ended.assert_done().reported("restored"), 48);
    assert_eq!(ended.reported("kept, different in the target"), 2);
    assert!(ended.stdout.contains("  key-00000\n  key-00001\n"), "{}", ended.stdout);
    let mut expected = bench.content("a");
    expected.extend(before);
    assert_eq!(bench.content("b"), expected);
    let again = keyway(&line);
    assert_eq!(again.assert_done().reported("already present"), 48);
    assert_eq!(bench.content("b"), expected);
}

#[test]
fn a_damaged_key_in_the_target_is_named_and_does_not_hold_up_a_merge() {
    let bench = Bench::new();
    let (file, id) = backup(&bench, 10);
    let b = bench.keys("b", "key-", 0);
    bench.put("b", "key-00003", b"");
    let line = format!("restore --config {b} --in {file} --identity {id}");
    keyway(&line).assert_failed(&["key-00003: in the target: it is empty", "nothing was written", "--merge"]);
    assert_eq!(bench.count("b"), 1);
    let merged = keyway(&format!("{line} --merge"));
    merged.assert_failed(&["key-00003: in the target: it is empty", "repair or delete"]);
    assert_eq!((merged.reported("restored"), merged.reported("damaged")), (9, 1));
    assert_eq!(bench.content("b")["key-00003"], b"", "nothing is overwritten");
    fs::remove_file(bench.path("b").join("key-00003")).unwrap();
    keyway(&line).assert_done();
    bench.assert_same("a", "b");
}

#[test]
fn a_backup_on_standard_input_is_restored_and_nothing_of_it_remains() {
    let bench = Bench::new();
    let (file, id) = backup(&bench, 1500);
    let (b, c) = (bench.fs("b"), bench.fs("c"));
    let whole = fs::read(&file).unwrap();
    let line = |config: &str| format!("restore --config {config} --in - --identity {id}");
    for length in [1, 21, whole.len() / 2, whole.len() - 1] {
        piped(&line(&b), &whole[..length]).1.assert_failed(&["standard input"]);
        assert!(!bench.path("b").exists(), "{length} of {} bytes", whole.len());
    }
    piped(&line(&b), b"").1.assert_failed(&["standard input is empty"]);
    piped(&format!("{} --passphrase-file -", line(&b).replace(&format!("--identity {id}"), "")), &whole)
        .1
        .assert_ended(2, &["cannot both read standard input"]);
    assert!(!bench.path("b").exists());
    fs::create_dir(bench.path("tmp")).unwrap();
    let (report, ended) = piped(&line(&b), &whole);
    ended.assert_done();
    let report = String::from_utf8(report).unwrap();
    assert!(report.starts_with("restore: standard input, created "), "{report}");
    assert_eq!(reported(&report, "restored"), 1500);
    bench.assert_same("a", "b");
    // From one keystore to another, without a file in between; temporary files have no name.
    let (program, tmp, (recipient, id)) = (program().display().to_string(), bench.text("tmp"), identity(&bench, "two"));
    let pipe = format!(
        "set -o pipefail; export TMPDIR={tmp}; {program} backup --config {b} --out - --recipient {recipient} | {program} \
         restore --config {c} --in - --identity {id} && ls -A {tmp}"
    );
    let mut command = Command::new("bash");
    command.args(["-c", &pipe]);
    let ended = Program::spawn(command).end();
    assert_eq!(ended.assert_done().reported("restored"), 1500);
    assert_eq!(fs::read_dir(bench.path("tmp")).unwrap().count(), 0);
    bench.assert_same("a", "c");
}

#[test]
fn the_passphrase_of_a_backup_on_standard_input_is_typed_at_the_terminal() {
    let _turn = heavy();
    let bench = Bench::new();
    let (a, b, out) = (bench.keys("a", "key-", 5), bench.fs("b"), bench.text("backup"));
    fs::write(bench.path("pass"), "correct horse\n").unwrap();
    keyway(&format!("backup --config {a} --out {out} --passphrase-file {}", bench.text("pass"))).assert_done();
    // The shell that starts the program on the terminal puts each argument into quotes: this one leaves them.
    let input = format!("-' < '{out}");
    let dialog = [("Passphrase of the backup", "correct horse\r")];
    let ended = Shell::new().terminal(&["restore", "--config", &b, "--passphrase", "--in", &input], &dialog);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    bench.assert_same("a", "b");
}
