//! A running server that reads its config again: all of it or nothing, and no request notices.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::task::JoinSet;

use crate::services::vault::Program;
use crate::support::program::run;
use crate::support::server::{PATIENCE, send};
use crate::support::stores::{self, Kv};
use crate::support::{Client, Events, Raw, Server, Setup, heavy, until};

/// The counter of reloads with this result.
async fn reloads(server: &Server, result: &str) -> f64 {
    server
        .metric(if result == "success" { "keyway_config_reloads_total" } else { "keyway_config_reload_failures_total" })
        .await
}

/// Waits until one more reload has ended with this result.
async fn until_reloaded(server: &Server, result: &str, before: f64) {
    let missing = || format!("no {result} of a reload:\n{}", server.log());
    until(PATIENCE, missing, async || reloads(server, result).await >= before + 1.0).await;
}

/// Changes the config file and waits until the server has read it.
async fn reload(server: &Server, result: &str, change: impl FnOnce(String) -> String) {
    let before = reloads(server, result).await;
    edit(server, change);
    server.signal(Signal::HUP);
    until_reloaded(server, result, before).await;
}

/// Changes the config file at once, as an editor does.
fn edit(server: &Server, change: impl FnOnce(String) -> String) {
    let (file, new) = (server.dir.path().join("config.yml"), server.dir.path().join("config.new"));
    fs::write(&new, change(fs::read_to_string(&file).unwrap())).unwrap();
    fs::rename(new, file).unwrap();
}

fn server_certificate(name: &str) -> Client {
    Client::with_params(name, rcgen::KeyPair::generate().unwrap(), |params| {
        params.subject_alt_names = vec![rcgen::SanType::IpAddress([127, 0, 0, 1].into())];
    })
}

/// Puts another certificate in the place of the server's own.
fn write_certificate(dir: &Path, certificate: &Client) -> CertificateDer<'static> {
    let (certificate, key) = certificate.pem();
    fs::write(dir.join("server.key"), key).unwrap();
    fs::write(dir.join("server.cert"), &certificate).unwrap();
    CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
}

