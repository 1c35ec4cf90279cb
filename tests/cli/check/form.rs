//! The forms of input and output: standard input, JSON.

use serde_json::{Value, json};

use super::{HEAD, with_keystore, write};
use crate::support::{Client, Shell};

/// A shell with a server's certificate, and a config without and with problems.
fn shell() -> (Shell, String, String) {
    let shell = Shell::new();
    Client::server().write(shell.dir.path(), "server");
    let text = |text: &str| text.replace("@dir@/", "").replace("@address@", "127.0.0.1:0");
    (shell, text(&with_keystore("memory: {}")), text(&HEAD.replace("server.key", "none.key")))
}

#[test]
fn a_dash_is_standard_input() {
    let (shell, good, bad) = shell();
    let ended = shell.run_with(&["check", "-"], good.as_bytes());
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "<stdin>: ok\n", ""));
    let ended = shell.run_with(&["check", "-"], bad.as_bytes());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("error: <stdin>:5:8: tls.key: none.key: no such file"), "{ended:?}");
    let ended = shell.run_with(&["check", "-"], b"version: v2\n");
    assert!(ended.stderr.contains("error: <stdin>:1:10: version: "), "{ended:?}");
    let ended = shell.run_with(&["check", "-"], b"a: \xff\n");
    assert!(ended.stderr.contains("error: <stdin>:1:4: not valid UTF-8"), "{ended:?}");
}

#[test]
fn json_is_one_object_with_every_problem_in_the_order_of_the_file() {
    let (shell, good, bad) = shell();
    let file = write(shell.dir.path(), &good).display().to_string();
    let ended = shell.run(&["check", "--json", &file]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let parsed: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(parsed, json!({"file": file, "ok": true, "problems": []}));

    write(shell.dir.path(), &bad);
    for (arguments, severity) in
        [(&["check", "--json", &file][..], "warning"), (&["check", "--json", "--strict", &file], "error")]
    {
        let ended = shell.run(arguments);
        assert_eq!((ended.code, ended.stderr.as_str(), ended.stdout.lines().count()), (Some(1), "", 1));
        let mut parsed: Value = serde_json::from_str(&ended.stdout).unwrap();
        for problem in parsed["problems"].as_array_mut().unwrap() {
            let message = problem.as_object_mut().unwrap().remove("message").unwrap();
            assert!(message.as_str().is_some_and(|text| text.len() > 10), "{message}");
        }
        let problem = |severity: &str, line: u64, column: u64, key: &str| json!({"severity": severity, "file": file, "line": line, "column": column, "key": key});
        let problems = [
            problem(severity, 3, 13, "admin.identity"),
            problem("error", 5, 8, "tls.key"),
            problem(severity, 8, 14, "keystore.fs.path"),
        ];
        assert_eq!(parsed, json!({"file": file, "ok": false, "problems": problems}));
    }
    let ended = shell.run(&["check", "--json", "none.yml"]);
    let parsed: Value = serde_json::from_str(&ended.stdout).unwrap();
    let problem = &parsed["problems"][0];
    assert_eq!((&problem["line"], &problem["key"]), (&Value::Null, &Value::Null), "{parsed}");
}
