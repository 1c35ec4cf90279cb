//! The files that a config names: absent ones, wrong ones, and secrets that others can read.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{A, check, chmod, dir, with_keystore, write};
use crate::support::Client;
use crate::support::program::{Ended, Program};
use crate::support::server::program;

/// Checks a config with this keystore, whose last line is number 8.
fn check_keystore(dir: &Path, keystore: &str) -> Ended {
    check(&write(dir, &with_keystore(keystore)))
}

#[test]
fn a_keystore_that_does_not_exist_yet_is_a_warning_and_is_not_created() {
    let dir = dir();
    for (keystore, path) in [("fs: {path: @dir@/new/keys}", "/new/keys"), ("sqlite: {path: @dir@/keys.db}", "/keys.db")]
    {
        let kind = keystore.split(':').next().unwrap();
        let ended = check_keystore(dir.path(), keystore);
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(0), 1), "{ended:?}");
        assert!(ended.stderr.starts_with("warning: ") && ended.stderr.contains("does not exist yet"), "{ended:?}");
        let place = format!("config.yml:8:{}: keystore.{kind}.path: ", kind.len() + 12);
        assert!(ended.stderr.contains(&place) && ended.stderr.contains(path), "{place}: {ended:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "config, certificate and key");
    }
}

#[test]
fn a_keystore_of_the_wrong_type_is_an_error_at_its_line() {
    let dir = dir();
    fs::write(dir.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
    for (keystore, part) in [
        ("fs: {path: @dir@/file}", "is not a directory"),
        ("fs: {path: @dir@/file/keys}", "is not a directory"),
        ("fs: {path: @dir@/link}", "symbolic link"),
        ("sqlite: {path: @dir@}", "is not a regular file"),
    ] {
        let ended = check_keystore(dir.path(), keystore);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{keystore}: {ended:?}");
        let error = ended.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(error.contains("config.yml:8:") && error.contains(part), "{keystore}: {ended:?}");
    }
}

/// Checks a config as a user who is not the owner of the directory.
fn check_as_another_user(dir: &Path, keystore: &str) -> Ended {
    let file = write(dir, &with_keystore(keystore));
    if !rustix::process::geteuid().is_root() {
        return check(&file);
    }
    // Where another user can reach them.
    let program_copy = dir.join("keyway");
    if !program_copy.exists() {
        fs::copy(program(), &program_copy).unwrap();
        chmod(&dir.join("server.key"), 0o644);
        chmod(dir, 0o755);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program_copy).arg("check").arg(&file);
    Program::spawn(command).end()
}

#[test]
fn a_directory_of_keys_that_the_user_can_only_read_is_a_warning_because_a_server_starts_on_it() {
    let dir = dir();
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    chmod(&keys, 0o755);
    let ended = check_as_another_user(dir.path(), "fs: {path: @dir@/keys}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let warning = ended.stderr.lines().find(|line| line.contains("cannot be written by this user")).unwrap();
    assert!(warning.starts_with("warning: ") && warning.contains("keys can only be used"), "{warning}");
}

#[test]
fn a_keystore_that_the_user_cannot_read_and_write_is_an_error_at_its_line() {
    let dir = dir();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("keys")).unwrap();
    fs::write(path("keys.db"), "").unwrap();
    chmod(&path("keys"), 0o500);
    chmod(&path("keys.db"), 0o400);
    for (keystore, part) in [
        ("fs: {path: @dir@/keys}", "/keys cannot be read and written by this user: Permission denied"),
        ("sqlite: {path: @dir@/keys.db}", "/keys.db cannot be read and written by this user: Permission denied"),
        ("sqlite: {path: @dir@/keys/new/keys.db}", ""),
        ("fs: {path: @dir@/keys/new}", ""),
    ] {
        let ended = check_as_another_user(dir.path(), keystore);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{keystore}: {ended:?}");
        let error = ended.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(error.contains("config.yml:8:") && error.contains(part), "{keystore}: {ended:?}");
        assert!(error.contains("give the user that runs the server access to it"), "{keystore}: {ended:?}");
    }
}

#[test]
fn the_files_of_vault_and_postgresql_are_read_and_each_problem_has_its_key() {
    let dir = dir();
    let path = |name: &str| dir.path().join(name);
    Client::new("client").write(dir.path(), "client");
    Client::new("other").write(dir.path(), "other");
    fs::write(path("empty"), " \n").unwrap();
    chmod(&path("empty"), 0o600);
    let vault = |login: &str, tls: &str| format!("vault: {{endpoint: https://v.test, {login}, tls: {{{tls}}}}}");
    let postgres = |tls: &str| format!("postgres: {{host: db, database: d, user: u, {tls}}}");
    let client = "cert: @dir@/client.cert, key: @dir@/client.key";
    for (keystore, problems) in [
        (vault("token_file: @dir@/none", ""), &["vault.token_file: no such file"][..]),
        (vault("token_file: @dir@/empty", ""), &["vault.token_file: empty"]),
        (vault("approle: {id: i, secret_id_file: @dir@/none}", ""), &["vault.approle.secret_id_file: no such file"]),
        (vault("kubernetes: {role: r, jwt: @dir@/none}", ""), &["vault.kubernetes.jwt: no such file"]),
        (vault("jwt: {jwt: @dir@/none}", ""), &["vault.jwt.jwt: no such file"]),
        (
            vault("token: t", "ca: @dir@/none, cert: @dir@/none, key: @dir@/none"),
            &["vault.tls.ca: no such file", "vault.tls.cert: no such file", "vault.tls.key: no such file"],
        ),
        (
            vault("token: t", "cert: @dir@/client.cert, key: @dir@/other.key"),
            &["vault.tls.key: does not belong to the first certificate"],
        ),
        (vault("token: t", client), &[]),
        (postgres("ca: @dir@/client.key"), &["postgres.ca: are the two files swapped?"]),
        (
            postgres("cert: @dir@/client.key, key: @dir@/client.cert"),
            &["postgres.cert: swapped", "postgres.key: swapped"],
        ),
        (postgres(client), &[]),
        ("postgres: {url: 'postgres://u@db/d?sslrootcert=@dir@/none'}".to_owned(), &["postgres.url: no such file"]),
    ] {
        let ended = check_keystore(dir.path(), &keystore);
        let expected = if problems.is_empty() { Some(0) } else { Some(1) };
        assert_eq!((ended.code, ended.stderr.lines().count()), (expected, problems.len()), "{keystore}: {ended:?}");
        for problem in problems {
            let (key, part) = problem.split_once(": ").unwrap();
            let found = ended.stderr.lines().find(|line| line.contains(&format!(": keystore.{key}: ")));
            let found = found.unwrap_or_else(|| panic!("{key} is not in {ended:?}"));
            assert!(found.starts_with("error: ") && found.contains("config.yml:8:") && found.contains(part), "{found}");
        }
    }
}

#[test]
fn secrets_that_others_can_read_or_change_are_warnings_with_the_remedy_and_certificates_are_not() {
    let dir = dir();
    let path = |name: &str| dir.path().join(name);
    Client::new("client").write(dir.path(), "client");
    fs::create_dir(path("keys")).unwrap();
    for (name, mode) in [
        ("token", 0o640),
        ("jwt", 0o644),
        ("keys.db", 0o602),
        ("keys/my-key", 0o604),
        ("keys/a-key", 0o620),
        ("keys/.x", 0o666),
    ] {
        fs::write(path(name), "x").unwrap();
        chmod(&path(name), mode);
    }
    for (name, mode) in [("server.key", 0o644), ("server.cert", 0o666), ("client.key", 0o660), ("keys", 0o755)] {
        chmod(&path(name), mode);
    }
    let vault = "vault: {endpoint: https://v.test, token_file: @dir@/token, tls: {ca: @dir@/server.cert, \
                 cert: @dir@/client.cert, key: @dir@/client.key}}";
    let service_account = "vault: {endpoint: https://v.test, kubernetes: {role: r, jwt: @dir@/jwt}}";
    let server = ("tls.key", "/server.key can be read by all users (mode 0644)");
    for (keystore, warnings) in [
        (
            vault,
            &[
                server,
                ("keystore.vault.token_file", "/token can be read by its group (mode 0640)"),
                ("keystore.vault.tls.key", "/client.key can be read and changed by its group (mode 0660)"),
            ][..],
        ),
        (service_account, &[server]),
        (
            "fs: {path: @dir@/keys}",
            &[
                server,
                ("keystore.fs.path", "/keys can be read by all users (mode 0755)"),
                ("keystore.fs.path", "/keys: 2 key files, such as a-key, can be read or changed by other users"),
            ],
        ),
        ("sqlite: {path: @dir@/keys.db}", &[server, ("keystore.sqlite.path", "/keys.db can be changed by all users")]),
    ] {
        let ended = check_keystore(dir.path(), keystore);
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert_eq!((ended.code, lines.len()), (Some(0), warnings.len()), "{keystore}: {ended:?}");
        for (key, part) in warnings {
            let found = lines.iter().find(|line| line.contains(&format!(": {key}: ")) && line.contains(part));
            let found = found.unwrap_or_else(|| panic!("{key}: {part} is not in {ended:?}"));
            assert!(found.starts_with("warning: ") && found.contains("run: chmod go-rwx "), "{found}");
        }
        // The remedy is one.
        for line in lines {
            let remedy = line.split_once("run: ").unwrap().1;
            let done = std::process::Command::new("sh").args(["-c", remedy]).status().unwrap();
            assert!(done.success(), "{remedy}");
        }
        let ended = check_keystore(dir.path(), keystore);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{keystore}");
        chmod(&path("server.key"), 0o644);
    }
}

#[test]
fn plain_http_is_a_warning_unless_the_service_is_on_this_machine() {
    let dir = dir();
    for (endpoint, is_warned) in [
        ("http://vault.example.com:8200", true),
        ("http://127.0.0.1:8200", false),
        ("https://vault.example.com:8200", false),
    ] {
        let ended = check_keystore(dir.path(), &format!("vault: {{endpoint: '{endpoint}', token: s3cr3t}}"));
        assert_eq!((ended.code, !ended.stderr.is_empty()), (Some(0), is_warned), "{endpoint}: {ended:?}");
        let warning = "config.yml:8:21: keystore.vault.endpoint: keys and tokens are sent to";
        assert!(!is_warned || ended.stderr.contains(warning), "{ended:?}");
        assert!(!ended.stderr.contains("s3cr3t"), "{ended:?}");
    }
    let aws = "aws: {secretsmanager: {endpoint: 'http://aws.example.com', region: r}}";
    let ended = check_keystore(dir.path(), aws);
    assert!(ended.stderr.contains(": keystore.aws.secretsmanager.endpoint: keys are sent to"), "{ended:?}");
}

#[test]
fn a_config_that_a_problem_is_not_in_is_named_without_a_line() {
    let dir = dir();
    let keystore = format!("keystore: {{fs: {{path: {}/keys}}}}\n", dir.path().display());
    let text = format!("admin: {{identity: {A}}}\ntls:\n  key: k\n  cert: c\n{keystore}");
    let file = write(dir.path(), &text);
    let server = crate::support::program::run([
        "server".as_ref(),
        "--config".as_ref(),
        file.as_os_str(),
        "--key".as_ref(),
        dir.path().join("none.key").as_os_str(),
    ]);
    assert_eq!(server.code, Some(1));
    assert!(server.stderr.contains("config.yml: tls.key: ") && server.stderr.contains("/none.key: "), "{server:?}");
    assert!(server.stderr.contains("config.yml:4:9: tls.cert: c: no such file"), "{server:?}");
}
