//! The program invoked as `kes`, as scripts for KES do.

use crate::support::{Server, Shell};

#[test]
fn its_texts_use_the_name_kes() {
    let shell = Shell::new().called("kes");
    let help = shell.done(&["--help"]);
    assert!(help.contains("Usage: kes") && help.contains("  kes key create my-key"), "{help}");
    assert!(shell.done(&["server", "--help"]).contains("Usage: kes server --config FILE"));
    assert!(shell.done(&["key", "create", "--help"]).contains("  kes key create my-key"));
    for command in [&["--help"][..], &["server", "--help"], &["key", "rm", "--help"], &["policy", "template", "--help"]]
    {
        let help = shell.done(command);
        let ours: Vec<_> = help.lines().filter(|line| line.contains("keyway ")).collect();
        assert!(ours.is_empty(), "{command:?}: {ours:?}");
    }
    assert_eq!(shell.done(&["--version"]), format!("kes {} (Keyway)", keyway::VERSION));
    assert!(shell.fails(2, &["key", "creat"]).contains("kes"));
    assert!(shell.done(&["completion", "bash"]).contains("complete -F _kes"));
}

#[test]
fn scripts_for_kes_still_work() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin).unset("KEYWAY_CA").called("kes");
    shell.done(&["key", "create", "-k", "my-key"]);
    assert_eq!(shell.done(&["key", "ls", "-k"]), "my-key");
    assert_eq!(shell.done(&["key", "ls", "-k", "my*"]), "my-key");
    assert!(shell.done(&["key", "info", "my-key", "-k"]).contains("my-key"));
    assert!(shell.done(&["key", "dek", "my-key", "-k"]).contains("ciphertext: "));
    assert!(shell.done(&["policy", "ls", "-k"]).contains("app"));
    assert!(shell.done(&["policy", "show", "-k", "app"]).contains("/v1/key/create/app*"));
    assert!(shell.done(&["identity", "ls", "-k"]).contains(server.admin.identity().as_str()));
    assert!(shell.done(&["status", "-k"]).contains("well"));
    assert!(shell.done(&["metric", "-k"]).contains("kes_http_request_success"));
    let app = Shell::of(&server, &server.app).called("kes");
    assert!(app.fails(3, &["key", "create", "x"]).contains("kes policy explain "));
    shell.done(&["key", "rm", "-k", "my-key"]);
    assert_eq!(shell.done(&["ls", "-k", "my"]), "");
}
