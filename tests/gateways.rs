//! Gateways in front of real services: two at a time, and with a network in between that fails.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::services::aws::Moto;
use crate::services::postgres::Postgres;
use crate::services::proxy::{Mode, Proxy};
use crate::services::vault::Program;
use crate::support::server::{send, unique};
use crate::support::stores::{self, Kv};
use crate::support::{Server, Setup, heavy, until};

/// Names that are raced for.
const NAMES: usize = 100;

/// Clients of each gateway in a race.
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_on_fs_one_creates_a_name() {
    let _turn = heavy();
    let dir = tempfile::tempdir().unwrap();
    race("fs", &format!("fs: {{path: {}/keys}}", dir.path().display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_on_sqlite_one_creates_a_name() {
    let _turn = heavy();
    let dir = tempfile::tempdir().unwrap();
    race("sqlite", &format!("sqlite: {{path: {}/keys.db}}", dir.path().display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_on_postgresql_one_creates_a_name() {
    let _turn = heavy();
    let service = Postgres::start();
    race("postgres", &stores::postgres(service.address(), &unique())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_on_openbao_kv_v1_one_creates_a_name() {
    let _turn = heavy();
    let service = stores::start(Program::OpenBao).await;
    race("OpenBao KV v1", &stores::vault(&service, &service.url(), Kv::V1, &unique())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_on_openbao_kv_v2_one_creates_a_name() {
    let _turn = heavy();
    let service = stores::start(Program::OpenBao).await;
    race("OpenBao KV v2", &stores::vault(&service, &service.url(), Kv::V2Transit, &unique())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_on_vault_kv_v2_one_creates_a_name() {
    let _turn = heavy();
    let service = stores::start(Program::Vault).await;
    race("Vault KV v2", &stores::vault(&service, &service.url(), Kv::V2, &unique())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_on_aws_one_creates_a_name() {
    let _turn = heavy();
    let service = Moto::start();
    race("AWS", &stores::aws(&service.endpoint(), &unique())).await;
}

/// All clients of two gateways create the same names at once and generate a data key of each. Exactly one create of a name
/// is answered with 200, the others with "key already exists", and every data key decrypts on both gateways.
#[expect(clippy::print_stdout, reason = "a line of the race table")]
async fn race(store: &str, keystore: &str) {
    let gateways: Vec<_> = (0..2).map(|_| Arc::new(Server::on(keystore))).collect();
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..2 * CLIENTS {
        let gateway = gateways[client % 2].clone();
        clients.spawn(async move {
            let http = gateway.http(Some(&gateway.admin));
            let mut results = Vec::new();
            for number in 0..NAMES {
                let name = format!("key-{number}");
                let create = send(http.put(gateway.url(&format!("/v1/key/create/{name}"))), None).await.unwrap();
                let won = create.status == 200;
                assert!(won || create.message() == "key already exists", "{}: {}", create.status, create.text());
                let generate = send(http.put(gateway.url(&format!("/v1/key/generate/{name}"))), None).await.unwrap();
                assert_eq!(generate.status, 200, "{name}: {}", generate.text());
                let field = |field: &str| generate.json()[field].as_str().unwrap().to_owned();
                results.push((name, won, field("plaintext"), field("ciphertext")));
            }
            results
        });
    }
    let results: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    let elapsed = start.elapsed();
    for number in 0..NAMES {
        let name = format!("key-{number}");
        let winners = results.iter().filter(|(other, won, ..)| *won && *other == name).count();
        assert_eq!(winners, 1, "{store}: {name}");
    }
    for gateway in &gateways {
        let http = gateway.http(Some(&gateway.admin));
        for (name, _, plaintext, ciphertext) in &results {
            let decrypt = http.put(gateway.url(&format!("/v1/key/decrypt/{name}")));
            let answer = send(decrypt, Some(json!({ "ciphertext": ciphertext }))).await.unwrap();
            assert_eq!(answer.json()["plaintext"], plaintext.as_str(), "{store}: {name}: {}", answer.text());
        }
    }
    println!(
        "race | {store} | {NAMES} names x 2 gateways x {CLIENTS} clients | one 200 a name | {} data keys decrypt on \
         both | {:.1} s",
        results.len(),
        elapsed.as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_fails_in_front_of_postgresql_loses_no_key() {
    let service = Postgres::start();
    let proxy = Proxy::start(service.address()).await;
    faults("postgres", &proxy, &stores::postgres(proxy.address(), &unique())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_fails_in_front_of_openbao_loses_no_key() {
    let service = stores::start(Program::OpenBao).await;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], service.port()))).await;
    let url = format!("http://{}", proxy.address());
    faults("OpenBao KV v2", &proxy, &stores::vault(&service, &url, Kv::V2Transit, &unique())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_fails_in_front_of_vault_loses_no_key() {
    let service = stores::start(Program::Vault).await;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], service.port()))).await;
    let url = format!("http://{}", proxy.address());
    faults("Vault KV v1", &proxy, &stores::vault(&service, &url, Kv::V1, &unique())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_fails_in_front_of_aws_loses_no_key() {
    let service = Moto::start();
    let upstream = service.endpoint().rsplit_once('/').unwrap().1.parse().unwrap();
    let proxy = Proxy::start(upstream).await;
    faults("AWS", &proxy, &stores::aws(&format!("http://{}", proxy.address()), &unique())).await;
}

/// Lets the network fail in every way, and checks that no answer is wrong, that no acknowledged key is lost, and that
/// the gateway serves again within 5 s of the network's return, without a restart.
#[expect(clippy::print_stdout, reason = "lines of the fault table")]
async fn faults(store: &str, proxy: &Proxy, keystore: &str) {
    const FAULTS: [(&str, Mode); 5] = [
        ("answer cut", Mode::CutAfter(0)),
        ("answer cut after 20 bytes", Mode::CutAfter(20)),
        ("10 s delay", Mode::Delay(Duration::from_secs(10))),
        ("black hole", Mode::BlackHole),
        ("refused", Mode::Refuse),
    ];
    // Nothing is served from the cache for longer than 1 ms, so that every request needs the store.
    let gateway = Arc::new(Server::with(Setup {
        keystore: keystore.to_owned(),
        extra: "cache: {expiry: {any: 1ms, unused: 1ms}}\n".to_owned(),
        ..Setup::default()
    }));
    let http = gateway.http(Some(&gateway.admin));
    let put = |path: String| send(http.put(gateway.url(&path)), None);
    let mut acknowledged = Vec::new();
    let mut table = String::new();
    for (number, (fault, mode)) in FAULTS.into_iter().enumerate() {
        let before = format!("before-{number}");
        assert_eq!(put(format!("/v1/key/create/{before}")).await.unwrap().status, 200);
        let data_key = put(format!("/v1/key/generate/{before}")).await.unwrap().json();
        acknowledged.push((before.clone(), Some(data_key)));

        proxy.set(mode);
        if mode == Mode::Refuse {
            proxy.cut_all();
        }
        let start = Instant::now();
        let mut seen = Vec::new();
        let created = format!("during-{number}");
        for path in [format!("create/{created}"), format!("generate/{before}"), format!("generate/none-{number}")] {
            let answer = put(format!("/v1/key/{path}")).await.unwrap();
            let expected: &[u16] = match path.split_once('/') {
                Some(("create", _)) => &[200, 502, 503, 504],
                Some((_, name)) if name == before => &[200, 502, 503, 504],
                _ => &[404, 502, 503, 504], // 404 is right for a name that does not exist, where the fault is over by then
            };
            assert!(expected.contains(&answer.status), "{store}, {fault}, {path}: {} {}", answer.status, answer.text());
            seen.push(answer.status);
        }
        let ready = send(http.get(gateway.url("/v1/ready")), None).await.unwrap().status;
        let during = start.elapsed();
        if seen[0] == 200 {
            acknowledged.push((created.clone(), None));
        }

        proxy.set(Mode::Pass);
        let back = Instant::now();
        until(
            Duration::from_secs(5),
            || format!("{store}, {fault}: {}", gateway.log()),
            async || {
                let answer = put(format!("/v1/key/generate/{before}")).await.unwrap();
                let ready = send(http.get(gateway.url("/v1/ready")), None).await.unwrap();
                answer.status == 200 && ready.status == 200
            },
        )
        .await;
        let recovered = back.elapsed();
        // A create without an answer has happened or has not; asked again it says so, and the key is whole.
        let again = put(format!("/v1/key/create/{created}")).await.unwrap();
        assert!(again.status == 200 || again.message() == "key already exists", "{}", again.text());
        assert!(seen[0] != 200 || again.status != 200, "{store}, {fault}: an acknowledged key was lost");
        assert_eq!(put(format!("/v1/key/generate/{created}")).await.unwrap().status, 200);
        let _ = writeln!(
            table,
            "fault | {store} | {fault} | create {}, read {}, read of an absent key {}, ready {ready}, in {:.1} s | \
             recovered in {:.2} s | keys lost: 0",
            seen[0],
            seen[1],
            seen[2],
            during.as_secs_f64(),
            recovered.as_secs_f64()
        );
    }
    for (name, data_key) in acknowledged {
        let generate = put(format!("/v1/key/generate/{name}")).await.unwrap();
        assert_eq!(generate.status, 200, "{store}: {name} is lost: {}", generate.text());
        let Some(data_key) = data_key else { continue };
        let decrypt = http.put(gateway.url(&format!("/v1/key/decrypt/{name}")));
        let answer = send(decrypt, Some(json!({ "ciphertext": data_key["ciphertext"] }))).await.unwrap();
        assert_eq!(answer.json()["plaintext"], data_key["plaintext"], "{store}: {name}");
    }
    print!("{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_is_restarted_is_found_again() {
    let mut service = Postgres::start();
    let gateway = Server::on(&stores::postgres(service.address(), &unique()));
    let before = data_key(&gateway, "before").await;
    service.stop();
    let create = gateway.put("/v1/key/create/during", None).await.status;
    assert!(matches!(create, 502 | 504), "{create}");
    assert_eq!(gateway.get("/v1/ready").await.status, 504);
    service.resume();
    assert_recovered(&gateway, "postgres", &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_openbao_that_is_restarted_is_found_again() {
    let mut service = stores::start(Program::OpenBao).await;
    let gateway = Server::on(&stores::vault(&service, &service.url(), Kv::V2Transit, &unique()));
    let before = data_key(&gateway, "before").await;
    service.stop();
    let create = gateway.put("/v1/key/create/during", None).await.status;
    assert!(matches!(create, 502 | 504), "{create}");
    assert_eq!(gateway.get("/v1/ready").await.status, 504);
    service.restart().await;
    assert_recovered(&gateway, "OpenBao", &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_vault_is_reported_in_ready_status_and_log() {
    let service = stores::start(Program::Vault).await;
    let gateway = Server::on(&stores::vault(&service, &service.url(), Kv::V2, &unique()));
    let before = data_key(&gateway, "before").await;
    service.seal();
    let ready = gateway.get("/v1/ready").await;
    assert_eq!((ready.status, ready.message().as_str()), (502, "key store is unavailable"));
    assert!(ready.json()["reason"].as_str().unwrap().contains("sealed"), "{}", ready.text());
    let status = gateway.get("/v1/status").await;
    assert!(status.json()["keystore_error"].as_str().unwrap().contains("sealed"), "{}", status.text());
    assert!(gateway.log().contains("sealed"), "{}", gateway.log());
    service.unseal().await;
    assert_recovered(&gateway, "Vault", &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_costs_no_request_and_is_counted() {
    let service = stores::start(Program::OpenBao).await;
    let gateway = Server::on(&stores::vault(&service, &service.url(), Kv::V2, &unique()));
    assert!(gateway.metric("keyway_keystore_auth_failures_total").await < 0.5);
    service.revoke_all();
    data_key(&gateway, "after").await;
    assert!(gateway.metric("keyway_keystore_auth_failures_total").await > 0.5);
}

/// Creates a key and a data key under it.
async fn data_key(gateway: &Server, name: &str) -> serde_json::Value {
    assert_eq!(gateway.put(&format!("/v1/key/create/{name}"), None).await.status, 200);
    gateway.put(&format!("/v1/key/generate/{name}"), None).await.json()
}

/// The gateway is ready, creates, and decrypts what it encrypted before, all within 5 s.
#[expect(clippy::print_stdout, reason = "a line of the fault table")]
async fn assert_recovered(gateway: &Server, store: &str, before: &serde_json::Value) {
    let back = Instant::now();
    until(
        Duration::from_secs(5),
        || format!("{store}: {}", gateway.log()),
        async || {
            let name = format!("after-{}", back.elapsed().as_micros());
            let create = gateway.put(&format!("/v1/key/create/{name}"), None).await;
            create.status == 200 && gateway.get("/v1/ready").await.status == 200
        },
    )
    .await;
    let recovered = back.elapsed().as_secs_f64();
    let body = json!({ "ciphertext": before["ciphertext"] });
    let answer = gateway.put("/v1/key/decrypt/before", Some(body)).await;
    assert_eq!(answer.json()["plaintext"], before["plaintext"], "{}", answer.text());
    println!(
        "fault | {store} | service stopped and back | 502 to 504, ready 504 or 502 | recovered in {recovered:.2} s | keys lost: 0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_one_gateway_deletes_is_gone_on_the_other_within_a_second() {
    let service = Postgres::start();
    let keystore = stores::postgres(service.address(), &unique());
    let (one, other) = (Server::on(&keystore), Server::on(&keystore));
    for round in 0..5 {
        let name = format!("key-{round}");
        assert_eq!(one.put(&format!("/v1/key/create/{name}"), None).await.status, 200);
        assert_eq!(other.put(&format!("/v1/key/generate/{name}"), None).await.status, 200);
        let delete = one.http(Some(&one.admin)).delete(one.url(&format!("/v1/key/delete/{name}")));
        assert_eq!(send(delete, None).await.unwrap().status, 200);
        let missing = || "the other gateway goes on using a deleted key".to_owned();
        let is_gone = async || other.put(&format!("/v1/key/generate/{name}"), None).await.status == 404;
        until(Duration::from_secs(1), missing, is_gone).await;
    }
}
