//! What is certain: "not found", committed, and on the primary.

use std::time::Instant;

use backends::StoreError;
use backends::postgres::Config;
use tokio::time::sleep;

use super::{
    DATABASE, OPERATION, RECOVERY, SECOND, config, name, open, reason, recovery, try_open, unavailable, value,
};
use crate::services::eventually::until;
use crate::services::postgres::{PASSWORD, Postgres};
use crate::services::proxy::Proxy;
use crate::support::Logged;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn not_found_is_only_returned_with_certainty() {
    let server = Postgres::start();
    server.sql(DATABASE, &format!("CREATE ROLE gate LOGIN PASSWORD '{PASSWORD}'"));
    let (store, key) = (open(config(server.port())).await, name("kept"));
    store.create(&key, &value("a key")).await.unwrap();
    // Rows that exist but are hidden.
    server.sql(
        DATABASE,
        "GRANT USAGE ON SCHEMA keyway TO gate; GRANT SELECT, INSERT, DELETE ON keyway.keys TO gate; \
        GRANT SELECT ON keyway._keyway_migrations TO gate",
    );
    let gate = open(Config { user: Some("gate".to_owned()), ..config(server.port()) }).await;
    assert_eq!(gate.get(&key).await.unwrap(), value("a key"));
    server.sql(DATABASE, "ALTER TABLE keyway.keys ENABLE ROW LEVEL SECURITY");
    for reason in [
        unavailable(gate.get(&key).await),
        unavailable(gate.delete(&key).await),
        unavailable(gate.list("", None, 9).await),
    ] {
        assert!(reason.contains("row-level security"), "{reason}");
    }
    server.sql(DATABASE, "ALTER TABLE keyway.keys DISABLE ROW LEVEL SECURITY");
    assert_eq!(gate.get(&key).await.unwrap(), value("a key"));
    // A value that is not a key, stored by another program.
    server.sql(
        DATABASE,
        "ALTER TABLE keyway.keys DROP CONSTRAINT keys_value_check; \
        INSERT INTO keyway.keys VALUES ('large', decode(repeat('00', 1048577), 'hex'))",
    );
    assert!(matches!(store.get(&name("large")).await, Err(StoreError::Damaged { .. })));
    assert!(matches!(store.create(&name("large"), &value("x")).await, Err(StoreError::AlreadyExists)));
    // A table that is renamed, and restored.
    server.sql(DATABASE, "ALTER TABLE keyway.keys RENAME TO away");
    for reason in
        [unavailable(store.get(&key).await), unavailable(store.delete(&key).await), unavailable(store.ping().await)]
    {
        assert!(reason.contains("does not exist") && reason.contains("restore it from a backup"), "{reason}");
    }
    server.sql(DATABASE, "ALTER TABLE keyway.away RENAME TO keys; ALTER DATABASE postgres SET bytea_output = escape");
    assert_eq!(open(config(server.port())).await.get(&key).await.unwrap(), value("a key"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_is_refused_and_a_read_only_server_can_be_read() {
    let server = Postgres::start();
    let (store, key) = (open(config(server.port())).await, name("kept"));
    store.create(&key, &value("a key")).await.unwrap();
    let standby = server.standby();
    assert!(unavailable(try_open(config(standby.port())).await).contains("standby"));

    // An address that led to the primary may lead to a standby later.
    let proxy = Proxy::start(server.address()).await;
    let moved = open(config(proxy.port())).await;
    proxy.lead_to(standby.address());
    proxy.cut_all();
    assert!(unavailable(moved.get(&name("absent")).await).contains("standby"));
    assert!(unavailable(moved.list("", None, 10).await).contains("standby"));
    assert!(unavailable(moved.create(&name("absent"), &value("x")).await).contains("read-only"));
    assert!(unavailable(moved.delete(&name("absent")).await).contains("read-only"));
    proxy.lead_to(server.address());
    assert!(recovery(&moved, &key).await < RECOVERY);

    server.sql(DATABASE, "ALTER DATABASE postgres SET default_transaction_read_only = on");
    let store = open(config(server.port())).await;
    assert_eq!(store.get(&key).await.unwrap(), value("a key"));
    for reason in [unavailable(store.create(&name("new"), &value("x")).await), unavailable(store.delete(&key).await)] {
        assert!(reason.contains("read-only transaction") && reason.contains("primary"), "{reason}");
    }
    let new = Config { schema: "new".to_owned(), ..config(server.port()) };
    assert!(unavailable(try_open(new).await).contains("read-only"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_are_synchronous_regardless_of_the_settings_of_the_role() {
    let server = Postgres::start();
    server.sql(
        DATABASE,
        "ALTER ROLE postgres SET synchronous_commit = off; ALTER ROLE postgres SET statement_timeout = '3s'",
    );
    server.sql(
        DATABASE,
        "CREATE TABLE seen (how text); CREATE FUNCTION note() RETURNS trigger \
        LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (current_setting('synchronous_commit') || ' ' || \
        current_setting('statement_timeout')); RETURN NULL; END $$",
    );
    let store = open(Config { migrate: true, ..config(server.port()) }).await;
    server.sql(
        DATABASE,
        "CREATE TRIGGER note AFTER INSERT OR DELETE ON keyway.keys \
        EXECUTE FUNCTION note()",
    );
    store.create(&name("a"), &value("x")).await.unwrap();
    store.delete(&name("a")).await.unwrap();
    assert_eq!(server.sql(DATABASE, "SELECT * FROM seen"), "on 0\non 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_waits_for_a_standby_is_not_acknowledged() {
    let server = Postgres::start();
    let (store, key) = (open(config(server.port())).await, name("half-safe"));
    server.configure("synchronous_standby_names = 'nobody'");
    server.reload();
    // The checkpointer makes the setting effective, which cannot be observed from outside.
    sleep(SECOND).await;
    let start = Instant::now();
    let error = store.create(&key, &value("a key")).await.unwrap_err();
    assert!(start.elapsed() < OPERATION);
    assert!(reason(&error).contains("it may have succeeded"), "{error}");
    assert!(matches!(store.get(&key).await, Err(StoreError::NotFound)), "it is not visible before it is durable");
    server.configure("synchronous_standby_names = ''");
    server.reload();
    let start = Instant::now();
    while store.get(&key).await.is_err() {
        assert!(start.elapsed() < RECOVERY);
        sleep(SECOND / 10).await;
    }
    assert_eq!(store.get(&key).await.unwrap(), value("a key"));
    assert!(matches!(store.create(&key, &value("another")).await, Err(StoreError::AlreadyExists)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lock_on_the_table_ends_in_an_error() {
    let server = Postgres::start();
    let (store, key) = (open(config(server.port())).await, name("kept"));
    store.create(&key, &value("a key")).await.unwrap();
    std::thread::scope(|scope| {
        let lock = "BEGIN; LOCK TABLE keyway.keys; SELECT pg_sleep(9)";
        let holder = scope.spawn(|| server.sql(DATABASE, lock));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let held = "SELECT count(*) FROM pg_locks WHERE relation = 'keyway.keys'::regclass AND granted \
                    AND mode = 'AccessExclusiveLock'";
                let is_locked = async || server.sql(DATABASE, held) == "1";
                until(RECOVERY, || "the table is not locked".to_owned(), is_locked).await;
                let (start, fresh, new) = (Instant::now(), value("x"), name("new"));
                let (create, delete, get) =
                    tokio::join!(store.create(&new, &fresh), store.delete(&key), store.get(&key));
                assert!(start.elapsed() < OPERATION);
                for reason in [unavailable(create), unavailable(delete)] {
                    assert!(reason.contains("lock timeout") && reason.contains("pg_locks"), "{reason}");
                }
                assert!(matches!(get, Err(StoreError::Unavailable { .. } | StoreError::Unreachable { .. })));
            });
        });
        holder.join().unwrap();
    });
    assert_eq!(store.get(&key).await.unwrap(), value("a key"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn standbys_that_may_lack_acknowledged_keys_are_reported_at_start() {
    let logged = Logged::global();
    let server = Postgres::start();
    server.sql(
        DATABASE,
        &format!("CREATE ROLE gate LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON DATABASE postgres TO gate"),
    );
    let place = server.address().to_string();
    let warnings = || logged.count(&["a failover may lose keys", &place]);
    let gate = || Config { user: Some("gate".to_owned()), schema: "gate".to_owned(), ..config(server.port()) };
    open(gate()).await;
    assert_eq!(warnings(), 0, "there is no standby");
    let _standby = server.standby();
    let follows =
        async || server.sql(DATABASE, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1";
    until(RECOVERY, || "the standby does not follow".to_owned(), follows).await;
    // Also for a role that may not see which standbys those are.
    open(gate()).await;
    assert_eq!(warnings(), 1);
    open(config(server.port())).await;
    assert_eq!(warnings(), 2);
    server.configure("synchronous_standby_names = 'ANY 1 (*)'");
    server.reload();
    let is_sync = async || server.sql(DATABASE, "SELECT sync_state FROM pg_stat_replication") == "quorum";
    until(RECOVERY, || "the standby is not synchronous".to_owned(), is_sync).await;
    let store = open(gate()).await;
    store.create(&name("kept"), &value("a key")).await.unwrap();
    open(config(server.port())).await;
    assert_eq!(warnings(), 2);
    server.sql(DATABASE, "ALTER ROLE gate SET synchronous_commit = local");
    open(gate()).await;
    assert_eq!(logged.count(&["synchronous_commit = local does not wait", &place]), 1);
}
