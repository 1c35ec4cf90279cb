//! The PostgreSQL backend on a real server.
//!
//! | file | what is tested there |
//! |---|---|
//! | this one | the contract, and connections |
//! | `shared.rs` | several gateways on one table, directly and through PgBouncer |
//! | `outage.rs` | a server that is stopped, crashed, frozen, or reached through a faulty network |
//! | `certainty.rs` | "not found", committed, and on the primary |
//! | `schema.rs` | the table: rights, versions, and tables that are not ours |
//! | `settings.rs` | wrong settings, TLS, and the environment |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backends::postgres::{Config, SslMode};
use backends::{BackendConfig, Change, Name, Secret, Store, StoreError, Value};
use tokio::sync::broadcast::Receiver;
use tokio::time::{sleep, timeout};

use crate::services::eventually::until;
use crate::services::postgres::{ADMIN, PASSWORD, Postgres};

mod certainty;
mod outage;
mod schema;
mod settings;
mod shared;

/// The database of these tests.
const DATABASE: &str = "postgres";

fn config(port: u16) -> Config {
    Config {
        host: Some("127.0.0.1".to_owned()),
        port: Some(port),
        database: Some(DATABASE.to_owned()),
        user: Some(ADMIN.to_owned()),
        password: Some(secret(PASSWORD)),
        sslmode: Some(SslMode::Disable),
        ..Config::default()
    }
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

async fn try_open(config: Config) -> Result<Arc<dyn Store>, StoreError> {
    backends::open(&BackendConfig::Postgres(Box::new(config))).await
}

async fn open(config: Config) -> Arc<dyn Store> {
    try_open(config).await.unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn value(text: &str) -> Value {
    Value::from(text.as_bytes().to_vec())
}

/// The reason of an error that must be `Unavailable`; it must not contain a password.
fn unavailable<T>(result: Result<T, StoreError>) -> String {
    match result.map(|_| ()) {
        Err(error @ StoreError::Unavailable { .. }) => reason(&error),
        other => panic!("expected Unavailable, got {other:?}"),
    }
}

/// The reason of an error that must be `Unreachable`.
fn unreachable<T>(result: Result<T, StoreError>) -> String {
    match result.map(|_| ()) {
        Err(error @ StoreError::Unreachable { .. }) => reason(&error),
        other => panic!("expected Unreachable, got {other:?}"),
    }
}

fn reason(error: &StoreError) -> String {
    let all = format!("{error:?} {error}");
    assert!(!all.contains(PASSWORD) && !all.contains("hunter2"), "{all}");
    let (StoreError::Unavailable { reason, .. } | StoreError::Unreachable { reason, .. }) = error else {
        unreachable!()
    };
    reason.clone()
}

/// How long it takes until reads work again.
async fn recovery(store: &Arc<dyn Store>, key: &Name) -> Duration {
    let start = Instant::now();
    while let Err(error) = timeout(Duration::from_secs(2), store.get(key)).await.unwrap_or(Err(StoreError::NotFound)) {
        assert!(start.elapsed() < Duration::from_secs(10), "{error}");
        sleep(Duration::from_millis(100)).await;
    }
    start.elapsed()
}

/// Waits for a change, ignoring others.
async fn received(changes: &mut Receiver<Change>, expected: &Change, within: Duration) {
    let wait = async { while changes.recv().await.unwrap() != *expected {} };
    timeout(within, wait).await.unwrap_or_else(|_| panic!("{expected:?} was not received within {within:?}"));
}

const SECOND: Duration = Duration::from_secs(1);

const RECOVERY: Duration = Duration::from_secs(5);

const OPERATION: Duration = Duration::from_secs(8);

/// Reads a key this many times at the same time.
async fn read_concurrently(store: &Arc<dyn Store>, key: &Name, count: usize) -> Vec<Result<Value, StoreError>> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (store, key) = (Arc::clone(store), key.clone());
        tasks.spawn(async move { store.get(&key).await });
    }
    tasks.join_all().await
}

#[cfg(feature = "conformance")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_keeps_the_contract() {
    let (server, count) = (Postgres::start(), AtomicUsize::new(0));
    let schema = |schema: String| Config { schema, ..config(server.port()) };
    backends::conformance::run(|| open(schema(format!("s{}", count.fetch_add(1, Ordering::Relaxed))))).await;
    backends::conformance::survives_reopening(|| open(schema("reopened".to_owned()))).await;
}

#[cfg(feature = "conformance")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_returns_the_same_results_as_memory() {
    let server = Postgres::start();
    for seed in 1..=3 {
        let memory = backends::open(&BackendConfig::Memory).await.unwrap();
        let postgres = open(Config { schema: format!("s{seed}"), ..config(server.port()) }).await;
        backends::conformance::differential(vec![memory, postgres], seed, 1_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_callers_than_connections_take_turns() {
    let server = Postgres::start();
    let (store, key) = (open(Config { connections: 2, ..config(server.port()) }).await, name("kept"));
    store.create(&key, &value("a key")).await.unwrap();
    for read in read_concurrently(&store, &key, 200).await {
        assert_eq!(read.unwrap(), value("a key"));
    }
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keyway'";
    assert_eq!(server.sql(DATABASE, connections), "3", "two, and the one that listens");
    store.close().await;
    assert!(unavailable(store.get(&key).await).contains("closed"));
    let are_closed = async || server.sql(DATABASE, connections) == "0";
    until(RECOVERY, || "the connections are not closed".to_owned(), are_closed).await;
}
