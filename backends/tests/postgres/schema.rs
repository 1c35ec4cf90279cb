//! The table: rights, versions, and tables that are not ours.

use backends::StoreError;
use backends::postgres::Config;

use super::{DATABASE, config, name, open, try_open, unavailable, value};
use crate::services::postgres::{PASSWORD, Postgres};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_error_for_a_role_without_rights_shows_sufficient_grants() {
    let server = Postgres::start();
    server.sql(DATABASE, &format!("CREATE ROLE gate LOGIN PASSWORD '{PASSWORD}'"));
    let gate = Config { user: Some("gate".to_owned()), ..config(server.port()) };
    let reason = unavailable(try_open(gate.clone()).await);
    assert!(reason.contains("GRANT CREATE ON DATABASE \"postgres\" TO \"gate\""), "{reason}");
    server.sql(DATABASE, "CREATE SCHEMA keyway");
    let reason = unavailable(try_open(gate.clone()).await);
    assert!(reason.contains("GRANT USAGE, CREATE ON SCHEMA \"keyway\" TO \"gate\""), "{reason}");

    let by_hand = Config { migrate: false, ..gate.clone() };
    let reason = unavailable(try_open(by_hand.clone()).await);
    let (_, sql) = reason.split_once("run as its owner: ").unwrap();
    server.sql(DATABASE, sql);
    for config in [by_hand, gate.clone()] {
        let (store, key) = (open(config).await, name("created-by-hand"));
        store.create(&key, &value("a key")).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap(), value("a key"));
        store.delete(&key).await.unwrap();
    }

    server.sql(DATABASE, "REVOKE INSERT, DELETE ON keyway.keys FROM gate");
    let store = open(gate.clone()).await;
    assert!(unavailable(store.create(&name("a"), &value("x")).await).contains("permission denied"));
    assert!(unavailable(store.delete(&name("a")).await).contains("GRANT"));
    assert!(matches!(store.get(&name("a")).await, Err(StoreError::NotFound)));
    server.sql(DATABASE, "REVOKE ALL ON keyway.keys FROM gate");
    assert!(unavailable(store.get(&name("a")).await).contains("GRANT SELECT"));
    assert!(unavailable(store.ping().await).contains("permission denied"));
    assert!(unavailable(try_open(gate).await).contains("GRANT SELECT, INSERT, DELETE ON \"keyway\".keys TO \"gate\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_table_that_is_not_ours_or_newer_is_refused() {
    let server = Postgres::start();
    drop(open(config(server.port())).await);
    server.sql(DATABASE, "UPDATE keyway._keyway_migrations SET version = 2");
    assert!(
        unavailable(try_open(config(server.port())).await)
            .contains("has schema version 2, and this release supports 1")
    );
    for (schema, table, why) in [
        ("a", "CREATE TABLE a.keys (id int)", "no column name"),
        ("b", "CREATE TABLE b.keys (name text PRIMARY KEY, value bytea NOT NULL)", "COLLATE \"C\""),
        ("c", "CREATE TABLE c.keys (name text COLLATE \"C\" NOT NULL, value bytea NOT NULL)", "no primary key"),
        ("d", "CREATE TABLE d.keys (name text COLLATE \"C\" PRIMARY KEY, value text NOT NULL)", "no column value"),
        ("e", "CREATE UNLOGGED TABLE e.keys (name text COLLATE \"C\" PRIMARY KEY, value bytea NOT NULL)", "unlogged"),
        ("f", "CREATE VIEW f.keys AS SELECT 1", "not an ordinary table"),
    ] {
        server.sql(DATABASE, &format!("CREATE SCHEMA {schema}; {table}"));
        let reason = unavailable(try_open(Config { schema: schema.to_owned(), ..config(server.port()) }).await);
        assert!(reason.contains(why), "{reason}");
    }
}
