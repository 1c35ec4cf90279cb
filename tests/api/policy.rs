//! `/v1/policy/...`

use serde_json::json;

use super::{Session, not_an_error};
use crate::support::{Server, Setup, raw};

#[tokio::test]
async fn a_policy_name_against_the_rule_is_refused() {
    let server = Server::start();
    let long = "p".repeat(81);
    for (raw_name, name) in [
        ("", ""),
        ("-a", "-a"),
        ("a-", "a-"),
        ("_", "_"),
        ("a.b", "a.b"),
        ("..", ".."),
        ("%2e%2e", ".."),
        ("a%2Fb", "a/b"),
        ("%00", "\0"),
        ("a%20b", "a b"),
        ("*", "*"),
        ("app*", "app*"),
        ("a~b", "a~b"),
        ("a+b", "a+b"),
        ("p%C3%B6l", "pöl"),
        (long.as_str(), long.as_str()),
    ] {
        for api in ["describe", "read"] {
            let answer = raw::request(&server, &server.admin, "GET", &format!("/v1/policy/{api}/{raw_name}"), b"")
                .await
                .unwrap();
            assert_eq!(not_an_error(&answer, 400), None, "{api} {raw_name}");
            assert_eq!(
                answer.message(),
                format!("policy name '{name}' is empty, too long or contains invalid characters")
            );
        }
    }
    let longest = "p".repeat(80);
    for name in ["nope", "__", &longest, "APP", "ap", "app1"] {
        for api in ["describe", "read"] {
            let answer = server.get(&format!("/v1/policy/{api}/{name}")).await;
            assert_eq!((answer.status, answer.message().as_str()), (404, "policy does not exist"), "{api} {name}");
        }
    }
}

#[tokio::test]
async fn policies_are_listed_in_byte_order_by_prefix() {
    let policy = |name: &str| format!("  {name}:\n    allow: [/v1/status]\n");
    let names = ["b", "B", "b-1", "b_1", "b1", "a", "0"];
    let policies = format!("policy:\n{}", names.map(policy).concat());
    let server = Server::with(Setup { policies, ..Setup::default() });
    let admin = Session::admin(&server);
    for (pattern, expected) in [
        ("", json!(["0", "B", "a", "b", "b-1", "b1", "b_1"])),
        ("*", json!(["0", "B", "a", "b", "b-1", "b1", "b_1"])),
        ("b", json!(["b", "b-1", "b1", "b_1"])),
        ("b*", json!(["b", "b-1", "b1", "b_1"])),
        ("b-", json!(["b-1"])),
        ("c", json!([])),
    ] {
        let answer = admin.get(&format!("/v1/policy/list/{pattern}")).await;
        assert_eq!(answer.json(), json!({ "names": expected, "continue_at": "" }), "{pattern}");
    }
    for pattern in ["a.b", "a%2Fb", "**", "*a", "-", "%00", &"p".repeat(81)] {
        let answer = admin.get(&format!("/v1/policy/list/{pattern}")).await;
        assert_eq!(not_an_error(&answer, 400), None, "{pattern}");
        assert!(answer.message().starts_with("listing pattern '"), "{}", answer.message());
    }
}

#[tokio::test]
async fn a_policy_is_read_as_the_config_has_it() {
    let server = Server::start();
    let read = server.get("/v1/policy/read/app").await.json();
    assert_eq!(
        read["allow"],
        json!({"/v1/key/create/app*": {}, "/v1/key/generate/app*": {}, "/v1/key/decrypt/app*": {}, "/v1/key/list/*": {},
            "/v1/policy/read/app": {}, "/v1/status": {}})
    );
    assert_eq!(read["deny"], json!({"/v1/key/generate/app-internal*": {}}));
    assert_eq!(read["created_by"], server.admin.identity().as_str());
    let described = server.get("/v1/policy/describe/app").await.json();
    assert_eq!(described, json!({ "name": "app", "created_at": read["created_at"], "created_by": read["created_by"] }));
    let own = Session::new(&server, &server.app).get("/v1/policy/read/app").await;
    assert_eq!(own.json(), read);
}
