//! `keyway check`, and `keyway server` on the same files: errors are reported before anything is opened.

mod connect;
mod files;
mod form;
mod tls;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::support::program::{Ended, Program, refusal, run};
use crate::support::{Client, Shell};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Eight lines that complete every text below to a config: the tested part begins on line 9.
const HEAD: &str = "address: @address@\nadmin:\n  identity: disabled\ntls:\n  key: @dir@/server.key\n  cert: @dir@/server.cert\n\
                    keystore:\n  fs: {path: @dir@/keys}\n";

/// A directory with a certificate and key.
fn dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    Client::server().write(dir.path(), "server");
    dir
}

/// [`HEAD`] with an admin and another keystore.
fn with_keystore(keystore: &str) -> String {
    let (head, _) = HEAD.split_once("keystore:").unwrap();
    format!("{}keystore:\n  {keystore}\n", head.replace("disabled", A))
}

/// Sets the permissions of a file.
fn chmod(file: &Path, mode: u32) {
    fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
}

fn write(dir: &Path, text: &str) -> std::path::PathBuf {
    let file = dir.join("config.yml");
    let text = text.replace("@dir@", &dir.display().to_string()).replace("@address@", "127.0.0.1:0");
    std::fs::write(&file, text).unwrap();
    file
}

fn check(file: &Path) -> Ended {
    run(["check".as_ref(), file.as_os_str()])
}

#[test]
fn a_good_config_is_ok() {
    let dir = dir();
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    chmod(&keys, 0o700);
    let file = write(dir.path(), &HEAD.replace("disabled", A));
    let ended = check(&file);
    let expected = Ended { code: Some(0), stdout: format!("{}: ok\n", file.display()), stderr: String::new() };
    assert_eq!(ended, expected);
    assert_eq!(fs::read_dir(keys).unwrap().count(), 0, "nothing was opened");
}

#[test]
fn a_config_that_lets_nobody_in_is_a_warning() {
    let dir = dir();
    for (admin, policies, is_warned) in [
        ("disabled".to_owned(), String::new(), true),
        ("_".to_owned(), "policy: {app: {allow: [/v1/status]}}\n".to_owned(), true),
        ("disabled".to_owned(), format!("policy: {{app: {{identities: [{A}]}}}}\n"), false),
        (A.to_owned(), String::new(), false),
    ] {
        let ended = check(&write(dir.path(), &format!("{}{policies}", HEAD.replace("disabled", &admin))));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let warning = ended.stderr.lines().find(|line| line.contains("nobody can use keys"));
        assert_eq!(warning.is_some(), is_warned, "{admin}: {ended:?}");
        assert!(warning.is_none_or(|line| line.contains("config.yml:3:13: admin.identity: ")), "{ended:?}");
    }
}

