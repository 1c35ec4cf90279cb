//! What is specific to keys in a SQLite database.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backends::{BackendConfig, Name, StoreError, Value};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor, query_scalar};
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::services::eventually::until;
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
        let files = [".keys.db.keyway", "keys.db", "keys.db-shm", "keys.db-wal"];
        assert_eq!(file_names(&root.join("deep")), files);
        for file in file_names(&root.join("deep")) {
            assert_eq!(mode(&root.join("deep").join(&file)), 0o600, "{file}");
        }
        store.close().await;
        assert_eq!(file_names(&root.join("deep")), [".keys.db.keyway", "keys.db"]);
        return;
    }
    for umask in ["000", "022", "777"] {
        let root = tempdir().unwrap();
        let test = "sqlite::the_database_and_its_log_are_for_the_owner_only";
        run_limited(&format!("umask {umask}"), test, root.path());
    }
}

/// Copies a file in a process of its own: in this one, closing the database would end its locks.
fn copy_file(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").args([from, to]).status().unwrap().success());
}

/// Waits until the log of the database is empty.
async fn until_empty(path: &Path) {
    let is_empty = || std::future::ready(fs::metadata(path.with_extension("db-wal")).unwrap().len() == 0);
    until(Duration::from_secs(20), || "the log is not empty".to_owned(), is_empty).await;
}

/// What is in a copy of the file alone, as a backup program or a volume that mounts one file takes it.
async fn names_in_a_copy(path: &Path) -> Vec<Name> {
    let elsewhere = tempdir().unwrap();
    let copy = elsewhere.path().join("copy.db");
    copy_file(path, &copy);
    let store = support::sqlite(&copy).await;
    let names = store.list("", None, 1_000).await.unwrap();
    store.close().await;
    names
}

#[tokio::test]
async fn the_file_alone_has_every_acknowledged_change() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    let store = support::sqlite(&path).await;
    for text in ["a", "b"] {
        store.create(&name(text), &value("value")).await.unwrap();
    }
    assert_eq!(names_in_a_copy(&path).await, [name("a"), name("b")]);
    store.delete(&name("a")).await.unwrap();
    assert_eq!(names_in_a_copy(&path).await, [name("b")]);
    assert_eq!(fs::metadata(root.path().join("keys.db-wal")).unwrap().len(), 0, "the log is empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_file_alone_has_what_many_clients_of_two_processes_created() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    let stores = [support::sqlite(&path).await, support::sqlite(&path).await];
    let mut creates = JoinSet::new();
    for number in 0..200 {
        let store = Arc::clone(&stores[number % 2]);
        creates.spawn(async move { store.create(&name(&format!("key-{number:03}")), &value("value")).await });
    }
    for created in creates.join_all().await {
        created.unwrap();
    }
    // Two that end at the same moment may leave the log to the other one for an instant.
    until_empty(&path).await;
    assert_eq!(names_in_a_copy(&path).await.len(), 200);
}

#[tokio::test]
async fn a_reader_that_does_not_end_delays_no_create_and_the_file_catches_up() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    let store = support::sqlite(&path).await;
    store.create(&name("before"), &value("value")).await.unwrap();
    let mut other = other(&path).await;
    other.execute("BEGIN; SELECT * FROM keys").await.unwrap();
    let start = Instant::now();
    store.create(&name("during"), &value("value")).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(names_in_a_copy(&path).await, [name("before")], "the reader holds the file back");
    other.execute("COMMIT").await.unwrap();
    until_empty(&path).await;
    assert_eq!(names_in_a_copy(&path).await, [name("before"), name("during")]);
}

#[tokio::test]
async fn the_log_of_a_killed_process_is_in_the_file_after_the_start() {
    let root = tempdir().unwrap();
    let (path, left) = (root.path().join("keys.db"), root.path().join("left.db"));
    support::sqlite(&path).await.close().await;
    leave_a_log(&path, &left, "INSERT INTO keys VALUES ('my-key', x'00')").await;
    assert!(fs::metadata(root.path().join("left.db-wal")).unwrap().len() > 0);
    let store = support::sqlite(&left).await;
    assert_eq!(names_in_a_copy(&left).await, [name("my-key")]);
    store.get(&name("my-key")).await.unwrap();
}