/// Waits until the server has the certificate that we know, for a client that trusts no other.
async fn until_renewed(server: &Server) {
    let http = server.http(Some(&server.admin));
    let ask = async || http.get(server.url("/version")).send().await.is_ok();
    until(Duration::from_secs(5), || server.log(), ask).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_has_changed_holds_for_the_next_request_of_an_open_connection() {
    let server = Server::start();
    assert_eq!(server.put("/v1/key/create/app-key", None).await.status, 200);
    let mut connection = Raw::connect(&server, &server.app).await;
    assert_eq!(connection.request("PUT", "/v1/key/generate/app-key", b"").await.unwrap().status, 200);
    let mut events = Events::audit(&server).await;
    reload(&server, "success", |config| config.replace("- /v1/key/generate/app*", "- /v1/key/generate/none*")).await;
    assert_eq!(connection.request("PUT", "/v1/key/generate/app-key", b"").await.unwrap().status, 403);
    let event = events.find(|event| event["request"]["path"] == "/config/reload").await;
    assert_eq!(event["response"]["code"], 200, "{event}");
    let refused = events.find(|event| event["response"]["code"] == 403).await;
    assert!(refused["reason"].as_str().unwrap().contains("/v1/key/generate/none*"), "the stream lives on: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_with_a_mistake_changes_nothing_and_is_reported_in_log_metric_and_audit() {
    let server = Server::start();
    let mut events = Events::audit(&server).await;
    let mut errors = Events::error(&server).await;
    let good = fs::read_to_string(server.dir.path().join("config.yml")).unwrap();
    let mistakes: [(&str, &dyn Fn(String) -> String); 7] = [
        ("polcy", &|config: String| config.replace("policy:", "polcy:")),
        ("server.none", &|config: String| config.replace("server.key", "server.none")),
        ("not valid YAML", &|config: String| config + "\n\t{"),
        ("address cannot be changed by a reload (from 127.0.0.1:0 to 127.0.0.1:1); restart", &|config: String| {
            config.replace("address: 127.0.0.1:0", "address: 127.0.0.1:1")
        }),
        ("probe.address cannot be changed by a reload (from none to 127.0.0.1:2); restart", &|config: String| {
            config + "\nprobe: {address: 127.0.0.1:2}\n"
        }),
        ("cache.max_entries cannot be changed by a reload (from 100000 to 5); restart", &|config: String| {
            config + "\ncache: {max_entries: 5}\n"
        }),
        ("cannot open the keystore (fs)", &|config: String| config.replace("/keys}", "/config.yml/keys}")),
    ];
    for (number, (reason, mistake)) in mistakes.into_iter().enumerate() {
        reload(&server, "failure", |_| mistake(good.clone())).await;
        let event = events.find(|event| event["request"]["path"] == "/config/reload").await;
        assert_eq!(event["response"]["code"], 500, "{event}");
        assert!(event["reason"].as_str().unwrap().contains(reason), "{reason}: {event}");
        let line = errors.find(|event| event["message"].as_str().unwrap().contains("config reload failed")).await;
        assert!(line["message"].as_str().unwrap().contains(reason), "{reason}: {line}");
        assert!(server.metric("keyway_config_last_reload_successful").await < 0.5);
        let create = server.put(&format!("/v1/key/create/app-{number}"), None).await;
        assert_eq!(create.status, 200, "{reason}: {}", create.text());
    }
    reload(&server, "success", |_| good).await;
    assert!(server.metric("keyway_config_last_reload_successful").await > 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_found_without_a_signal_and_open_connections_live_on() {
    let mut server = Server::start();
    let mut old = Raw::connect(&server, &server.admin).await;
    assert_eq!(old.request("GET", "/version", b"").await.unwrap().status, 200);
    let mut events = Events::audit(&server).await;
    server.certificate = write_certificate(server.dir.path(), &server_certificate("renewed"));
    until_renewed(&server).await;
    assert_eq!(old.request("GET", "/version", b"").await.unwrap().status, 200);
    events.find(|event| event["request"]["path"] == "/version").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_a_new_pair_is_refused_and_the_whole_is_taken() {
    let mut server = Server::start();
    let renewed = server_certificate("renewed");
    let before = reloads(&server, "failure").await;
    fs::write(server.dir.path().join("server.cert"), renewed.pem().0).unwrap();
    until_reloaded(&server, "failure", before).await;
    assert!(server.log().contains("does not belong to"), "{}", server.log());
    server.assert_serves().await;
    server.certificate = write_certificate(server.dir.path(), &renewed);
    until_renewed(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_behind_a_link_that_kubernetes_swaps_is_read_again() {
    use std::os::unix::fs::symlink;
    let server = Server::start();
    let path = |name: &str| server.dir.path().join(name);
    let text = fs::read_to_string(path("config.yml")).unwrap();
    for (version, text) in [("..1", text.clone()), ("..2", text.replace("/v1/status", "/v1/metrics"))] {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("config.yml"), text).unwrap();
    }
    let before = reloads(&server, "success").await;
    symlink("..1", path("..data")).unwrap();
    symlink("..data/config.yml", path("link")).unwrap();
    fs::rename(path("link"), path("config.yml")).unwrap();
    until_reloaded(&server, "success", before).await;
    assert_eq!(server.request(&server.app, reqwest::Method::GET, "/v1/status", None).await.status, 200);
    symlink("..2", path("..new")).unwrap();
    fs::rename(path("..new"), path("..data")).unwrap();
    until_reloaded(&server, "success", before + 1.0).await;
    assert_eq!(server.request(&server.app, reqwest::Method::GET, "/v1/status", None).await.status, 403);
    assert_eq!(server.request(&server.app, reqwest::Method::GET, "/v1/metrics", None).await.status, 200);
}

/// The config with another keystore.
fn with_keystore(config: &str, keystore: &str) -> String {
    let (head, _) = config.split_once("keystore:").unwrap();
    format!("{head}keystore:\n  {keystore}\n")
}

/// Copies all keys of a server to another keystore.
fn migrate(server: &Server, keystore: &str) {
    let (from, to) = (server.dir.path().join("config.yml"), server.dir.path().join("new.yml"));
    fs::write(&to, with_keystore(&fs::read_to_string(&from).unwrap(), keystore)).unwrap();
    let ended = run(["migrate".as_ref(), "--from".as_ref(), from.as_os_str(), "--to".as_ref(), to.as_os_str()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_keystore_takes_over_for_new_requests() {
    let server = Server::start();
    let dir = server.dir.path().display();
    assert_eq!(server.put("/v1/key/create/old", None).await.status, 200);
    let sqlite = format!("sqlite: {{path: {dir}/keys.db}}\nkeys:\n- name: old");
    migrate(&server, &sqlite);
    reload(&server, "success", |config| with_keystore(&config, &sqlite)).await;
    assert_eq!(server.put("/v1/key/generate/old", None).await.status, 200);
    assert_eq!(server.put("/v1/key/create/new", None).await.status, 200);
    server.logged("closed the previous keystore").await;
    reload(&server, "success", |config| with_keystore(&config, &format!("fs: {{path: {dir}/keys}}"))).await;
    assert_eq!(server.put("/v1/key/generate/old", None).await.status, 200);
    assert_eq!(server.put("/v1/key/generate/new", None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_creates_no_keystore_changes_to_no_empty_one_and_creates_no_keys_in_another_one() {
    let server = Server::start();
    let dir = server.dir.path().display().to_string();
    assert_eq!(server.put("/v1/key/create/key", None).await.status, 200);
    let other = server.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::create_dir(server.dir.path().join("empty")).unwrap();
    fs::copy(server.dir.path().join("keys/key"), other.join("another")).unwrap();
    let before: Vec<_> = entries(server.dir.path());
    for (keystore, words) in [
        (format!("fs: {{path: {dir}/kyes}}"), format!("'{dir}/kyes' does not exist, and a reload creates none")),
        (format!("sqlite: {{path: {dir}/keys.db}}"), format!("'{dir}/keys.db' does not exist")),
        (format!("sqlite: {{path: {dir}/no/keys.db}}"), format!("'{dir}/no/keys.db' does not exist")),
        (format!("fs: {{path: {dir}/empty}}"), format!("'{dir}/empty' contains no keys")),
        ("memory: {}".to_owned(), "contains no keys".to_owned()),
        (format!("fs: {{path: {dir}/other}}\nkeys: [{{name: key}}]"), "key 'key', which the config lists".to_owned()),
    ] {
        reload(&server, "failure", |config| with_keystore(&config, &keystore)).await;
        server.logged(&words).await;
        assert_eq!(server.put("/v1/key/generate/key", None).await.status, 200, "{keystore}");
        assert_eq!(server.put("/v1/key/create/key", None).await.message(), "key already exists", "{keystore}");
    }
    assert_eq!(entries(server.dir.path()), before, "nothing is created");
    // And what is there is used.
    reload(&server, "success", |config| with_keystore(&config, &format!("fs: {{path: {dir}/other}}"))).await;
    assert_eq!(server.put("/v1/key/generate/another", None).await.status, 200);
}

/// All files and directories in a directory, but for the logs that the server writes.
fn entries(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    for entry in entries.clone() {
        if entry.is_dir() {
            entries.extend(self::entries(&entry));
        }
    }
    entries.sort();
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keystore_is_closed_when_the_last_request_that_uses_it_is_done() {
    let server = Server::start();
    assert_eq!(server.put("/v1/key/create/kept", None).await.status, 200);
    let sqlite = format!("sqlite: {{path: {}/keys.db}}", server.dir.path().display());
    migrate(&server, &sqlite);
    assert_eq!(server.put("/v1/key/create/old", None).await.status, 200);
    let mut open = Raw::connect(&server, &server.admin).await;
    let body = br#"{"plaintext":"aGVsbG8="}"#;
    let head = format!("PUT /v1/key/encrypt/old HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    open.send([head.as_bytes(), &body[..9]].concat()).await;
    server.until_active(1).await;
    reload(&server, "success", |config| with_keystore(&config, &sqlite)).await;
    assert_eq!(server.put("/v1/key/generate/old", None).await.status, 404, "new requests use the new one");
    tokio::time::sleep(Duration::from_millis(300)).await; // nothing is closed
    assert!(!server.log().contains("is closed"), "{}", server.log());
    open.send(&body[9..]).await;
    let answer = open.answer().await.unwrap();
    assert_eq!(answer.status, 200, "the open request has the keystore that it began with: {}", answer.text());
    server.logged("closed the previous keystore").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_cache_change_with_the_config() {
    let server = Server::start();
    assert_eq!(server.put("/v1/key/create/key", None).await.status, 200);
    reload(&server, "success", |config| format!("{config}\nlimits: {{subscribers: 0}}\ncache: off\n")).await;
    assert_eq!(server.get("/v1/log/audit").await.status, 429);
    let reads = "keyway_keystore_read_latency_seconds_count";
    let before = server.metric(reads).await;
    for _ in 0..5 {
        assert_eq!(server.put("/v1/key/generate/key", None).await.status, 200);
    }
    assert!(server.metric(reads).await > before + 4.5, "keys are still served from the cache");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_and_the_level_of_the_log_change_with_the_config() {
    let server = Server::start();
    reload(&server, "success", |config| format!("{config}\nlog: {{error: DEBUG, format: json}}\n")).await;
    server.request(&server.app, reqwest::Method::PUT, "/v1/key/encrypt/none", None).await;
    let line = server.log_line(|line| line.starts_with('{') && line.contains("request rejected")).await;
    assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
    reload(&server, "success", |config| config.replace("error: DEBUG, format: json", "error: off")).await;
    // Its own line was written before the log was turned off, and reaches the file later.
    server.log_line(|line| line.starts_with('{') && line.contains("reloading config")).await;
    let length = server.log().len();
    server.request(&server.app, reqwest::Method::PUT, "/v1/key/encrypt/none", None).await;
    tokio::time::sleep(Duration::from_millis(200)).await; // nothing is written
    assert_eq!(server.log().len(), length, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_reloads_under_load_cost_no_request() {
    const RELOADS: u32 = 500;
    let _turn = heavy();
    let server = Arc::new(Server::with(Setup { extra: "cache: {expiry: {any: 1s}}\n".to_owned(), ..Setup::default() }));
    assert_eq!(server.put("/v1/key/create/app-key", None).await.status, 200);
    let (done, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for number in 0..8 {
        let (server, done, requests) = (server.clone(), done.clone(), requests.clone());
        clients.spawn(async move {
            let http = if number % 2 == 0 { server.http(Some(&server.app)) } else { server.http2(Some(&server.app)) };
            let mut http = http;
            while !done.load(Ordering::Relaxed) {
                let generate = send(http.put(server.url("/v1/key/generate/app-key")), None).await.unwrap();
                assert_eq!(generate.status, 200, "{}", generate.text());
                let body = json!({ "ciphertext": generate.json()["ciphertext"] });
                let decrypt = send(http.put(server.url("/v1/key/decrypt/app-key")), Some(body)).await.unwrap();
                assert_eq!(decrypt.json()["plaintext"], generate.json()["plaintext"], "{}", decrypt.text());
                if requests.fetch_add(2, Ordering::Relaxed) % 50 < 2 {
                    http = server.http(Some(&server.app)); // new connections meet the new TLS config
                }
            }
        });
    }
    let start = Instant::now();
    let mut seen = 0.0;
    for number in 0..RELOADS {
        edit(&server, |config| {
            let (head, _) = config.split_once("\nlog:").unwrap_or((&config, ""));
            format!("{head}\nlog: {{audit: off, error: {}}}\n", if number % 2 == 0 { "INFO" } else { "WARN" })
        });
        server.signal(Signal::HUP);
        until_reloaded(&server, "success", seen).await;
        seen = reloads(&server, "success").await;
    }
    let elapsed = start.elapsed();
    done.store(true, Ordering::Relaxed);
    clients.join_all().await;
    assert!(reloads(&server, "failure").await < 0.5);
    println!(
        "reload | {seen} reloads in {:.1} s | {} requests in the meantime, none failed",
        elapsed.as_secs_f64(),
        requests.load(Ordering::Relaxed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_tries_a_refused_login_to_vault_at_once() {
    let vault = stores::start(Program::OpenBao).await;
    let keystore = stores::vault(&vault, &vault.url(), Kv::V2, "reload");
    let value = |key: &str| keystore.split_once(key).unwrap().1.lines().next().unwrap().to_owned();
    let (id, secret) = (value("id: "), value("secret: "));
    let server = Server::on(&keystore);
    let list = async || server.get("/v1/key/list/").await.status;
    assert_eq!(list().await, 200);
    vault.root("DELETE", "auth/approle/role/keyway", &json!(null));
    vault.revoke_all();
    // Refused at once, after 1 s and after 4 more; the next attempt is a minute later.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        assert!(list().await >= 500);
        tokio::time::sleep(Duration::from_millis(100)).await; // the load of a client
    }
    vault.root("POST", "auth/approle/role/keyway", &json!({"token_policies": ["keyway"]}));
    vault.root("POST", "auth/approle/role/keyway/role-id", &json!({"role_id": id}));
    vault.root("POST", "auth/approle/role/keyway/custom-secret-id", &json!({"secret_id": secret}));
    assert!(list().await >= 500, "the login waits");
    server.signal(Signal::HUP);
    until(Duration::from_secs(10), || server.log(), async || list().await == 200).await;
    assert_eq!(server.log().matches("cannot log in to Vault again").count(), 1, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_a_reload_takes_the_rights_of_its_subscriber() {
    let policies = "policy:\n  watch:\n    allow: [/v1/log/*]\n    identities: [\"@ops@\", \"@app@\"]\n".to_owned();
    let server = Server::with(Setup { policies, ..Setup::default() });
    let mut ended = Events::subscribe(&server, &server.ops, "/v1/log/audit").await.unwrap();
    let mut kept = Events::subscribe(&server, &server.app, "/v1/log/audit").await.unwrap();
    let mut admin = Events::audit(&server).await;
    reload(&server, "success", |config| config.replace(&format!("\"{}\", ", server.ops.identity()), "")).await;
    let end = async { while ended.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the stream goes on");
    server.logged("ended a log stream").await;
    server.get("/v1/api").await;
    kept.of("/v1/api").await;
    admin.of("/v1/api").await;
}
