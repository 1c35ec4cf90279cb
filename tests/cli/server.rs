//! `keyway server`: its arguments, its environment, and how it uses the system.

use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::program::run;
use crate::support::{Client, Program, Server, Setup, until};

#[test]
fn without_a_config_it_exits_with_2_and_names_the_ways_to_start() {
    let ended = run(["server"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    for part in ["--config", "--dev"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

#[test]
fn arguments_that_exclude_each_other_exit_with_2() {
    for arguments in [&["server", "--dev", "--config", "x.yml"][..], &["server", "--config", "x.yml", "--data", "x"]] {
        let ended = run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn an_address_that_is_not_valid_is_refused_with_an_example() {
    for address in ["7373", "localhost", "example.com:7373", "127.0.0.1:99999", ""] {
        let ended = run(["server", "--dev", "--addr", address]);
        assert!(matches!(ended.code, Some(1 | 2)), "{address}: {ended:?}");
        assert!(ended.stderr.contains("7373"), "{address}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{address}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_the_address() {
    let first = Server::start();
    let config = first.dir.path().join("config.yml");
    let address = first.address.to_string();
    let ended = run(["server".as_ref(), "--config".as_ref(), config.as_os_str(), "--addr".as_ref(), address.as_ref()]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("error: cannot listen on") && ended.stderr.contains(&address), "{}", ended.stderr);
    first.assert_serves().await;
}

#[test]
fn an_address_on_the_command_line_overrides_the_config() {
    let server = Server::start();
    let file = server.dir.path().join("config.yml");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = std::fs::read_to_string(&file).unwrap().replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string());
    std::fs::write(&file, text).unwrap();
    let arguments =
        ["server".as_ref(), "--config".as_ref(), file.as_os_str(), "--addr".as_ref(), "127.0.0.1:0".as_ref()];
    let mut second = Program::start(arguments);
    let address = second.address();
    assert_ne!(address, taken.local_addr().unwrap());
    std::net::TcpStream::connect(address).unwrap();
    second.signal(Signal::TERM);
    assert_eq!(second.end().code, Some(0));
}

#[tokio::test]
async fn values_from_the_environment_reach_the_server() {
    let visitor = Client::new("visitor");
    let store = tempfile::tempdir().unwrap();
    let env = [
        ("KEYWAY_TEST_KEYS", store.path().join("keys").display().to_string()),
        ("KEYWAY_TEST_VISITOR", visitor.identity().to_string()),
        ("KEYWAY_TEST_RULE", "/v1/key/create/visitor-*".to_owned()),
        ("KEYWAY_TEST_TIMEOUT", "7s".to_owned()),
    ];
    let server = Server::with(Setup {
        keystore: "fs:\n  path: ${KEYWAY_TEST_KEYS}".to_owned(),
        policies: "policy:\n  visitor:\n    allow:\n    - ${KEYWAY_TEST_RULE}\n    identities:\n    - ${KEYWAY_TEST_VISITOR}\n".to_owned(),
        extra: "api:\n  /v1/status:\n    timeout: ${KEYWAY_TEST_TIMEOUT}\n".to_owned(),
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..Setup::default()
    });
    let answer = server.request(&visitor, reqwest::Method::PUT, "/v1/key/create/visitor-key", None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(store.path().join("keys/visitor-key").exists());
    assert!(server.get("/v1/api").await.text().contains(r#""timeout":7"#));
}

#[test]
fn an_unset_variable_is_named_with_its_line() {
    let server = Server::start();
    let file = server.dir.path().join("config.yml");
    let text = std::fs::read_to_string(&file).unwrap().replace("127.0.0.1:0", "${KEYWAY_TEST_UNSET}");
    std::fs::write(&file, text).unwrap();
    let ended = run(["server".as_ref(), "--config".as_ref(), file.as_os_str()]);
    assert_eq!(ended.code, Some(1));
    for part in ["config.yml:2:", "address", "KEYWAY_TEST_UNSET"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn keys_in_memory_cause_a_warning_that_they_will_be_lost() {
    let server = Server::on("memory: {}");
    let log = server.log();
    let warning = log.lines().find(|line| line.contains("keystore.memory")).unwrap_or_else(|| panic!("{log}"));
    assert!(warning.contains("WARN") && warning.contains("ALL KEYS ARE LOST"), "{warning}");
    assert!(!Server::start().log().contains("LOST"));
}

#[test]
fn a_keystore_that_cannot_be_opened_is_an_error_that_names_it() {
    let server = Server::start();
    let (dir, file) = (server.dir.path().to_owned(), server.dir.path().join("config.yml"));
    let original = std::fs::read_to_string(&file).unwrap();
    let (head, _) = original.split_once("keystore:").unwrap();
    std::fs::write(dir.join("file"), "no directory, no database").unwrap();
    std::fs::create_dir(dir.join("directory")).unwrap();
    for (kind, path) in [
        ("fs", "file"),
        ("sqlite", "file"),
        ("sqlite", "directory"),
        ("sqlite", "server.key/keys.db"),
        ("fs", "server.key/keys"),
    ] {
        std::fs::write(&file, format!("{head}keystore:\n  {kind}:\n    path: {}\n", dir.join(path).display())).unwrap();
        let ended = run(["server".as_ref(), "--config".as_ref(), file.as_os_str()]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{kind} {path}: {}", ended.stderr);
        assert!(ended.stderr.contains(&format!("cannot open the keystore ({kind})")), "{}", ended.stderr);
        let named = dir.join(path.split('/').next().unwrap()).display().to_string();
        assert!(ended.stderr.contains(&named), "{kind} {path}: {}", ended.stderr);
        assert!(!ended.stderr.contains("serving"), "{}", ended.stderr);
    }
}

#[test]
fn core_dumps_are_off_and_the_log_says_whether_memory_is_locked() {
    let server = Server::start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let files: Vec<_> = files.split_whitespace().collect();
    assert_eq!(files[3], files[4], "as many open files as are allowed");

    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim() != "0 kB";
    let log = server.log();
    let said = (log.contains("memory is locked"), log.contains("memory is not locked"));
    assert_eq!(said, (locked, !locked), "{log}");
}

#[tokio::test]
async fn a_log_in_json_is_one_object_a_line() {
    let server = Server::with(Setup { extra: "log:\n  format: json\n  audit: on\n".to_owned(), ..Setup::default() });
    server.get("/v1/status").await;
    server.get("/v1/key/describe/none").await;
    let is_written = async || server.output().lines().count() >= 2;
    until(Duration::from_secs(10), || server.output(), is_written).await;
    for line in server.log().lines().chain(server.output().lines()) {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object()), "{line}");
    }
}

#[test]
fn a_start_that_fails_is_a_line_of_json_if_the_log_is() {
    let server = Server::with(Setup { extra: "log: {format: json}\n".to_owned(), ..Setup::default() });
    let (file, address) = (server.dir.path().join("config.yml"), server.address.to_string());
    let ended = run(["server".as_ref(), "--config".as_ref(), file.as_os_str(), "--addr".as_ref(), address.as_ref()]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
    let lines: Vec<serde_json::Value> =
        ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let last = lines.last().unwrap();
    assert_eq!((&last["level"], &last["message"]), (&"ERROR".into(), &"the server cannot start".into()));
    assert!(last["reason"].as_str().is_some_and(|reason| reason.contains(&address)), "{last}");
}

#[tokio::test]
async fn a_value_in_a_file_is_used_and_a_change_of_the_file_reloads_the_config() {
    let values = tempfile::tempdir().unwrap();
    let file = values.path().join("level");
    std::fs::write(&file, "DEBUG\n").unwrap();
    let extra = format!("log:\n  error: ${{file:{}}}\n", file.display());
    let server = Server::with(Setup { extra, ..Setup::default() });
    server.get("/v1/key/describe/none").await;
    server.logged("DEBUG").await;
    std::fs::write(&file, "INFO\n").unwrap();
    server.logged("config reloaded").await;

    std::fs::remove_file(&file).unwrap();
    let config = server.dir.path().join("config.yml");
    let ended = run(["check".as_ref(), config.as_os_str()]);
    assert_eq!(ended.code, Some(1));
    for part in ["config.yml:", "log.error", "cannot be read", &file.display().to_string()] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}
