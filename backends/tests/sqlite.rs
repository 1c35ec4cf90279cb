//! What is specific to keys in a SQLite database.

use std::fs;
use std::path::Path;

use backends::{BackendConfig, StoreError, Value};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor, query_scalar};
use tempfile::tempdir;

use crate::support::{self, Accident, file_names, limited, mode, name, run_limited, unavailable, value};

async fn open_error(path: &Path) -> String {
    let reason = unavailable(backends::open(&BackendConfig::Sqlite { path: path.to_owned() }).await);
    assert!(reason.contains(path.to_str().unwrap()), "{reason}");
    reason
}

/// A connection of another program.
async fn other(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

#[tokio::test]
async fn the_database_and_its_log_are_for_the_owner_only() {
    if let Some(root) = limited() {
        let path = root.join("deep/keys.db");
        let store = support::sqlite(&path).await;
        store.create(&name("my-key"), &value("value")).await.unwrap();
        assert_eq!(mode(&root.join("deep")), 0o700);
        assert_eq!(file_names(&root.join("deep")), ["keys.db", "keys.db-shm", "keys.db-wal"]);
        for file in file_names(&root.join("deep")) {
            assert_eq!(mode(&root.join("deep").join(&file)), 0o600, "{file}");
        }
        store.close().await;
        assert_eq!(file_names(&root.join("deep")), ["keys.db"]);
        return;
    }
    for umask in ["000", "022", "777"] {
        let root = tempdir().unwrap();
        let test = "sqlite::the_database_and_its_log_are_for_the_owner_only";
        run_limited(&format!("umask {umask}"), test, root.path());
    }
}

#[tokio::test]
async fn the_database_is_in_wal_mode_with_a_strict_table() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    let store = support::sqlite(&path).await;
    store.create(&name("my-key"), &value("value")).await.unwrap();
    let mut other = other(&path).await;
    let mode: String = query_scalar("PRAGMA journal_mode").fetch_one(&mut other).await.unwrap();
    assert_eq!(mode, "wal");
    for refused in [
        "INSERT INTO keys VALUES ('a/b', x'00')",
        "INSERT INTO keys VALUES ('', x'00')",
        "INSERT INTO keys VALUES ('text', 'text')",
        "INSERT INTO keys VALUES ('null', NULL)",
        "INSERT INTO keys VALUES (NULL, x'00')",
        "INSERT INTO keys VALUES ('long', zeroblob(1048577))",
        "INSERT INTO keys VALUES ('my-key', x'00')",
    ] {
        assert!(other.execute(refused).await.is_err(), "{refused}");
    }
    other.execute("INSERT INTO keys VALUES ('new-_0', zeroblob(1048576))").await.unwrap();
    assert_eq!(store.get(&name("new-_0")).await.unwrap().len(), Value::MAX_LEN);
    let check: String = query_scalar("PRAGMA integrity_check").fetch_one(&mut other).await.unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test]
async fn what_is_not_a_database_is_an_error_at_start_and_is_not_touched() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    for content in [b"x".to_vec(), b"text\n".repeat(20), vec![7; 20_000]] {
        fs::write(&path, &content).unwrap();
        let reason = open_error(&path).await;
        assert!(reason.contains("is not a SQLite database; configure another path"), "{reason}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    assert!(open_error(root.path()).await.contains("is not a regular file"));
    assert!(open_error(&path.join("below")).await.contains("cannot create the directory of"));
    std::os::unix::fs::symlink("nothing", root.path().join("dangling")).unwrap();
    open_error(&root.path().join("dangling")).await;
    assert_eq!(file_names(root.path()), ["dangling", "keys.db"]);
}

#[tokio::test]
async fn the_database_of_another_program_is_not_touched() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    let mut other = other(&path).await;
    other.execute("CREATE TABLE dashboards (id INTEGER)").await.unwrap();
    other.close().await.unwrap();
    let content = fs::read(&path).unwrap();
    let reason = open_error(&path).await;
    assert!(reason.contains("belongs to another program"), "{reason}");
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[tokio::test]
async fn a_newer_schema_is_an_error_at_start() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    support::sqlite(&path).await.close().await;
    let mut other = other(&path).await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (2, 'later', TRUE, x'00', 0)";
    other.execute(newer).await.unwrap();
    let reason = open_error(&path).await;
    assert!(reason.contains("has schema version 2, and this release supports 1; run the newer release"), "{reason}");
}

#[tokio::test]
async fn a_changed_schema_is_an_error_at_start() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    support::sqlite(&path).await.close().await;
    let mut other = other(&path).await;
    other.execute("UPDATE _sqlx_migrations SET checksum = x'00'").await.unwrap();
    assert!(open_error(&path).await.contains("schema that is not Keyway's"));
    other.execute("DELETE FROM _sqlx_migrations").await.unwrap();
    open_error(&path).await;
}

#[tokio::test]
async fn a_database_without_its_table_is_an_error_at_start() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    let store = support::sqlite(&path).await;
    other(&path).await.execute("DROP TABLE keys").await.unwrap();
    assert!(unavailable(store.get(&name("my-key")).await).contains("no such table"));
    unavailable(store.create(&name("my-key"), &value("value")).await);
    unavailable(store.list("", None, 10).await);
    store.close().await;
    assert!(open_error(&path).await.contains("no such table"));
}

