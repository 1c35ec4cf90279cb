//! `/v1/identity/...`

use serde_json::{Value, json};

use super::{Session, not_an_error};
use crate::support::{Server, raw};

#[tokio::test]
async fn an_identity_against_the_rule_is_refused() {
    let server = Server::start();
    let long = "a".repeat(81);
    for (raw_identity, identity) in [
        ("", ""),
        ("-a", "-a"),
        ("_", "_"),
        ("a.b", "a.b"),
        ("%2e%2e", ".."),
        ("a%2Fb", "a/b"),
        ("%00", "\0"),
        ("*", "*"),
        ("a%20", "a "),
        ("%C3%A4", "ä"),
        (long.as_str(), long.as_str()),
    ] {
        let target = format!("/v1/identity/describe/{raw_identity}");
        let answer = raw::request(&server, &server.admin, "GET", &target, b"").await.unwrap();
        assert_eq!(not_an_error(&answer, 400), None, "{raw_identity}");
        assert_eq!(
            answer.message(),
            format!("identity '{identity}' is empty, too long or contains invalid characters")
        );
    }
    let stranger = server.stranger.identity();
    let upper_case = server.app.identity().as_str().to_uppercase();
    for identity in [stranger.as_str(), &upper_case, "self", "disabled", "a"] {
        let answer = server.get(&format!("/v1/identity/describe/{identity}")).await;
        assert_eq!((answer.status, answer.message().as_str()), (404, "identity does not exist"), "{identity}");
    }
}

#[tokio::test]
async fn identities_are_listed_in_byte_order_by_prefix() {
    let server = Server::start();
    let admin = Session::admin(&server);
    let mut all = [&server.admin, &server.app, &server.ops].map(|client| client.identity().as_str().to_owned());
    all.sort();
    for pattern in ["", "*"] {
        let answer = admin.get(&format!("/v1/identity/list/{pattern}")).await;
        assert_eq!(answer.json(), json!({ "identities": all, "continue_at": "" }));
    }
    for identity in &all {
        for pattern in [identity.clone(), format!("{}*", &identity[..20])] {
            let answer = admin.get(&format!("/v1/identity/list/{pattern}")).await;
            assert_eq!(answer.json()["identities"], json!([identity]), "{pattern}");
        }
    }
    for pattern in ["a.b", "**", "-", "a%2Fb"] {
        let answer = admin.get(&format!("/v1/identity/list/{pattern}")).await;
        assert_eq!(not_an_error(&answer, 400), None, "{pattern}");
    }
}

#[tokio::test]
async fn a_client_learns_who_it_is_and_what_it_may_do() {
    let server = Server::start();
    let of_app = Session::new(&server, &server.app).get("/v1/identity/self/describe").await.json();
    assert_eq!(of_app["identity"], server.app.identity().as_str());
    let policy = server.get("/v1/policy/read/app").await.json();
    assert_eq!((&of_app["policy"], &of_app["created_by"]), (&json!("app"), &policy["created_by"]));
    assert_eq!((&of_app["allow"], &of_app["deny"]), (&policy["allow"], &policy["deny"]));
    let of_admin = server.get("/v1/identity/self/describe").await.json();
    assert_eq!(of_admin["identity"], server.admin.identity().as_str());
    assert_eq!((&of_admin["admin"], &of_admin["policy"]), (&json!(true), &Value::Null));
}
