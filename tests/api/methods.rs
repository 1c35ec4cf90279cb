//! Methods, for every row of the route table.

use keyway::routes::ROUTES;
use reqwest::Method;

use super::{Session, assert_none, not_an_error};
use crate::support::server::send;
use crate::support::{Raw, Server};

/// The path of a route, with an argument where it takes one.
fn path(route: &keyway::routes::Route) -> String {
    if route.path.ends_with('/') { format!("{}key", route.path) } else { route.path.to_owned() }
}

#[tokio::test]
async fn a_method_that_an_api_does_not_take_is_answered_with_those_it_takes() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    let mut failures = Vec::new();
    for route in ROUTES {
        let taken = if route.method == Method::PUT { "PUT, POST" } else { route.method.as_str() };
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "QUERY"]
        {
            if taken.split(", ").any(|taken| taken == method) {
                continue;
            }
            let request = admin.http.request(method.parse().unwrap(), server.url(&path(route)));
            let answer = send(request, None).await.unwrap();
            let allow = answer.headers.get("allow").map_or("", |value| value.to_str().unwrap());
            if allow != taken || answer.status != 405 {
                failures.push(format!("{method} {}: {}, Allow: {allow:?}", route.path, answer.status));
            }
            let message = format!("received method '{method}' expected '{}'", route.method);
            if method == "HEAD" {
                failures.extend((!answer.body.is_empty()).then(|| format!("HEAD {} has a body", route.path)));
            } else if let Some(failure) =
                not_an_error(&answer, 405).or_else(|| (answer.message() != message).then(|| answer.message()))
            {
                failures.push(format!("{method} {}: {failure}", route.path));
            }
        }
    }
    assert_none(&failures);
    assert_eq!(admin.get("/v1/key/describe/key").await.status, 200, "a refused method has deleted the key");
    server.assert_serves().await;
}

#[tokio::test]
async fn post_is_taken_wherever_put_is() {
    let server = Server::start();
    let admin = Session::admin(&server);
    let post = async |path: &str, body: &str| {
        send(admin.http.post(server.url(path)).body(body.to_owned()), None).await.unwrap()
    };
    let key = format!(r#"{{"bytes":"{}"}}"#, super::base64(&[1; 32]));
    for (path, body) in [
        ("/v1/key/create/key", ""),
        ("/v1/key/import/imported", key.as_str()),
        ("/v1/key/generate/key", ""),
        ("/v1/key/encrypt/key", r#"{"plaintext":""}"#),
        ("/v1/key/hmac/key", r#"{"message":""}"#),
    ] {
        let answer = post(path, body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let (plaintext, ciphertext) = admin.data_key("key").await;
    let answer = post("/v1/key/decrypt/key", &format!(r#"{{"ciphertext":"{ciphertext}"}}"#)).await;
    assert_eq!(answer.json()["plaintext"], plaintext);
    server.assert_serves().await;
}

#[tokio::test]
async fn only_the_method_decides_what_is_done() {
    let server = Server::start();
    let admin = Session::admin(&server);
    admin.create("key").await;
    for header in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        let request = admin.http.post(server.url("/v1/key/delete/key")).header(header, "DELETE");
        assert_eq!(send(request, None).await.unwrap().status, 405, "{header}");
    }
    assert_eq!(admin.delete("/v1/key/delete/key?_method=GET").await.status, 200);
    server.assert_serves().await;
}

#[tokio::test]
async fn connect_and_the_server_wide_options_are_answered() {
    let server = Server::start();
    for request in ["CONNECT localhost:443", "CONNECT /v1/status", "OPTIONS *", "GET *", "PRI *"] {
        let mut raw = Raw::connect(&server, &server.admin).await;
        raw.send(format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let status = raw.status().await;
        assert!(matches!(status, Ok(400..=405)), "{request}: {status:?}");
    }
    server.assert_serves().await;
}
