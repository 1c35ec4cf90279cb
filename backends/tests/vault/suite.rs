//! The contract on every kind of engine, with one and with two nodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backends::vault::{Config, KvVersion};
use backends::{BackendConfig, StoreError, conformance};
use serde_json::Value as Json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{config, name, open, start, transit, value};
use crate::services::vault::{Program, Server};

on_both!(
    the_suite_passes_on_kv_v1,
    the_suite_passes_on_kv_v2,
    the_suite_passes_on_kv_v2_with_transit,
    the_suite_passes_on_kv_v1_with_transit,
    all_kinds_of_engines_return_the_same_results,
    one_create_wins_each_race_of_two_nodes_on_kv_v1,
    one_create_wins_each_race_of_two_nodes_on_kv_v2,
);

async fn suite(program: Program, of: impl Fn(&Server) -> Config) {
    let server = start(program).await;
    let stores = AtomicUsize::new(0);
    conformance::run(async || {
        let prefix = format!("suite/{}", stores.fetch_add(1, Ordering::Relaxed));
        open(Config { prefix, ..of(&server) }).await
    })
    .await;
    conformance::survives_reopening(async || open(Config { prefix: "reopened".into(), ..of(&server) }).await).await;
}

async fn the_suite_passes_on_kv_v1(program: Program) {
    suite(program, |server| config(server, "kv1", KvVersion::V1)).await;
}

async fn the_suite_passes_on_kv_v2(program: Program) {
    suite(program, |server| config(server, "kv2", KvVersion::V2)).await;
}

async fn the_suite_passes_on_kv_v2_with_transit(program: Program) {
    suite(program, |server| Config { transit: transit("kes"), ..config(server, "kv2", KvVersion::V2) }).await;
}

async fn the_suite_passes_on_kv_v1_with_transit(program: Program) {
    suite(program, |server| Config { transit: transit("kes"), ..config(server, "kv1", KvVersion::V1) }).await;
}

async fn all_kinds_of_engines_return_the_same_results(program: Program) {
    let server = start(program).await;
    let (v1, v2) = (config(&server, "kv1", KvVersion::V1), config(&server, "kv2", KvVersion::V2));
    let stores = vec![
        backends::open(&BackendConfig::Memory).await.unwrap(),
        open(v1.clone()).await,
        open(v2.clone()).await,
        open(Config { prefix: "with a/prefix%2F?#".into(), ..v2.clone() }).await,
        open(Config { prefix: "sealed".into(), transit: transit("kes"), ..v2 }).await,
    ];
    conformance::differential(stores, 7, 400).await;
}

/// 100 names, two nodes, eight tasks on each, all at the same time.
async fn race(program: Program, engine: &str, version: KvVersion) {
    const NAMES: usize = 100;
    let server = start(program).await;
    let nodes = [open(config(&server, engine, version)).await, open(config(&server, engine, version)).await];
    let start = Arc::new(Barrier::new(16));
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (store, start) = (nodes[task % 2].clone(), start.clone());
        tasks.spawn(async move {
            let mut won = Vec::new();
            for number in 0..NAMES {
                start.wait().await;
                match store.create(&name(&format!("key-{number}")), &value(&format!("{number} by {task}"))).await {
                    Ok(()) => won.push((number, task)),
                    Err(StoreError::AlreadyExists) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            won
        });
    }
    let won: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let winners: HashMap<usize, usize> = won.iter().copied().collect();
    assert_eq!((won.len(), winners.len()), (NAMES, NAMES));
    for (number, winner) in winners {
        for node in &nodes {
            let got = node.get(&name(&format!("key-{number}"))).await.unwrap();
            assert_eq!(got, value(&format!("{number} by {winner}")));
        }
    }
    if version == KvVersion::V1 {
        let left = server.call(&server.token, "LIST", &format!("{engine}/.keyway/claims"), &Json::Null);
        assert_eq!(left.0, 404, "claims are left: {}", left.1);
    }
}

async fn one_create_wins_each_race_of_two_nodes_on_kv_v1(program: Program) {
    race(program, "kv1", KvVersion::V1).await;
}

async fn one_create_wins_each_race_of_two_nodes_on_kv_v2(program: Program) {
    race(program, "kv2", KvVersion::V2).await;
}