#[tokio::test]
async fn a_log_without_its_database_is_kept() {
    let root = tempdir().unwrap();
    let (path, log) = (root.path().join("keys.db"), root.path().join("keys.db-wal"));
    fs::write(&log, "frames").unwrap();
    assert!(open_error(&path).await.contains("is missing, but its log"));
    fs::write(&path, "").unwrap();
    assert!(open_error(&path).await.contains("is empty, but its log"));
    assert_eq!(fs::read_to_string(&log).unwrap(), "frames");
    fs::remove_file(&log).unwrap();
    support::sqlite(&path).await.ping().await.unwrap();
}

/// All ways in which the path can cease to lead to the file that was opened.
#[tokio::test]
async fn a_database_that_is_gone_or_replaced_is_unavailable_and_not_empty() {
    let ways: [(&str, Accident); 3] = [
        ("removed", |path, _| fs::remove_file(path).unwrap()),
        ("renamed", |path, aside| fs::rename(path, aside).unwrap()),
        ("replaced", |path, aside| {
            fs::copy(path, aside).unwrap();
            fs::rename(aside, path).unwrap();
        }),
    ];
    for (way, act) in ways {
        let root = tempdir().unwrap();
        let path = root.path().join("keys.db");
        let store = support::sqlite(&path).await;
        store.create(&name("my-key"), &value("value")).await.unwrap();
        act(&path, &root.path().join("aside.db"));
        let (key, new) = (name("absent"), value("new"));
        for reason in [
            unavailable(store.get(&key).await),
            unavailable(store.create(&key, &new).await),
            unavailable(store.create(&name("my-key"), &new).await),
            unavailable(store.delete(&key).await),
            unavailable(store.list("", None, 10).await),
            unavailable(store.ping().await),
        ] {
            assert!(
                reason.contains(path.to_str().unwrap()) && reason.contains("since it was opened"),
                "{way}: {reason}"
            );
        }
        // What the open file contains is still correct.
        assert_eq!(store.get(&name("my-key")).await.unwrap(), value("value"), "{way}");
        assert_eq!(path.exists(), way == "replaced", "{way}: no new file is created");
    }
}

#[tokio::test]
async fn a_database_that_another_process_locks_is_unavailable() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    let store = support::sqlite(&path).await;
    store.create(&name("my-key"), &value("value")).await.unwrap();
    let mut other = other(&path).await;
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    assert_eq!(store.get(&name("my-key")).await.unwrap(), value("value"), "WAL readers do not wait for a writer");
    let reason = unavailable(store.create(&name("new"), &value("value")).await);
    assert!(reason.contains("another process holds a lock on it") && reason.contains("keys.db"), "{reason}");
    other.execute("ROLLBACK").await.unwrap();
    store.create(&name("new"), &value("value")).await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_locked_is_an_error_at_start() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    support::sqlite(&path).await.close().await;
    let mut other = other(&path).await;
    other.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").await.unwrap();
    let reason = open_error(&path).await;
    assert!(reason.contains("another process holds a lock on it; stop that process"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_that_start_at_the_same_time_create_one_database() {
    for _ in 0..5 {
        let root = tempdir().unwrap();
        let path = root.path().join("keys.db");
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                tokio::spawn(async move { support::sqlite(&path).await })
            })
            .collect();
        for start in starts {
            start.await.unwrap().ping().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_failed_write_leaves_the_other_keys_intact() {
    if let Some(root) = limited() {
        let store = support::sqlite(&root.join("keys.db")).await;
        let reason = unavailable(store.create(&name("new"), &Value::from(vec![1; Value::MAX_LEN])).await);
        assert!(reason.contains("keys.db") && reason.contains("cannot write"), "{reason}");
        assert!(matches!(store.get(&name("new")).await, Err(StoreError::NotFound)));
        assert_eq!(store.get(&name("old")).await.unwrap(), value("value"));
        store.create(&name("small"), &value("value")).await.unwrap();
        return;
    }
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    let store = support::sqlite(&path).await;
    store.create(&name("old"), &value("value")).await.unwrap();
    store.close().await;
    // In blocks of 512 or 1024 bytes: more than SQLite's shared memory, less than the value.
    run_limited("trap '' XFSZ; ulimit -f 500", "sqlite::a_failed_write_leaves_the_other_keys_intact", root.path());
    let store = support::sqlite(&path).await;
    assert_eq!(store.list("", None, 10).await.unwrap(), [name("old"), name("small")]);
}

#[tokio::test]
async fn a_deleted_value_is_wiped_from_the_file() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    let store = support::sqlite(&path).await;
    store.create(&name("my-key"), &value("a-recognisable-value")).await.unwrap();
    store.delete(&name("my-key")).await.unwrap();
    store.close().await;
    let content = fs::read(&path).unwrap();
    assert!(!content.windows(20).any(|window| window == b"a-recognisable-value"));
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let root = tempdir().unwrap();
    let store = support::sqlite(&root.path().join("keys.db")).await;
    store.close().await;
    assert!(unavailable(store.get(&name("my-key")).await).contains("closed"));
}
