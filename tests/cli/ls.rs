//! `keyway ls`: keys, policies and identities.

use crate::support::{Server, Shell};

#[test]
fn it_lists_keys_policies_and_identities() {
    let server = Server::start();
    let shell = Shell::of(&server, &server.admin);
    shell.done(&["key", "create", "app-1", "b"]);
    let list = shell.done(&["ls"]);
    assert!(list.starts_with("key\tapp-1\nkey\tb\npolicy\tapp\npolicy\tops\nidentity\t"), "{list}");
    assert_eq!(list.lines().count(), 7);
    assert_eq!(shell.done(&["ls", "app*"]), "key\tapp-1\npolicy\tapp");
}

#[test]
fn lists_without_access_are_left_out_with_a_note() {
    let server = Server::start();
    Shell::of(&server, &server.admin).done(&["key", "create", "app-1"]);
    let ended = Shell::of(&server, &server.app).run(&["ls"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "key\tapp-1\n"), "{ended:?}");
    assert!(ended.stderr.contains("/v1/policy/list/") && ended.stderr.contains("/v1/identity/list/"), "{ended:?}");
    Shell::of(&server, &server.ops).fails(3, &["ls"]);
}
