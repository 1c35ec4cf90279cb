//! The Vault backend on real servers, each test on OpenBao and on HashiCorp Vault.
//!
//! | file | what is tested there |
//! |---|---|
//! | `suite.rs` | the contract on every kind of engine, also with two nodes |
//! | `kv.rs` | what is stored in KV: the format, versions, other content, and the engine itself |
//! | `mount.rs` | engines that are replaced or delete keys |
//! | `transit.rs` | values that are encrypted under a transit key |
//! | `start.rs` | what prevents a start |
//! | `rights.rs` | policies that allow less than everything |
//! | `version.rs` | a `version` that is not that of the engine |
//! | `login.rs`, `session.rs` | the ways to log in; tokens: renewed, replaced, revoked |
//! | `outage.rs` | a server that is sealed, stopped, frozen, or reached through a faulty network |
//! | `secrecy.rs` | no secret is logged or part of an error |

use std::sync::Arc;

use backends::vault::{Config, Credential, KvVersion, Login, Tls, Transit, Vault};
use backends::{BackendConfig, Name, Secret, Store, StoreError, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::services::vault::{Program, Server};

/// Runs each test on both servers.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod openbao {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() { super::$test(crate::services::vault::Program::OpenBao).await; })*
        }
        mod hashicorp {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() { super::$test(crate::services::vault::Program::Vault).await; })*
        }
    };
}

mod kv;
mod login;
mod mount;
mod outage;
mod rights;
mod secrecy;
mod session;
mod start;
mod suite;
mod transit;
mod version;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn value(text: &str) -> Value {
    Value::from(text.as_bytes().to_vec())
}

fn config(server: &Server, engine: &str, version: KvVersion) -> Config {
    Config {
        endpoint: server.url(),
        engine: engine.to_owned(),
        version,
        namespace: None,
        prefix: String::new(),
        transit: None,
        login: Login::Token(Secret::from(server.token.clone())),
        tls: Tls::default(),
    }
}

async fn open(config: Config) -> Arc<dyn Store> {
    backends::open(&BackendConfig::Vault(Box::new(config))).await.unwrap()
}

/// The errors of every operation, on the key `k` and the new key `new`.
async fn errors(store: &Arc<dyn Store>, new: &str) -> [StoreError; 5] {
    let key = name("k");
    [
        store.get(&key).await.unwrap_err(),
        store.ping().await.unwrap_err(),
        store.create(&name(new), &value("x")).await.unwrap_err(),
        store.delete(&key).await.unwrap_err(),
        store.list("", None, 9).await.unwrap_err(),
    ]
}

/// An HTTP server with this response to the text of each request; its port.
async fn http_server(response: impl Fn(&str) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = vec![0; 65536];
            let len = client.read(&mut request).await.unwrap();
            let response = response(&String::from_utf8_lossy(&request[..len]));
            client.write_all(response.as_bytes()).await.unwrap();
        }
    });
    port
}

async fn start_error(config: Config) -> StoreError {
    Vault::open(&config).await.expect_err("must not start")
}

/// Starts a server with `kv1`, `kv2` and `transit/kes`.
async fn start(program: Program) -> Server {
    let server = Server::start(program).await;
    server.enable_kv("kv1", 1).await;
    server.enable_kv("kv2", 2).await;
    server.enable_transit("transit", "kes");
    server
}

#[expect(clippy::unnecessary_wraps, reason = "it is the value of an optional field")]
fn transit(key: &str) -> Option<Transit> {
    Some(Transit { engine: "transit".into(), key: key.into() })
}

fn approle(ids: &(String, String)) -> Login {
    Login::AppRole {
        engine: "approle".into(),
        namespace: None,
        id: ids.0.clone(),
        secret: Credential::Text(Secret::from(ids.1.clone())),
    }
}

/// The policy from KES's documentation, for both versions.
const POLICY: &str = r#"
    path "kv1/*" { capabilities = ["create", "read", "delete", "list"] }
    path "kv2/data/*" { capabilities = ["create", "read"] }
    path "kv2/metadata/*" { capabilities = ["list", "delete"] }
    path "transit/encrypt/kes" { capabilities = ["update"] }
    path "transit/decrypt/kes" { capabilities = ["update"] }
"#;