/// Copies a database and its log, as they are while a program that has changed it still runs.
async fn leave_a_log(path: &Path, left: &Path, change: &'static str) {
    let log = |path: &Path| path.with_extension("db-wal");
    let mut other = other(path).await;
    other.execute("PRAGMA wal_autocheckpoint = 0").await.unwrap();
    other.execute(change).await.unwrap();
    copy_file(path, left);
    copy_file(&log(path), &log(left));
    other.close().await.unwrap();
}

#[tokio::test]
async fn the_log_of_another_database_is_refused_at_start_and_nothing_is_changed() {
    let root = tempdir().unwrap();
    let (ours, theirs, left) =
        (root.path().join("keys.db"), root.path().join("theirs.db"), root.path().join("left.db"));
    let log = root.path().join("keys.db-wal");
    let store = support::sqlite(&ours).await;
    for number in 0..200 {
        store.create(&name(&format!("key-{number}")), &Value::from(vec![7; 300])).await.unwrap();
    }
    store.close().await;
    for (prepare, change) in [
        ("PRAGMA journal_mode = WAL; CREATE TABLE a (x)", "INSERT INTO a VALUES (zeroblob(30000))"),
        (
            "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; CREATE TABLE a (x)",
            "INSERT INTO a VALUES (zeroblob(9))",
        ),
    ] {
        let _ = fs::remove_file(&theirs);
        other(&theirs).await.execute(prepare).await.unwrap();
        leave_a_log(&theirs, &left, change).await;
        fs::copy(root.path().join("left.db-wal"), &log).unwrap();
        let before = (fs::read(&ours).unwrap(), fs::read(&log).unwrap());
        let reason = open_error(&ours).await;
        assert!(reason.contains("has a log") && reason.contains("keys.db-wal' that belongs to another"), "{reason}");
        assert!((fs::read(&ours).unwrap(), fs::read(&log).unwrap()) == before, "{prepare}");
    }
    // A younger database of Keyway, complete in its log.
    fs::remove_file(&theirs).unwrap();
    support::sqlite(&theirs).await.close().await;
    leave_a_log(&theirs, &left, "UPDATE _sqlx_migrations SET execution_time = 1; VACUUM").await;
    fs::copy(root.path().join("left.db-wal"), &log).unwrap();
    assert!(open_error(&ours).await.contains("belongs to another"));
    fs::write(&log, "text that is no log").unwrap();
    assert!(open_error(&ours).await.contains("is not a log of SQLite; move the log away"));
    // Of a power cut, before the head of the log was written.
    fs::write(&log, [0; 4_096]).unwrap();
    support::sqlite(&ours).await.get(&name("key-199")).await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_replaced_or_gone_makes_the_store_unavailable() {
    let ways: [(&str, Accident); 2] = [
        ("removed", |log, _| fs::remove_file(log).unwrap()),
        ("replaced", |log, aside| {
            fs::copy(log, aside).unwrap();
            fs::rename(aside, log).unwrap();
        }),
    ];
    for (way, act) in ways {
        let root = tempdir().unwrap();
        let (path, log) = (root.path().join("keys.db"), root.path().join("keys.db-wal"));
        let store = support::sqlite(&path).await;
        store.create(&name("my-key"), &value("value")).await.unwrap();
        act(&log, &root.path().join("aside"));
        for reason in [
            unavailable(store.get(&name("absent")).await),
            unavailable(store.create(&name("new"), &value("new")).await),
            unavailable(store.delete(&name("my-key")).await),
            unavailable(store.list("", None, 10).await),
            unavailable(store.ping().await),
        ] {
            let expected = format!("has a log '{}' that has been {way}", log.display());
            assert!(reason.contains(&expected), "{way}: {reason}");
        }
        assert_eq!(store.get(&name("my-key")).await.unwrap(), value("value"), "{way}");
    }
}

#[tokio::test]
async fn of_changes_that_are_committed_together_one_that_fails_does_not_end_the_others() {
    let root = tempdir().unwrap();
    let path = root.path().join("keys.db");
    let store = support::sqlite(&path).await;
    let trigger =
        "CREATE TRIGGER refuse BEFORE INSERT ON keys WHEN new.name = 'bad' BEGIN SELECT RAISE(FAIL, 'no'); END";
    other(&path).await.execute(trigger).await.unwrap();
    let mut creates = JoinSet::new();
    for number in 0..40 {
        let (store, name) =
            (Arc::clone(&store), name(&if number == 7 { "bad".into() } else { format!("key-{number}") }));
        creates.spawn(async move { (store.create(&name, &value("value")).await, name) });
    }
    for (created, name) in creates.join_all().await {
        assert_eq!(created.is_ok(), name.as_str() != "bad", "{name}: {created:?}");
    }
    assert_eq!(store.list("", None, 100).await.unwrap().len(), 39);
}

/// Not a test of anything but the disk: prints how many creates fit into a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "measures: cargo test --test backends creates_a_second -- --ignored --nocapture"]
async fn creates_a_second() {
    for clients in [1, 64] {
        let root = tempdir().unwrap();
        let store = support::sqlite(&root.path().join("keys.db")).await;
        let start = Instant::now();
        let mut running = JoinSet::new();
        for client in 0..clients {
            let store = Arc::clone(&store);
            running.spawn(async move {
                let mut created = 0;
                while start.elapsed() < Duration::from_secs(3) {
                    let name = name(&format!("key-{client}-{created}"));
                    store.create(&name, &Value::from(vec![7; 250])).await.unwrap();
                    created += 1;
                }
                created
            });
        }
        let created: i32 = running.join_all().await.iter().sum();
        println!("{clients} clients: {:.0} creates/s", f64::from(created) / start.elapsed().as_secs_f64());
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

#[tokio::test]
async fn an_empty_or_missing_database_that_contained_keys_is_an_error_at_start() {
    let root = tempdir().unwrap();
    let (path, marker) = (root.path().join("keys.db"), root.path().join(".keys.db.keyway"));
    let store = support::sqlite(&path).await;
    store.create(&name("my-key"), &value("value")).await.unwrap();
    store.close().await;
    fs::rename(&path, root.path().join("aside")).unwrap();
    let missing = open_error(&path).await;
    assert!(missing.contains("is missing, but contained keys before (marker '"), "{missing}");
    assert!(!path.exists());
    fs::write(&path, "").unwrap();
    assert!(open_error(&path).await.contains("is empty, but contained keys before"));
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    fs::rename(root.path().join("aside"), &path).unwrap();
    other(&path).await.execute("DELETE FROM keys").await.unwrap();
    let empty = open_error(&path).await;
    assert!(
        empty.contains("is empty, but contained keys before") && empty.contains(marker.to_str().unwrap()),
        "{empty}"
    );
    fs::remove_file(&marker).unwrap();
    let store = support::sqlite(&path).await;
    store.create(&name("my-key"), &value("value")).await.unwrap();
    assert!(marker.exists());
    store.delete(&name("my-key")).await.unwrap();
    assert!(!marker.exists());
    store.close().await;
    support::sqlite(&path).await.ping().await.unwrap();
}

#[tokio::test]
async fn what_root_creates_in_a_directory_of_another_user_belongs_to_that_user() {
    let root = tempdir().unwrap();
    if !support::is_root("sqlite::what_root_creates_in_a_directory_of_another_user_belongs_to_that_user") {
        return;
    }
    std::os::unix::fs::chown(root.path(), Some(1234), Some(2345)).unwrap();
    let store = support::sqlite(&root.path().join("new/keys.db")).await;
    store.create(&name("my-key"), &value("value")).await.unwrap();
    for file in file_names(&root.path().join("new")) {
        let metadata = fs::metadata(root.path().join("new").join(&file)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 2345), "{file}");
    }
}