#[test]
fn a_bad_config_is_refused_with_line_key_and_remedy() {
    let dir = dir();
    let two_policies = format!("policy:\n  one:\n    identities: [{A}]\n  two:\n    identities: [{A}]\n");
    for (text, line, parts) in [
        ("cache:\n  expiri:\n    any: 5m\n", 10, &["cache", "expiri", "expiry"][..]),
        ("adress: 0.0.0.0:1\n", 9, &["adress", "address"]),
        ("log: {error: on}\nlog: {audit: on}\n", 10, &["log"]),
        ("cache:\n  expiry:\n    any: 5 minutes\n", 11, &["cache.expiry.any", "5 minutes"]),
        ("cache:\n  expiry:\n    any: 10\n", 11, &["cache.expiry.any", "unit"]),
        ("log:\n  error: ${KEYWAY_NOT_SET}\n", 10, &["log.error", "KEYWAY_NOT_SET"]),
        (two_policies.as_str(), 13, &["policy.two", "one"]),
        ("api:\n  /v1/key/list/:\n    skip_auth: true\n", 11, &["skip_auth", "/v1/ready"]),
        ("keys:\n- name: a/b\n", 10, &["keys", "a/b"]),
        ("version: v2\n", 9, &["version", "v2", "v1"]),
        ("log: on: off\n", 9, &["YAML"]),
        ("log:\n\terror: on\n", 10, &["YAML"]),
        ("---\nversion: v1\n", 10, &["document", "---"]),
    ] {
        let message = refusal(dir.path(), &format!("{HEAD}{text}"));
        let place = format!("/config.yml:{line}:");
        assert!(message.contains(&place), "{place} is not in {message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
    }
}

#[test]
fn what_has_no_effect_is_a_warning_that_strict_makes_an_error() {
    let shell = Shell::new();
    Client::server().write(shell.dir.path(), "server");
    let head =
        format!("admin: {{identity: {A}}}\ntls: {{key: server.key, cert: server.cert}}\nkeystore: {{memory: {{}}}}\n");
    for (text, line, parts) in [
        (
            "policy:\n  app:\n    allow:\n    - /v1/key/crate/*\n",
            7,
            &["policy.app.allow", "/v1/key/crate/*", "/v1/key/create/"][..],
        ),
        ("policy:\n  app:\n    deny:\n    - /v1/key/crate/*\n", 7, &["policy.app.deny", "denies nothing"]),
        ("policy:\n  app:\n    allow:\n    - /v1/key/bulk/decrypt\n", 7, &["allows nothing", "'/v1/key/decrypt/*'"]),
        ("policy:\n  app:\n    paths:\n    - /v1/status\n", 6, &["policy.app.paths", "renamed to allow"]),
        ("api:\n  /v1/none:\n    timeout: 1s\n", 5, &["/v1/none"]),
        ("root: x\n", 4, &["admin.identity"]),
    ] {
        let file = shell.file("config.yml", format!("{head}{text}"));
        for (arguments, code, word) in
            [(&["check", &file][..], 0, "warning: "), (&["check", "--strict", &file], 1, "error: ")]
        {
            let ended = shell.run(arguments);
            assert_eq!((ended.code, ended.stderr.lines().count()), (Some(code), 1), "{ended:?}");
            for part in parts.iter().chain(&[word, &*format!("config.yml:{line}:")]) {
                assert!(ended.stderr.contains(part), "{part:?} is not in {}", ended.stderr);
            }
        }
    }
}

#[test]
fn missing_sections_are_named() {
    let dir = dir();
    for (lines, parts) in [
        (1..3, &["admin.identity"][..]),
        (3..6, &["tls.key", "tls.cert"]),
        (4..5, &["tls.key"]),
        (5..6, &["tls.cert"]),
        (6..8, &["keystore", "fs, sqlite, memory"]),
    ] {
        let kept = HEAD.split_inclusive('\n').enumerate().filter(|(number, _)| !lines.contains(number));
        let text: String = kept.map(|(_, line)| line).collect();
        let message = refusal(dir.path(), &text);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
    }
}

#[test]
fn an_unsupported_keystore_and_a_second_one_are_refused_by_name() {
    let dir = dir();
    let head = HEAD.split("keystore").next().unwrap();
    for store in ["gcp", "azure", "fortanix", "gemalto", "entrust"] {
        let message = refusal(dir.path(), &format!("{head}keystore:\n  {store}: {{}}\n"));
        assert!(message.contains(&format!("'{store}'")) && message.contains("config.yml:8:"), "{message}");
    }
    let message = refusal(dir.path(), &format!("{HEAD}  sqlite: {{path: @dir@/keys.db}}\n"));
    assert!(message.contains("'fs'") && message.contains("'sqlite'") && message.contains("config.yml:9:"), "{message}");
}

#[test]
fn everything_that_is_wrong_is_reported_at_once_in_its_order() {
    let dir = dir();
    let message = refusal(dir.path(), &format!("{HEAD}cache:\n  expiry:\n    any: x\nlog:\n  audit: y\nkeyz: []\n"));
    let lines: Vec<_> = [11, 13, 14].map(|line| message.find(&format!("config.yml:{line}:"))).into_iter().collect();
    assert!(lines.iter().all(Option::is_some) && lines.is_sorted(), "{message}");
}

#[test]
fn a_file_that_is_not_a_config_is_refused() {
    let dir = dir();
    for (text, part) in [("", "missing"), ("hello", ""), ("- a\n- b\n", ""), ("\0\0\0", "YAML"), ("{", "YAML")] {
        let message = refusal(dir.path(), text);
        assert!(message.contains("config.yml") && message.contains(part), "{text:?}: {message}");
    }
    std::fs::write(dir.path().join("binary.yml"), [0xff, 0xfe, 0x00, 0xd8]).unwrap();
    for (name, part) in [("missing.yml", "No such file"), ("binary.yml", "UTF-8"), (".", "directory")] {
        let file = dir.path().join(name);
        for arguments in [vec!["check".into(), file.clone()], vec!["server".into(), "--config".into(), file.clone()]] {
            let ended = run(&arguments);
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{arguments:?}");
            assert!(ended.stderr.contains(&file.display().to_string()), "{}", ended.stderr);
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
    }
}

#[test]
fn rules_for_apis_that_kes_dropped_are_warnings() {
    let dir = dir();
    let text = format!(
        "{HEAD}policy:\n  old:\n    allow:\n    - /v1/policy/show/*\n    - /v1/identity/assign/*\n    - /v1/secret/*\n    - /v1/enclave/*\n    \
         identities: [{A}]\n"
    );
    let file = write(dir.path(), &text);
    let ended = check(&file);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.ends_with(": ok\n"), "{ended:?}");
    for (line, rule) in
        [(12, "/v1/policy/show/"), (13, "/v1/identity/assign/"), (14, "/v1/secret/"), (15, "/v1/enclave/")]
    {
        let warning = ended.stderr.lines().find(|text| text.contains(&format!("config.yml:{line}:")));
        assert!(warning.is_some_and(|text| text.starts_with("warning: ") && text.contains(rule)), "{rule}: {ended:?}");
    }
    let mut server = Program::start(["server".as_ref(), "--config".as_ref(), file.as_os_str()]);
    server.wait_for(|server| server.stderr().contains("serving").then_some(()));
    let stderr = server.stderr();
    let warnings = stderr.lines().filter(|line| line.contains("WARN") && line.contains("config.yml:"));
    assert_eq!(warnings.count(), 4, "{stderr}");
}

#[test]
fn secrets_of_a_bad_config_are_not_repeated() {
    let dir = dir();
    let api_key = "kes:v1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let message = refusal(dir.path(), &HEAD.replace("disabled", api_key));
    assert!(message.contains("config.yml:3:") && message.contains("admin.identity"), "{message}");
    assert!(!message.contains("AAAA"), "{message}");
    let message = refusal(dir.path(), &HEAD.replace("tls:\n", "tls:\n  password: [hunter2]\n"));
    assert!(message.contains("tls.password") && !message.contains("hunter2"), "{message}");
}

#[test]
fn the_configs_that_come_with_the_program_are_ok() {
    let dir = dir();
    // What they name exists, empty.
    fs::create_dir(dir.path().join("keys")).unwrap();
    chmod(&dir.path().join("keys"), 0o700);
    fs::write(dir.path().join("keys.sqlite"), "").unwrap();
    chmod(&dir.path().join("keys.sqlite"), 0o600);
    fs::copy(dir.path().join("server.cert"), dir.path().join("postgres-ca.cert")).unwrap();
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut checked = 0;
    for entry in std::fs::read_dir(configs).unwrap() {
        let file = entry.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut program = Program::start_with(["check".as_ref(), file.as_os_str()], |command| {
            // They refer to files in the working directory, and to variables.
            command.current_dir(dir.path());
            for variable in text.split("${").skip(1).filter_map(|rest| rest.split_once('}')) {
                command.env(variable.0, A);
            }
        });
        let ended = program.end();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}: {ended:?}", file.display());
        checked += 1;
    }
    assert!(checked >= 4, "only {checked} configs");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5, "no store was opened");
    assert_eq!(fs::metadata(dir.path().join("keys.sqlite")).unwrap().len(), 0, "no database was created");
}
