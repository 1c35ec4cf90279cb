//! `keyway key`: its commands on a real server.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::support::{Server, Shell};

fn admin(server: &Server) -> Shell {
    Shell::of(server, &server.admin)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text:?}"))
}

#[test]
fn keys_are_created_shown_listed_and_deleted() {
    let server = Server::start();
    let shell = admin(&server);
    assert_eq!(shell.done(&["key", "create", "b", "a-1", "a-2"]), "");
    assert_eq!(shell.done(&["key", "ls"]), "a-1\na-2\nb");
    assert_eq!(shell.done(&["key", "ls", "a*"]), "a-1\na-2");
    assert_eq!(json(&shell.done(&["key", "ls", "--json"])), serde_json::json!(["a-1", "a-2", "b"]));
    let identity = server.admin.identity();
    let info = shell.done(&["key", "info", "b"]);
    assert!(info.starts_with("Name: b\nAlgorithm: ") && info.ends_with(&format!("Created by: {identity}")), "{info}");
    assert_eq!(json(&shell.done(&["key", "info", "b", "--json"]))["created_by"], identity.as_str());
    let long = shell.done(&["key", "ls", "--long"]);
    let rows: Vec<Vec<_>> = long.lines().map(|line| line.split('\t').collect()).collect();
    assert!(rows.len() == 3 && rows.iter().all(|row| row.len() == 4 && row[3] == identity.as_str()), "{long}");
    assert_eq!(json(&shell.done(&["key", "ls", "--long", "--json"]))[2]["name"], "b");
    assert_eq!(shell.done(&["key", "rm", "b", "a-1", "-y"]), "");
    assert_eq!(shell.done(&["key", "ls"]), "a-2");
}

#[test]
fn every_name_is_tried_and_the_first_failure_determines_the_exit_code() {
    let server = Server::start();
    let shell = admin(&server);
    shell.done(&["key", "create", "a"]);
    let said = shell.fails(1, &["key", "create", "a", "b", "c/d", "e"]);
    assert!(said.contains("key already exists") && said.contains("/v1/key/create/a)"), "{said}");
    assert!(said.contains("'c/d' is empty, too long or contains invalid characters"), "{said}");
    assert_eq!(shell.done(&["key", "ls"]), "a\nb\ne");
    let said = shell.fails(4, &["key", "rm", "x", "a", "--yes"]);
    assert!(said.contains("key does not exist") && said.contains("/x)"), "{said}");
    assert_eq!(shell.done(&["key", "ls"]), "b\ne");
    for command in [&["key", "info", "x"][..], &["key", "dek", "x"], &["key", "hmac", "x", "--file", "/dev/null"]] {
        assert!(shell.fails(4, command).contains("key does not exist"), "{command:?}");
    }
}

#[test]
fn a_list_continues_past_the_first_page() {
    const COUNT: usize = 14_000;
    let server = Server::start();
    // A list needs only the names: these exceed a page of 1 MiB.
    let keys = server.dir.path().join("keys");
    for number in 0..COUNT {
        std::fs::write(keys.join(format!("{number:080}")), "").unwrap();
    }
    let shell = admin(&server);
    let list = shell.done(&["key", "ls"]);
    assert_eq!(list.lines().count(), COUNT);
    assert!(list.lines().is_sorted() && list.lines().all(|name| name.len() == 80));
    assert_eq!(json(&shell.done(&["key", "ls", "--json"])).as_array().unwrap().len(), COUNT);
    assert_eq!(json(&shell.done(&["ls", "--json"]))["keys"].as_array().unwrap().len(), COUNT);
}

#[test]
fn the_reader_of_a_list_may_close_the_pipe_before_its_end() {
    let server = Server::start();
    let keys = server.dir.path().join("keys");
    for number in 0..5_000 {
        std::fs::write(keys.join(format!("{number:080}")), "").unwrap();
    }
    let shell = admin(&server);
    let line = format!("'{}' key ls | head -n 1", crate::support::server::program().display());
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &format!("{line}; exit ${{PIPESTATUS[0]}}")]);
    let ended = shell.spawn(command).end();
    assert_eq!((ended.code, ended.stdout.lines().count(), ended.stderr.as_str()), (Some(141), 1, ""), "{ended:?}"); // as for a program killed by SIGPIPE
}

