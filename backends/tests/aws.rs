//! The AWS backend on moto, and on responses of AWS that moto cannot give.
//!
//! | file | what is tested there |
//! |---|---|
//! | this one | the contract |
//! | `secrets.rs` | how keys are stored as secrets, and secrets that are not whole |
//! | `outage.rs` | a service that is killed, hangs, or whose responses are lost |
//! | `refusals.rs` | refusals by AWS, and settings that are refused |
//! | `environment.rs` | region and credentials from the environment |
//! | `front.rs` | the server in front of moto |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_secretsmanager::Client;
use backends::aws::{Aws, Config, Credentials, MAX_VALUE};
use backends::conformance::{Lengths, differential_within, run_within};
use backends::{BackendConfig, Name, Secret, Store, StoreError, Value};
use tokio::task::JoinSet;

use crate::services::aws::Moto;

mod environment;
mod front;
mod outage;
mod refusals;
mod secrets;

const LENGTHS: Lengths = Lengths { least: 1, most: MAX_VALUE };

const ACCESS_KEY: &str = "AKIAEXAMPLE0000CONFIG";

const SECRET_KEY: &str = "a-secret-access-key-of-the-config";

const SESSION: &str = "a-session-token-of-the-config";

const MISSING: &str = "Secrets Manager can't find the specified secret.";

/// A configuration for which the environment is not needed.
fn config(endpoint: &str, prefix: &str) -> Config {
    Config {
        endpoint: Some(endpoint.to_owned()),
        region: Some("eu-central-1".to_owned()),
        credentials: Some(Credentials {
            access_key: ACCESS_KEY.to_owned(),
            secret_key: Secret::from(SECRET_KEY.to_owned()),
            token: Some(Secret::from(SESSION.to_owned())),
        }),
        prefix: prefix.to_owned(),
        ..Config::default()
    }
}

async fn open(endpoint: &str, prefix: &str) -> Aws {
    Aws::open(&config(endpoint, prefix)).await.unwrap()
}

/// The SDK itself, as another program uses it.
fn raw(endpoint: &str) -> Client {
    let credentials = aws_sdk_secretsmanager::config::Credentials::new("other", "other", None, None, "test");
    let config = aws_sdk_secretsmanager::Config::builder()
        .behavior_version_latest()
        .endpoint_url(endpoint)
        .region(aws_sdk_secretsmanager::config::Region::new("eu-central-1"))
        .credentials_provider(credentials);
    Client::from_conf(config.build())
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn value(text: &str) -> Value {
    Value::from(text.as_bytes().to_vec())
}

fn withheld(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    match result {
        Err(StoreError::Withheld { reason }) => reason,
        other => panic!("expected Withheld, got {other:?}"),
    }
}

fn unavailable(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable { reason, .. }) => reason,
        other => panic!("expected Unavailable, got {other:?}"),
    }
}

fn unreachable(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    match result {
        Err(StoreError::Unreachable { reason, .. }) => reason,
        other => panic!("expected Unreachable, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_keeps_the_contract() {
    let moto = Moto::start();
    let count = AtomicUsize::new(0);
    run_within(LENGTHS, || async {
        let prefix = format!("contract-{}/", count.fetch_add(1, Ordering::Relaxed));
        Arc::new(open(&moto.endpoint(), &prefix).await) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_returns_the_same_results_as_memory() {
    let moto = Moto::start();
    for seed in 1..=3 {
        let memory = backends::open(&BackendConfig::Memory).await.unwrap();
        let aws = BackendConfig::Aws(Box::new(config(&moto.endpoint(), &format!("seed-{seed}/"))));
        assert_eq!(aws.kind(), "aws");
        differential_within(LENGTHS, vec![memory, backends::open(&aws).await.unwrap()], seed, 300).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_stores_with_eight_tasks_each_exactly_one_creates_a_name() {
    const NAMES: usize = 100;
    let moto = Moto::start();
    let stores = [Arc::new(open(&moto.endpoint(), "").await), Arc::new(open(&moto.endpoint(), "").await)];
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let store = Arc::clone(&stores[task % 2]);
        tasks.spawn(async move {
            let mut won = Vec::new();
            for number in 0..NAMES {
                match store.create(&name(&format!("key-{number}")), &value(&format!("{number} by {task}"))).await {
                    Ok(()) => won.push((number, task)),
                    Err(StoreError::AlreadyExists) => {}
                    Err(other) => panic!("create {number}: {other}"),
                }
            }
            won
        });
    }
    let mut won = tasks.join_all().await.concat();
    won.sort_unstable();
    assert!(won.iter().map(|(number, _)| *number).eq(0..NAMES), "{won:?}");
    for (number, task) in won {
        for store in &stores {
            let standing = store.get(&name(&format!("key-{number}"))).await.unwrap();
            assert_eq!(standing, value(&format!("{number} by {task}")));
        }
    }
}
