//! The decision about access, which the gate and `policy explain` share: both give the same answer to every spelling of
//! a path.

use keyway::policy::Policies;
use keyway::routes;
use keyway::server::access;
use reqwest::Method;
use time::OffsetDateTime;

use super::paths::spellings;
use super::{Session, assert_none};
use crate::support::{Raw, Server, Shell};

/// The status of a request for an existing key, from the pure functions only.
fn decided(config: &keyway::config::Config, policies: &Policies, server: &Server, method: &str, target: &str) -> u16 {
    let Ok(uri) = target.parse::<axum::http::Uri>() else { return 400 };
    let Some(path) = routes::decode(uri.path()) else { return 400 };
    let Some(route) = routes::of(uri.path()) else { return 404 };
    if !route.takes(&method.parse::<Method>().unwrap()) {
        return 405;
    }
    let identity = server.app.identity();
    let decision = access::decide(route, Some(&identity), &path, config.skips_auth(route), policies);
    if !decision.is_allowed() {
        return 403;
    }
    if route.argument.is_valid(route.argument_in(&path)) { 200 } else { 400 }
}

#[tokio::test]
async fn the_gate_and_the_pure_decision_give_one_answer_to_every_spelling() {
    let server = Server::start();
    let admin = Session::admin(&server);
    for name in ["app-1", "app-internal1"] {
        admin.create(name).await;
    }
    let config = keyway::config::read(&server.dir.path().join("config.yml")).unwrap();
    let (policies, identities) = (config.policies.clone(), config.identities.clone());
    let policies = Policies::new(config.admin.clone(), policies, identities, OffsetDateTime::UNIX_EPOCH);
    let mut failures = Vec::new();
    for (method, path) in [
        ("PUT", "/v1/key/generate/app-internal1"),
        ("PUT", "/v1/key/generate/app-1"),
        ("GET", "/v1/key/list/"),
        ("GET", "/v1/key/list"),
        ("GET", "/v1/policy/read/ops"),
        ("GET", "/v1/status"),
        ("GET", "/ready"),
        ("GET", "/version"),
    ] {
        let mut connection = Raw::connect(&server, &server.app).await;
        for spelling in spellings(path) {
            let expected = decided(&config, &policies, &server, method, &spelling);
            connection.send(format!("{method} {spelling} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
            match connection.answer().await {
                // A key or a policy that does not exist is past the gate.
                Ok(answer) if answer.status == 404 && expected == 200 && answer.text().contains("does not exist") => {}
                Ok(answer) if answer.status == expected => {}
                Ok(answer) => failures.push(format!("{method} {spelling}: {} is not {expected}", answer.status)),
                Err(error) => failures.push(format!("{method} {spelling}: {error}")),
            }
            if connection.is_closing() {
                connection = Raw::connect(&server, &server.app).await;
            }
        }
    }
    assert_none(&failures);
    server.assert_serves().await;
}

#[tokio::test]
async fn policy_explain_answers_what_the_server_answers() {
    let server = Server::start();
    Session::admin(&server).create("app-1").await;
    let shell = Shell::of(&server, &server.admin);
    let file = server.dir.path().join("config.yml").display().to_string();
    let app = server.app.identity();
    for (method, target, code, said) in [
        ("GET", "/v1/key/list", 0, "rule: /v1/key/list/*"),
        ("GET", "/v1/key/list/", 0, "rule: /v1/key/list/*"),
        ("GET", "/v1/key/list/app*", 0, "rule: /v1/key/list/*"),
        ("PUT", "/v1/key/generate/%61pp-1", 0, "rule: /v1/key/generate/app*"),
        ("POST", "https://localhost/v1/key/generate/app-1?x=1", 0, "rule: /v1/key/generate/app*"),
        ("PUT", "/v1/key/generate/app%2dinternal", 3, "rule: /v1/key/generate/app-internal*"),
        ("PUT", "/v1/key/%67enerate/app-1", 2, "404"),
        ("PUT", "/v1/key/%63reate/x", 2, "404"),
        ("GET", "/v1/status/", 2, "404"),
        ("GET", "/v1/policy/list", 3, "no rule"),
        ("DELETE", "/v1/key/generate/app-1", 2, "405"),
        ("PUT", "/v1/key/generate/app.1", 2, "400"),
        ("GET", "/v1/key/list/a.b", 2, "400"),
        ("PUT", "/v1/key/generate/%zz", 2, "400"),
    ] {
        let ended = shell.run(&["policy", "explain", app.as_str(), method, target, "--config", &file]);
        let output = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(code), "{method} {target}: {output}");
        assert!(output.contains(said), "{method} {target}: {output}");
        let status = crate::support::raw::request(&server, &server.app, method, target, b"").await.unwrap().status;
        let expected = match code {
            0 => 200,
            3 => 403,
            _ => said.parse().unwrap(),
        };
        // Arguments are checked after access: what is not allowed is a 403 whatever its argument.
        assert!(status == expected || (expected == 400 && status == 403), "{method} {target}: {status}");
    }
    server.assert_serves().await;
}