#[test]
fn a_message_from_every_source_is_encrypted_and_decrypted() {
    let server = Server::start();
    let shell = admin(&server);
    shell.done(&["key", "create", "k"]);
    let message = b"a secret\n\0\xff".to_vec();
    let file = shell.file("message", &message);
    let ciphertext = shell.run_with(&["key", "encrypt", "k"], &message);
    assert_eq!((ciphertext.code, ciphertext.stderr.as_str()), (Some(0), ""), "{ciphertext:?}");
    let ciphertexts = [
        ciphertext.stdout,
        shell.done(&["key", "encrypt", "k", "--file", &file]),
        shell.run_with(&["key", "encrypt", "k", "-"], &message).stdout,
        json(&shell.done(&["key", "encrypt", "k", "--file", &file, "--json"]))["ciphertext"]
            .as_str()
            .unwrap()
            .to_owned(),
    ];
    for ciphertext in &ciphertexts {
        let from_input = shell.run_with(&["key", "decrypt", "k"], ciphertext.as_bytes());
        let expected = BASE64_STANDARD.encode(&message);
        assert_eq!((from_input.stdout.trim_end(), from_input.stderr.as_str()), (expected.as_str(), ""));
        assert_eq!(shell.done(&["key", "decrypt", "k", ciphertext.trim()]), expected);
        let file = shell.file("ciphertext", ciphertext);
        assert_eq!(json(&shell.done(&["key", "decrypt", "k", "--file", &file, "--json"]))["plaintext"], expected);
    }
    let text = shell.run_with(&["key", "encrypt", "k"], b"hello\n").stdout;
    assert_eq!(shell.run_with(&["key", "decrypt", "k", "--raw"], text.as_bytes()).stdout, "hello\n");
}

#[test]
fn a_context_binds_a_ciphertext() {
    let server = Server::start();
    let shell = admin(&server);
    shell.done(&["key", "create", "k"]);
    let context = BASE64_STANDARD.encode("bucket/object");
    let key = json(&shell.done(&["key", "dek", "k", &context, "--json"]));
    let (plaintext, ciphertext) = (key["plaintext"].as_str().unwrap(), key["ciphertext"].as_str().unwrap());
    assert_eq!(BASE64_STANDARD.decode(plaintext).unwrap().len(), 32);
    assert_eq!(shell.done(&["key", "decrypt", "k", ciphertext, &context]), plaintext);
    assert_eq!(shell.done(&["key", "decrypt", "k", ciphertext, "--context", &context]), plaintext);
    let said = shell.fails(1, &["key", "decrypt", "k", ciphertext]);
    assert!(said.contains("decryption failed: ciphertext is not authentic"), "{said}");
    let encrypted = shell.run_with(&["key", "encrypt", "k", "--context", &context], b"x").stdout;
    assert_eq!(shell.done(&["key", "decrypt", "k", encrypted.trim(), &context]), "eA==");
    for bad in ["bucket/object", "eA"] {
        assert!(shell.fails(2, &["key", "dek", "k", bad]).contains("context is not standard base64"));
    }
    let lines = shell.done(&["key", "dek", "k"]);
    assert!(lines.starts_with("plaintext: ") && lines.contains("\nciphertext: "), "{lines}");
}

#[test]
fn an_hmac_depends_only_on_key_and_message() {
    let server = Server::start();
    let shell = admin(&server);
    shell.done(&["key", "create", "k", "l"]);
    let sum = |key: &str, message: &str| shell.run_with(&["key", "hmac", key], message.as_bytes()).stdout;
    assert_eq!(sum("k", "m"), sum("k", "m"));
    assert_ne!(sum("k", "m"), sum("k", "n"));
    assert_ne!(sum("k", "m"), sum("l", "m"));
    assert_eq!(BASE64_STANDARD.decode(sum("k", "m").trim()).unwrap().len(), 32);
}

