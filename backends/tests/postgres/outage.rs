//! A server that is stopped, crashed, frozen, or reached through a faulty network.

use std::time::{Duration, Instant};

use backends::postgres::{Config, Listen};
use backends::{Change, StoreError};
use tokio::time::{sleep, timeout};

use super::{
    OPERATION, RECOVERY, SECOND, config, name, open, read_concurrently, received, recovery, unreachable, value,
};
use crate::services::postgres::Postgres;
use crate::services::proxy::{Mode, Proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_of_the_server_is_survived_and_reported() {
    let mut server = Postgres::start();
    let (store, key) = (open(config(server.port())).await, name("kept"));
    let mut changes = store.changes().unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Subscribed);
    store.create(&key, &value("a key")).await.unwrap();
    for crash in [false, true] {
        if crash {
            server.crash();
        } else {
            server.stop();
        }
        received(&mut changes, &Change::Unsubscribed, RECOVERY).await;
        let start = Instant::now();
        assert!(
            unreachable(store.get(&key).await)
                .contains("cannot read key 'kept' in PostgreSQL 'postgres' at 127.0.0.1:")
        );
        unreachable(store.create(&name("new"), &value("x")).await);
        unreachable(store.delete(&key).await);
        unreachable(store.list("", None, 10).await);
        unreachable(store.ping().await);
        assert!(start.elapsed() < 2 * SECOND, "a refused connection is reported immediately");
        assert_eq!(store.changes().unwrap().recv().await.unwrap(), Change::Unsubscribed);
        server.resume();
        assert!(recovery(&store, &key).await < RECOVERY);
        received(&mut changes, &Change::Subscribed, RECOVERY).await;
    }
    // Without a request in between: the idle connections are dead, which no caller notices.
    server.stop();
    server.resume();
    assert_eq!(store.get(&key).await.unwrap(), value("a key"));
    assert!(matches!(store.create(&key, &value("another")).await, Err(StoreError::AlreadyExists)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frozen_server_is_unreachable_within_the_deadline_and_used_again_afterwards() {
    let mut server = Postgres::start();
    let (store, key) = (open(config(server.port())).await, name("kept"));
    let mut changes = store.changes().unwrap();
    store.create(&key, &value("a key")).await.unwrap();
    server.freeze();
    let start = Instant::now();
    let new = name("new");
    let fresh = value("x");
    let (get, create, ping) =
        tokio::join!(store.get(&key), store.create(&new, &fresh), timeout(2 * SECOND, store.ping()));
    assert!(start.elapsed() < OPERATION, "{:?}", start.elapsed());
    unreachable(get);
    unreachable(create);
    assert!(ping.is_err() || ping.is_ok_and(|pinged| pinged.is_err()));
    received(&mut changes, &Change::Unsubscribed, RECOVERY).await;
    server.thaw();
    assert!(recovery(&store, &key).await < RECOVERY);
    received(&mut changes, &Change::Subscribed, RECOVERY).await;
    // The create was not acknowledged; it has happened or not, and a second one shows which.
    assert!(matches!(store.create(&new, &fresh).await, Ok(()) | Err(StoreError::AlreadyExists)));
    assert_eq!(store.get(&new).await.unwrap(), fresh);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn network_faults_cause_no_wrong_results_and_are_over_within_five_seconds() {
    let server = Postgres::start();
    let proxy = Proxy::start(server.address()).await;
    let (store, key, absent) = (open(config(proxy.port())).await, name("kept"), name("absent"));
    store.create(&key, &value("a key")).await.unwrap();
    for (fault, cut) in [
        (Mode::Refuse, true),
        (Mode::BlackHole, false),
        (Mode::BlackHole, true),
        (Mode::Delay(Duration::from_secs(10)), false),
    ] {
        // Several connections, so that more than one of them is dead.
        for read in read_concurrently(&store, &key, 6).await {
            read.unwrap();
        }
        proxy.set(fault);
        if cut {
            proxy.cut_all();
        }
        // The tasks of the proxy notice it one by one, and until then a query may still get its response.
        sleep(Duration::from_millis(250)).await;
        let start = Instant::now();
        let missing = name("never-created");
        let fresh = value("x");
        let (get, not, create, delete, list) = tokio::join!(
            store.get(&key),
            store.get(&absent),
            store.create(&missing, &fresh),
            store.delete(&absent),
            store.list("", None, 10)
        );
        assert!(start.elapsed() < OPERATION, "{fault:?} {:?}", start.elapsed());
        unreachable(get);
        unreachable(not);
        unreachable(create);
        unreachable(delete);
        unreachable(list);
        proxy.set(Mode::Pass);
        let took = recovery(&store, &key).await;
        assert!(took < RECOVERY, "{fault:?} {took:?}");
        assert_eq!(store.get(&key).await.unwrap(), value("a key"));
        let _ = store.delete(&missing).await;
    }
    // That a proxy closes all connections is not even noticed.
    for _ in 0..5 {
        proxy.cut_all();
        assert_eq!(store.get(&key).await.unwrap(), value("a key"));
        proxy.cut_all();
        assert!(matches!(store.get(&absent).await, Err(StoreError::NotFound)));
        proxy.cut_all();
        assert!(matches!(store.create(&key, &value("other")).await, Err(StoreError::AlreadyExists)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_whose_response_is_lost_is_resolved() {
    let server = Postgres::start();
    let proxy = Proxy::start(server.address()).await;
    let quiet = Config { listen: Listen::Off, connections: 1, ..config(proxy.port()) };
    let (store, direct) = (open(quiet).await, open(config(server.port())).await);
    let mut cuts = 0;
    // At every few bytes of the responses to a create and a delete, including the one to the commit.
    for bytes in (0..700).step_by(6) {
        let (key, ours) = (name(&format!("key-{bytes}")), value("ours"));
        store.ping().await.unwrap();
        proxy.set(Mode::CutAfter(bytes));
        store.create(&key, &ours).await.unwrap();
        cuts += usize::from(proxy.mode() == Mode::Pass);
        proxy.set(Mode::Pass);
        assert_eq!(direct.get(&key).await.unwrap(), ours);
        store.ping().await.unwrap();
        proxy.set(Mode::CutAfter(bytes));
        store.delete(&key).await.unwrap();
        proxy.set(Mode::Pass);
        assert!(matches!(direct.get(&key).await, Err(StoreError::NotFound)));
        // Somebody else's value is kept.
        direct.create(&key, &value("theirs")).await.unwrap();
        store.ping().await.unwrap();
        proxy.set(Mode::CutAfter(bytes));
        assert!(matches!(store.create(&key, &ours).await, Err(StoreError::AlreadyExists)));
        proxy.set(Mode::Pass);
        assert_eq!(direct.get(&key).await.unwrap(), value("theirs"));
    }
    assert!(cuts > 30, "only {cuts} creates were cut: the others have fewer bytes");
}
