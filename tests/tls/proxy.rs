//! `tls.proxy`: a proxy that ends the TLS of clients names them in a header, and nobody else may.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::RequestBuilder;

use crate::support::server::{Answer, send};
use crate::support::{Client, Server, Setup, eventually_blocking};

const HEADER: &str = "X-Tls-Client-Cert";

/// A server behind the proxy `stranger`, which writes its audit log to standard output.
fn behind_a_proxy() -> Server {
    Server::with(Setup {
        tls: format!("proxy:\n  identities:\n  - @stranger@\n  header:\n    cert: {HEADER}"),
        extra: "log:\n  audit: on\n".to_owned(),
        ..Setup::default()
    })
}

/// `$ssl_client_escaped_cert` of nginx.
fn escaped_as_by_nginx(client: &Client) -> String {
    [('+', "%2B"), ('/', "%2F"), (' ', "%20"), ('\n', "%0A"), ('=', "%3D")]
        .into_iter()
        .fold(client.pem().0, |text, (from, to)| text.replace(from, to))
}

/// `url.QueryEscape` of Go, whose reverse KES applies: a space is a plus.
fn escaped_as_by_go(client: &Client) -> String {
    escaped_as_by_nginx(client).replace("%20", "+")
}

/// Everything escaped that may be.
fn escaped(client: &Client) -> String {
    utf8_percent_encode(&client.pem().0, NON_ALPHANUMERIC).to_string()
}

/// Only the body of the PEM, escaped, as Traefik sends it.
fn escaped_as_by_traefik(client: &Client) -> String {
    utf8_percent_encode(&STANDARD.encode(&client.certificates[0]), NON_ALPHANUMERIC).to_string()
}

async fn ask(server: &Server, proxy: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = server.http(Some(proxy)).get(server.url(path));
    let add = |request: RequestBuilder, (name, value): &(&str, &str)| request.header(*name, *value);
    send(headers.iter().fold(request, add), None).await.unwrap()
}

#[tokio::test]
async fn a_client_behind_a_proxy_is_the_one_in_the_header() {
    let server = behind_a_proxy();
    let app = &server.app;
    for value in [escaped_as_by_nginx(app), STANDARD.encode(&app.certificates[0])] {
        let answer = ask(&server, &server.stranger, "/v1/identity/self/describe", &[(HEADER, &value)]).await;
        assert_eq!(answer.json()["identity"], server.app.identity().as_str(), "{value}");
        let answer = ask(&server, &server.stranger, "/v1/status", &[(HEADER, &value)]).await;
        assert_eq!(answer.status, 200);
        let answer = ask(&server, &server.stranger, "/v1/metrics", &[(HEADER, &value)]).await;
        assert_eq!(answer.status, 403, "the client's policy counts");
    }
}

#[tokio::test]
async fn a_certificate_may_be_escaped_as_any_proxy_does() {
    let server = behind_a_proxy();
    let app = &server.app;
    for value in [escaped(app), escaped_as_by_go(app), escaped_as_by_traefik(app)] {
        let answer = ask(&server, &server.stranger, "/v1/identity/self/describe", &[(HEADER, &value)]).await;
        assert_eq!(answer.status, 200, "{value}: {}", answer.text());
        assert_eq!(answer.json()["identity"], app.identity().as_str(), "{value}");
    }
}

#[tokio::test]
async fn the_header_of_a_client_that_is_not_a_proxy_is_ignored() {
    let server = behind_a_proxy();
    let admin = STANDARD.encode(&server.admin.certificates[0]);
    for value in [admin.as_str(), "garbage"] {
        let answer = ask(&server, &server.app, "/v1/identity/self/describe", &[(HEADER, value)]).await;
        assert_eq!(answer.json()["identity"], server.app.identity().as_str());
        assert_eq!(ask(&server, &server.app, "/v1/metrics", &[(HEADER, value)]).await.status, 403);
    }
    let headers = [(HEADER, admin.as_str()), ("X-Forwarded-For", "10.9.8.7")];
    ask(&server, &server.app, "/v1/status", &headers).await;
    let said = audit(&server, "/v1/status");
    assert!(said.contains(server.app.identity().as_str()) && said.contains("from 127.0.0.1 "), "{said}");
}

#[tokio::test]
async fn a_server_without_proxies_ignores_the_header() {
    let server = Server::start();
    let admin = STANDARD.encode(&server.admin.certificates[0]);
    let answer = ask(&server, &server.app, "/v1/identity/self/describe", &[(HEADER, &admin)]).await;
    assert_eq!(answer.json()["identity"], server.app.identity().as_str());
}

#[tokio::test]
async fn a_proxy_that_does_not_name_exactly_one_client_is_refused() {
    let server = behind_a_proxy();
    let (app, ops) = (STANDARD.encode(&server.app.certificates[0]), STANDARD.encode(&server.ops.certificates[0]));
    let none: &[(&str, &str)] = &[];
    for headers in
        [none, &[(HEADER, app.as_str()), (HEADER, ops.as_str())], &[(HEADER, app.as_str()), (HEADER, app.as_str())]]
    {
        let answer = ask(&server, &server.stranger, "/v1/status", headers).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.message().contains("exactly one") && answer.message().contains(HEADER), "{}", answer.text());
    }
    // Two certificates in one value are two clients too.
    let two = format!("{}{}", escaped_as_by_nginx(&server.app), escaped_as_by_nginx(&server.ops));
    let answer = ask(&server, &server.stranger, "/v1/status", &[(HEADER, &two)]).await;
    assert_eq!((answer.status, answer.message().as_str()), (400, "tls: received more than one client certificate"));
    server.assert_serves().await;
}

#[tokio::test]
async fn a_header_that_holds_no_certificate_is_refused() {
    let server = behind_a_proxy();
    let cut = &escaped_as_by_nginx(&server.app)[..200];
    let ca = STANDARD.encode(&Client::authority("ca").certificates[0]);
    for value in ["", "garbage", "-----BEGIN%20CERTIFICATE-----", cut, "AAAA", "%2", &ca] {
        let answer = ask(&server, &server.stranger, "/v1/status", &[(HEADER, value)]).await;
        assert_eq!(answer.status, 400, "{value}: {}", answer.text());
        assert!(answer.message().starts_with("tls: "), "{value}: {}", answer.text());
    }
    server.assert_serves().await;
}

#[tokio::test]
async fn the_audit_log_has_the_client_and_the_address_that_the_proxy_names() {
    let server = behind_a_proxy();
    let app = STANDARD.encode(&server.app.certificates[0]);
    let headers = [(HEADER, app.as_str()), ("X-Forwarded-For", "6.6.6.6, 10.1.2.3")];
    assert_eq!(ask(&server, &server.stranger, "/v1/status", &headers).await.status, 200);
    let said = audit(&server, "/v1/status");
    let (app, proxy) = (server.app.identity(), server.stranger.identity());
    assert!(said.contains(app.as_str()) && said.contains("from 10.1.2.3 "), "{said}");
    assert!(!said.contains(proxy.as_str()) && !said.contains("6.6.6.6"), "{said}");
}

/// The line of the audit log about a path.
fn audit(server: &Server, path: &str) -> String {
    let missing = || format!("no audit line about {path}: {}", server.output());
    let find = || server.output().lines().find(|line| line.contains(path)).map(str::to_owned);
    eventually_blocking(Duration::from_secs(10), missing, find)
}