#[test]
fn a_key_is_imported_from_every_source() {
    let server = Server::start();
    let shell = admin(&server);
    let key = [7; 32];
    let base64 = BASE64_STANDARD.encode(key);
    let file = shell.file("key", format!("{base64}\n"));
    shell.done(&["key", "import", "file", "--file", &file]);
    for (name, input) in [("base64", base64.as_bytes()), ("raw", &key)] {
        let ended = shell.run_with(&["key", "import", name], input);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{name}: {ended:?}");
    }
    let ended = shell.run(&["key", "import", "argument", &base64, "--cipher", "ChaCha20"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.starts_with("warning: ") && ended.stderr.contains("--file"), "{ended:?}");
    assert!(!ended.stderr.contains(&base64), "{ended:?}");
    // The same key under three names: what one encrypts, the others decrypt.
    let ciphertext = shell.run_with(&["key", "encrypt", "file"], b"x").stdout;
    for name in ["base64", "raw"] {
        assert_eq!(shell.done(&["key", "decrypt", name, ciphertext.trim()]), "eA==", "{name}");
    }
    assert!(shell.done(&["key", "info", "argument"]).contains("Algorithm: ChaCha20"));
    // 32 characters are the hex or base64 form of a different key, never a raw key.
    // A raw key whose bytes happen to be letters.
    let ended = shell.run_with(&["key", "import", "letters", "--raw"], b"0123456789abcdef0123456789abcdef");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = shell.run_with(&["key", "import", "text"], b"0123456789abcdef0123456789abcdef");
    assert_eq!((ended.code, ended.stderr.contains("24 bytes")), (Some(2), true), "{ended:?}");
    for (input, part) in [(&b""[..], "0 bytes"), (&[1; 31], "31 bytes"), (&[b'A'; 44], "33 bytes")] {
        let ended = shell.run_with(&["key", "import", "bad"], input);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
    let said = shell.fails(1, &["key", "import", "file", "--file", &file]);
    assert!(said.contains("key already exists"), "{said}");
    let said = shell.fails(1, &["key", "import", "bad", "--file", "missing"]);
    assert!(said.contains("missing") && said.contains("No such file"), "{said}");
    assert!(shell.fails(2, &["key", "import", "bad", &base64, "--file", &file]).contains("given twice"));
}

#[test]
fn a_secret_on_the_command_line_works_with_a_warning() {
    let server = Server::start();
    let shell = admin(&server);
    shell.done(&["key", "create", "k"]);
    let ended = shell.run(&["key", "encrypt", "k", "hello"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.starts_with("warning: the message on the command line"), "{ended:?}");
    assert!(!ended.stderr.contains("hello"), "{ended:?}");
    let plaintext = shell.done(&["key", "decrypt", "k", ended.stdout.trim()]);
    assert_eq!(plaintext, BASE64_STANDARD.encode("hello"), "and a ciphertext is not a secret: no warning");
}

#[test]
fn a_message_larger_than_a_server_accepts_is_refused() {
    let server = Server::start();
    let shell = admin(&server);
    shell.done(&["key", "create", "k"]);
    let fits = shell.file("fits", vec![b'x'; 700_000]);
    let ciphertext = shell.file("ciphertext", shell.done(&["key", "encrypt", "k", "--file", &fits]));
    assert_eq!(shell.done(&["key", "decrypt", "k", "--file", &ciphertext, "--raw"]).len(), 700_000);
    let large = shell.file("large", vec![b'x'; 900_000]);
    assert!(shell.fails(1, &["key", "encrypt", "k", "--file", &large]).contains("too large"));
    let huge = shell.file("huge", vec![b'x'; 2 << 20]);
    assert!(shell.fails(1, &["key", "encrypt", "k", "--file", &huge]).contains("larger than 1 MiB"));
}

#[test]
fn deleting_a_key_on_a_terminal_needs_confirmation() {
    let server = Server::start();
    let shell = admin(&server);
    shell.done(&["key", "create", "a", "b"]);
    let ended = shell.terminal(&["key", "rm", "a"], &[("Delete 'a'?", "n\r")]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(shell.done(&["key", "ls"]), "a\nb");
    let ended = shell.terminal(&["key", "rm", "a"], &[("Delete 'a'?", "y\r")]);
    assert!(ended.code == Some(0) && ended.stdout.contains("deleted a"), "{ended:?}");
    let ended = shell.terminal(&["key", "rm", "b", "--yes"], &[]);
    assert!(ended.code == Some(0) && ended.stdout.contains("deleted b"), "{ended:?}");
    assert_eq!(shell.done(&["key", "ls"]), "");
}

#[test]
fn without_a_terminal_a_key_is_deleted_only_with_yes() {
    let server = Server::start();
    let shell = admin(&server);
    shell.done(&["key", "create", "a"]);
    for answer in ["", "n\n", "y\n"] {
        let ended = shell.run_with(&["key", "rm", "a"], answer.as_bytes());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.contains("no key was deleted") && ended.stderr.contains("--yes"), "{ended:?}");
        assert_eq!(shell.done(&["key", "ls"]), "a");
    }
}

#[test]
fn a_pattern_selects_the_same_names_in_every_list() {
    let server = Server::start();
    let shell = admin(&server);
    shell.done(&["key", "create", "app-1", "app-2", "app-2-old", "b"]);
    for (pattern, names) in [
        ("*", &["app-1", "app-2", "app-2-old", "b"][..]),
        ("app-*", &["app-1", "app-2", "app-2-old"]),
        ("app-?", &["app-1", "app-2"]),
        ("*-old", &["app-2-old"]),
        ("app-2", &["app-2"]),
        ("z*", &[]),
    ] {
        assert_eq!(shell.done(&["key", "ls", pattern]), names.join("\n"), "{pattern}");
        assert_eq!(json(&shell.done(&["key", "ls", pattern, "--json"])), serde_json::json!(names), "{pattern}");
        let long = shell.done(&["key", "ls", pattern, "--long"]);
        assert!(long.lines().map(|line| line.split('\t').next().unwrap()).eq(names.iter().copied()), "{long}");
        let keys = json(&shell.done(&["ls", pattern, "--json"]))["keys"].clone();
        assert_eq!(keys, serde_json::json!(names), "{pattern}");
    }
    // A prefix, as in earlier commands, is a whole name here.
    for command in [&["key", "ls", "app-"][..], &["ls", "app-"], &["policy", "ls", "o"], &["identity", "ls", "a"]] {
        let ended = shell.run(command);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
        assert!(ended.stderr.contains(&format!("'{}*'", command[command.len() - 1])), "{ended:?}");
    }
    assert!(shell.fails(2, &["key", "ls", "a/b"]).contains("not a valid key pattern"));
    assert!(shell.fails(2, &["key", "ls", ""]).contains("use * for all"));
}

#[test]
fn keys_that_match_are_deleted_only_when_confirmed() {
    let server = Server::start();
    let shell = admin(&server);
    shell.done(&["key", "create", "test-1", "test-2", "test-10", "keep"]);
    let all = "keep\ntest-1\ntest-10\ntest-2";
    let ended = shell.run(&["key", "rm", "--match", "test-?"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), "test-1\ntest-2\n"), "{ended:?}");
    assert!(ended.stderr.contains("no key was deleted") && ended.stderr.contains("--yes"), "{ended:?}");
    let question = "Delete 2 keys that match 'test-?'? Data encrypted under these keys can never";
    let ended =
        shell.terminal(&["key", "rm", "--match", "test-?"], &[("test-1", ""), ("test-2", ""), (question, "n\r")]);
    assert!(ended.code == Some(1) && ended.stdout.contains("no key was deleted"), "{ended:?}");
    assert_eq!(shell.done(&["key", "ls"]), all);
    let ended = shell.terminal(&["key", "rm", "--match", "test-?"], &[(question, "y\r")]);
    assert!(ended.code == Some(0) && ended.stdout.contains("deleted test-1\ndeleted test-2\n"), "{ended:?}");
    assert_eq!(shell.done(&["key", "ls"]), "keep\ntest-10");
    assert_eq!(shell.done(&["key", "rm", "--match", "test-*", "--yes"]), "deleted test-10");
    assert!(shell.fails(4, &["key", "rm", "--match", "test-*", "--yes"]).contains("no key matches 'test-*'"));
    assert_eq!(shell.done(&["key", "ls"]), "keep");
}

#[test]
fn names_and_a_pattern_exclude_each_other() {
    let shell = Shell::new();
    assert!(shell.fails(2, &["key", "rm", "a", "--match", "b*"]).contains("--match"));
    assert!(shell.fails(2, &["key", "rm", "--yes"]).contains("--match"));
    assert!(shell.fails(2, &["key", "rm", "--match", "b/*"]).contains("not a valid key pattern"));
}
