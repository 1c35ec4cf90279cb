//! Every backend keeps the contract, and all of them return the same results.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backends::trash::Trash;
use backends::{BackendConfig, Store, Value, conformance};

use crate::support::{fs, sqlite};

async fn memory() -> Arc<dyn Store> {
    backends::open(&BackendConfig::Memory).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_the_contract() {
    conformance::run(memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fs_keeps_the_contract() {
    let (root, count) = (tempfile::tempdir().unwrap(), AtomicUsize::new(0));
    conformance::run(|| {
        let path = root.path().join(count.fetch_add(1, Ordering::Relaxed).to_string());
        async move { fs(&path).await }
    })
    .await;
    conformance::survives_reopening(|| async { fs(&root.path().join("reopened")).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_keeps_the_contract() {
    let (root, count) = (tempfile::tempdir().unwrap(), AtomicUsize::new(0));
    conformance::run(|| {
        let path = root.path().join(count.fetch_add(1, Ordering::Relaxed).to_string());
        async move { sqlite(&path).await }
    })
    .await;
    conformance::survives_reopening(|| async { sqlite(&root.path().join("reopened")).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_with_a_trash_keeps_the_contract() {
    // Deleted values are kept with a head.
    let lengths = conformance::Lengths { most: Value::MAX_LEN - 128, ..conformance::Lengths::default() };
    conformance::run_within(lengths, || async { Trash::around(memory().await, Duration::from_hours(1)) }).await;
    conformance::run(|| async { Trash::hidden_in(memory().await) }).await;
}

#[tokio::test]
async fn the_contract_can_be_checked_on_a_single_thread() {
    conformance::run(memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_backends_return_the_same_results() {
    for seed in 1..=3 {
        let root = tempfile::tempdir().unwrap();
        let stores =
            vec![memory().await, fs(&root.path().join("keys")).await, sqlite(&root.path().join("keys.db")).await];
        conformance::differential(stores, seed, 1_000).await;
    }
}

/// Two servers share one place: the second create and the reader of a value may be in another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_stores_on_one_place_share_their_keys() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("keys.db");
    let keys = root.path().join("keys");
    let pairs = [(fs(&keys).await, fs(&keys).await), tokio::join!(sqlite(&path), sqlite(&path))];
    for (one, other) in pairs {
        let names: Vec<_> = (0..40).map(|number| crate::support::name(&format!("key-{number}"))).collect();
        for name in &names {
            let (ours, theirs) = (crate::support::value("ours"), crate::support::value("theirs"));
            let (first, second) = tokio::join!(one.create(name, &ours), other.create(name, &theirs));
            assert!(first.is_ok() != second.is_ok(), "{name}: {first:?} {second:?}");
            let winner = if first.is_ok() { ours } else { theirs };
            assert_eq!(one.get(name).await.unwrap(), winner);
            assert_eq!(other.get(name).await.unwrap(), winner);
        }
        assert_eq!(one.list("", None, 100).await.unwrap(), other.list("", None, 100).await.unwrap());
    }
}
