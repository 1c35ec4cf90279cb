//! Who may ask what.

use keyway::routes::{Access, ROUTES};

use super::{Session, assert_none, base64, not_an_error};
use crate::support::server::send;
use crate::support::{Client, Events, Server, Setup};

const NOT_AUTHORIZED: &str = "not authorized: insufficient permissions";

/// The path of a route, with an argument where it takes one.
fn path(route: &keyway::routes::Route) -> String {
    if route.path.ends_with('/') { format!("{}app-1", route.path) } else { route.path.to_owned() }
}

#[tokio::test]
async fn a_client_without_a_policy_may_ask_nothing_that_needs_one() {
    let server = Server::start();
    Session::admin(&server).create("app-1").await;
    let http = server.http(Some(&server.stranger));
    let mut failures = Vec::new();
    for route in ROUTES {
        let request = http.request(route.method.clone(), server.url(&path(route)));
        let answer = send(request, None).await.unwrap();
        let expected = match route.access {
            Access::Open => 200,
            Access::Certificate => 404,
            Access::Policy | Access::Skippable => 403,
        };
        if answer.status != expected {
            failures.push(format!("{}: {} {}", route.path, answer.status, answer.text()));
        } else if expected == 403 && answer.message() != NOT_AUTHORIZED {
            failures.push(format!("{}: {}", route.path, answer.text()));
        }
    }
    assert_none(&failures);
    assert_eq!(Session::admin(&server).get("/v1/key/describe/app-1").await.status, 200);
}

#[tokio::test]
async fn a_client_may_ask_what_its_policy_allows_and_nothing_else() {
    let server = Server::start();
    let mut failures = Vec::new();
    Session::admin(&server).create("app-1").await;
    for (client, name, allowed) in [
        (
            &server.app,
            "app",
            ["/v1/key/create/", "/v1/key/generate/", "/v1/key/decrypt/", "/v1/key/list/", "/v1/status"].as_slice(),
        ),
        (&server.ops, "ops", ["/v1/metrics", "/v1/key/describe/"].as_slice()),
    ] {
        let http = server.http(Some(client));
        for route in ROUTES.iter().filter(|route| matches!(route.access, Access::Policy | Access::Skippable)) {
            let request = http.request(route.method.clone(), server.url(&path(route)));
            let answer = send(request, None).await.unwrap();
            let passed = answer.status != 403;
            if passed != allowed.contains(&route.path) {
                // The policy `app` may be read by itself: its name is another argument.
                failures.push(format!("{name} {}: {} {}", route.path, answer.status, answer.text()));
            }
        }
    }
    assert_none(&failures);
}

#[tokio::test]
async fn the_policy_is_asked_before_the_key_and_before_the_body() {
    let server = Server::start();
    let app = Session::new(&server, &server.app);
    for path in [
        "/v1/key/generate/other",
        "/v1/key/encrypt/app-1",
        "/v1/key/import/app-1",
        "/v1/key/hmac/a.b",
        "/v1/key/generate/",
    ] {
        for body in ["", "{", &"x".repeat((1 << 20) + 1)] {
            let answer = send(app.http.put(server.url(path)).body(body.to_owned()), None).await.unwrap();
            assert_eq!(not_an_error(&answer, 403), None, "{path}");
            assert_eq!(answer.message(), NOT_AUTHORIZED, "a client without a rule learns more than that: {path}");
        }
    }
}

#[tokio::test]
async fn a_client_that_is_not_a_proxy_speaks_only_for_itself() {
    let server = Server::with(Setup {
        tls: "proxy:\n  identities: ['@ops@']\n  header:\n    cert: X-Tls-Client-Cert".to_owned(),
        ..Setup::default()
    });
    let mut audit = Events::audit(&server).await;
    let admin_certificate = base64(&server.admin.certificates[0]);
    let http = server.http(Some(&server.app));
    for (header, value) in [
        ("X-Forwarded-For", "10.1.2.3"),
        ("X-Forwarded-For", "10.1.2.3, 10.4.5.6"),
        ("Forwarded", "for=10.1.2.3"),
        ("X-Real-IP", "10.1.2.3"),
        ("True-Client-IP", "10.1.2.3"),
        ("X-Tls-Client-Cert", &admin_certificate),
        ("X-Tls-Client-Cert", "nonsense"),
    ] {
        let request = http.delete(server.url("/v1/key/delete/app-1")).header(header, value);
        assert_eq!(send(request, None).await.unwrap().status, 403, "{header}: {value}");
        let event = audit.of("/v1/key/delete/app-1").await;
        assert_eq!(event["request"]["ip"], "127.0.0.1", "{header}: {value}");
        assert_eq!(event["request"]["identity"], server.app.identity().as_str(), "{header}: {value}");
    }
}

#[tokio::test]
async fn a_proxy_speaks_for_the_client_of_its_header_and_has_no_rights_of_its_own() {
    let server = Server::with(Setup {
        tls: "proxy:\n  identities: ['@ops@']\n  header:\n    cert: X-Tls-Client-Cert".to_owned(),
        ..Setup::default()
    });
    let mut audit = Events::audit(&server).await;
    let proxy = server.http(Some(&server.ops));
    let certificate = |client: &Client| base64(&client.certificates[0]);
    for (client, status) in [(&server.admin, 200), (&server.app, 200), (&server.stranger, 403), (&server.ops, 403)] {
        let request = proxy
            .get(server.url("/v1/status"))
            .header("X-Tls-Client-Cert", certificate(client))
            .header("X-Forwarded-For", "10.9.9.9, 10.1.2.3");
        let answer = send(request, None).await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        let event = audit.of("/v1/status").await;
        assert_eq!(event["request"]["ip"], "10.1.2.3");
        assert_eq!(event["request"]["identity"], client.identity().as_str());
    }
    let request = proxy.get(server.url("/v1/metrics"));
    let answer = send(request, None).await.unwrap();
    assert_eq!(not_an_error(&answer, 400), None, "a proxy asks in its own name");
}

#[tokio::test]
async fn the_admin_may_ask_everything() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("app-1").await;
    for route in ROUTES.iter().filter(|route| !route.path.starts_with("/v1/log/")) {
        let request = admin.http.request(route.method.clone(), server.url(&path(route)));
        let answer = send(request, None).await.unwrap();
        assert_ne!(answer.status, 403, "{}", route.path);
    }
}
