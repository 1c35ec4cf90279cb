//! Several gateways on one table, directly and through PgBouncer.

use std::sync::atomic::{AtomicUsize, Ordering};

use backends::postgres::{Config, Listen};
use backends::{Change, StoreError};
use tokio::time::{sleep, timeout};

use super::{SECOND, config, name, open, received, try_open, value};
use crate::services::pgbouncer::PgBouncer;
use crate::services::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gateways_that_start_at_the_same_time_all_start_and_each_race_has_one_winner() {
    let server = Postgres::start();
    let opened = (0..8).map(|_| tokio::spawn(try_open(config(server.port()))));
    let mut stores = Vec::new();
    for store in opened.collect::<Vec<_>>() {
        stores.push(store.await.unwrap().unwrap());
    }
    for number in 0..50 {
        let key = name(&format!("key-{number}"));
        let creates = stores.iter().cloned().enumerate().map(|(node, store)| {
            let key = key.clone();
            tokio::spawn(async move { (node, store.create(&key, &value(&format!("of node {node}"))).await) })
        });
        let mut winner = None;
        for create in creates.collect::<Vec<_>>() {
            match create.await.unwrap() {
                (node, Ok(())) => assert_eq!(winner.replace(node), None, "{key} has two winners"),
                (_, Err(StoreError::AlreadyExists)) => {}
                (node, Err(error)) => panic!("{key} at {node}: {error}"),
            }
        }
        let stands = value(&format!("of node {}", winner.unwrap()));
        for store in &stores {
            assert_eq!(store.get(&key).await.unwrap(), stands);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_by_one_gateway_is_received_by_another_within_a_second() {
    let server = Postgres::start();
    let (one, other) = (open(config(server.port())).await, open(config(server.port())).await);
    let elsewhere = open(Config { schema: "elsewhere".to_owned(), ..config(server.port()) }).await;
    let mut changes = other.changes().unwrap();
    let mut unrelated = elsewhere.changes().unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Subscribed);
    assert_eq!(unrelated.recv().await.unwrap(), Change::Subscribed);
    let key = name("shared");
    one.create(&key, &value("a key")).await.unwrap();
    received(&mut changes, &Change::Key(key.clone()), SECOND).await;
    one.delete(&key).await.unwrap();
    received(&mut changes, &Change::Key(key.clone()), SECOND).await;
    // What changes nothing is not reported.
    assert!(matches!(one.delete(&key).await, Err(StoreError::NotFound)));
    assert!(timeout(SECOND, changes.recv()).await.is_err());
    assert!(unrelated.try_recv().is_err());

    let unsubscribed = open(Config { listen: Listen::Off, ..config(server.port()) }).await;
    assert!(unsubscribed.changes().is_none());
    drop((other, elsewhere));
    assert!(changes.recv().await.is_err(), "a dropped store no longer reports anything");
}

#[cfg(feature = "conformance")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_contract_is_kept_behind_pgbouncer() {
    let (server, count) = (Postgres::start(), AtomicUsize::new(0));
    let pooler = PgBouncer::start(&server);
    let listen = Listen::At { host: "127.0.0.1".to_owned(), port: server.port() };
    let behind = |schema: String| Config { schema, listen: listen.clone(), ..config(pooler.port()) };
    backends::conformance::run(|| open(behind(format!("s{}", count.fetch_add(1, Ordering::Relaxed))))).await;
    let stores = tokio::join!(open(behind("a".to_owned())), open(behind("a".to_owned())), open(behind("b".to_owned())));
    let mut changes = stores.1.changes().unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Subscribed);
    stores.0.create(&name("shared"), &value("a key")).await.unwrap();
    received(&mut changes, &Change::Key(name("shared")), SECOND).await;
    assert!(matches!(stores.2.get(&name("shared")).await, Err(StoreError::NotFound)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_listener_behind_pgbouncer_knows_that_it_is_not_subscribed() {
    let server = Postgres::start();
    let pooler = PgBouncer::start(&server);
    for _ in 0..3 {
        let store = open(config(pooler.port())).await;
        let mut changes = store.changes().unwrap();
        assert_eq!(changes.recv().await.unwrap(), Change::Unsubscribed);
        store.create(&name("any"), &value("a key")).await.unwrap();
        store.delete(&name("any")).await.unwrap();
        sleep(SECOND).await;
        assert_eq!(store.changes().unwrap().recv().await.unwrap(), Change::Unsubscribed);
    }
}
