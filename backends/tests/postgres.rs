//! The PostgreSQL backend on a real server: alone, shared, broken, and wrongly configured.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::services::pgbouncer::PgBouncer;
use crate::services::postgres::{ADMIN, PASSWORD, Postgres};
use crate::services::proxy::{Mode, Proxy};
use backends::postgres::{Config, Listen, SslMode};
use backends::{BackendConfig, Change, Name, Secret, Store, StoreError, Value};
use tokio::sync::broadcast::Receiver;
use tokio::time::{sleep, timeout};

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

/// The reason of an answer that must be `Unavailable`; no answer may have a password in it.
fn unavailable<T>(result: Result<T, StoreError>) -> String {
    match result.map(|_| ()) {
        Err(error @ StoreError::Unavailable { .. }) => reason(&error),
        other => panic!("expected Unavailable, got {other:?}"),
    }
}

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

/// How long it takes until keys are read again.
async fn recovery(store: &Arc<dyn Store>, key: &Name) -> Duration {
    let start = Instant::now();
    while let Err(error) = timeout(Duration::from_secs(2), store.get(key)).await.unwrap_or(Err(StoreError::NotFound)) {
        assert!(start.elapsed() < Duration::from_secs(10), "{error}");
        sleep(Duration::from_millis(100)).await;
    }
    start.elapsed()
}

/// Waits for a change, past others.
async fn heard(changes: &mut Receiver<Change>, expected: &Change, within: Duration) {
    let wait = async { while changes.recv().await.unwrap() != *expected {} };
    timeout(within, wait).await.unwrap_or_else(|_| panic!("{expected:?} was not heard within {within:?}"));
}

const SECOND: Duration = Duration::from_secs(1);
const RECOVERY: Duration = Duration::from_secs(5);
const OPERATION: Duration = Duration::from_secs(8);

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
async fn postgres_gives_the_same_answers_as_memory() {
    let server = Postgres::start();
    for seed in 1..=3 {
        let memory = backends::open(&BackendConfig::Memory).await.unwrap();
        let postgres = open(Config { schema: format!("s{seed}"), ..config(server.port()) }).await;
        backends::conformance::differential(vec![memory, postgres], seed, 1_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn gateways_that_start_at_once_all_start_and_a_race_has_one_winner() {
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
async fn what_one_gateway_does_is_heard_by_the_other_within_a_second() {
    let server = Postgres::start();
    let (one, other) = (open(config(server.port())).await, open(config(server.port())).await);
    let elsewhere = open(Config { schema: "elsewhere".to_owned(), ..config(server.port()) }).await;
    let mut changes = other.changes().unwrap();
    let mut unrelated = elsewhere.changes().unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Subscribed);
    assert_eq!(unrelated.recv().await.unwrap(), Change::Subscribed);
    let key = name("shared");
    one.create(&key, &value("a key")).await.unwrap();
    heard(&mut changes, &Change::Key(key.clone()), SECOND).await;
    one.delete(&key).await.unwrap();
    heard(&mut changes, &Change::Key(key.clone()), SECOND).await;
    // What changes nothing tells nothing.
    assert!(matches!(one.delete(&key).await, Err(StoreError::NotFound)));
    assert!(timeout(SECOND, changes.recv()).await.is_err());
    assert!(unrelated.try_recv().is_err());

    let silent = open(Config { listen: Listen::Off, ..config(server.port()) }).await;
    assert!(silent.changes().is_none());
    drop((other, elsewhere));
    assert!(changes.recv().await.is_err(), "a dropped store says nothing any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_of_the_server_is_survived_and_heard() {
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
        heard(&mut changes, &Change::Unsubscribed, RECOVERY).await;
        let start = Instant::now();
        assert!(
            unreachable(store.get(&key).await)
                .contains("cannot read key 'kept' in PostgreSQL 'postgres' at 127.0.0.1:")
        );
        unreachable(store.create(&name("new"), &value("x")).await);
        unreachable(store.delete(&key).await);
        unreachable(store.list("", None, 10).await);
        unreachable(store.ping().await);
        assert!(start.elapsed() < 2 * SECOND, "a refused connection is told at once");
        assert_eq!(store.changes().unwrap().recv().await.unwrap(), Change::Unsubscribed);
        server.resume();
        assert!(recovery(&store, &key).await < RECOVERY);
        heard(&mut changes, &Change::Subscribed, RECOVERY).await;
    }
    // Without a word in between: what was idle is dead, and nobody notices.
    server.stop();
    server.resume();
    assert_eq!(store.get(&key).await.unwrap(), value("a key"));
    assert!(matches!(store.create(&key, &value("another")).await, Err(StoreError::AlreadyExists)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frozen_server_is_unreachable_in_time_and_comes_back() {
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
    assert!(ping.is_err() || ping.is_ok_and(|answer| answer.is_err()));
    heard(&mut changes, &Change::Unsubscribed, RECOVERY).await;
    server.thaw();
    assert!(recovery(&store, &key).await < RECOVERY);
    heard(&mut changes, &Change::Subscribed, RECOVERY).await;
    // The create was not acknowledged; it happened or not, and a second one says which.
    assert!(matches!(store.create(&new, &fresh).await, Ok(()) | Err(StoreError::AlreadyExists)));
    assert_eq!(store.get(&new).await.unwrap(), fresh);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn faults_of_the_network_give_no_wrong_answer_and_are_over_in_five_seconds() {
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
        for answer in futures(&store, &key, 6).await {
            answer.unwrap();
        }
        proxy.set(fault);
        if cut {
            proxy.cut_all();
        }
        // The proxy's tasks learn of it one by one, and until then a query may rightly get its answer.
        sleep(Duration::from_millis(250)).await;
        let start = Instant::now();
        let missing = name("never-made");
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
    // A proxy that drops everything is not even noticed.
    for _ in 0..5 {
        proxy.cut_all();
        assert_eq!(store.get(&key).await.unwrap(), value("a key"));
        proxy.cut_all();
        assert!(matches!(store.get(&absent).await, Err(StoreError::NotFound)));
        proxy.cut_all();
        assert!(matches!(store.create(&key, &value("other")).await, Err(StoreError::AlreadyExists)));
    }
}

async fn futures(store: &Arc<dyn Store>, key: &Name, count: usize) -> Vec<Result<Value, StoreError>> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (store, key) = (Arc::clone(store), key.clone());
        tasks.spawn(async move { store.get(&key).await });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_whose_answer_is_lost_is_looked_after() {
    let server = Postgres::start();
    let proxy = Proxy::start(server.address()).await;
    let quiet = Config { listen: Listen::Off, connections: 1, ..config(proxy.port()) };
    let (store, direct) = (open(quiet).await, open(config(server.port())).await);
    let mut cuts = 0;
    // At every few bytes of all that the server answers to a create and a delete, the one to the commit included.
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
        // Somebody else's value stands.
        direct.create(&key, &value("theirs")).await.unwrap();
        store.ping().await.unwrap();
        proxy.set(Mode::CutAfter(bytes));
        assert!(matches!(store.create(&key, &ours).await, Err(StoreError::AlreadyExists)));
        proxy.set(Mode::Pass);
        assert_eq!(direct.get(&key).await.unwrap(), value("theirs"));
    }
    assert!(cuts > 30, "the cuts hit {cuts} creates: more bytes than a create has are no test");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wrong_settings_are_told_at_the_start_and_never_with_a_password() {
    let server = Postgres::start();
    let right = config(server.port());
    for (wrong, why) in [
        (Config { password: Some(secret("hunter2")), ..right.clone() }, "password authentication failed"),
        (Config { password: None, ..right.clone() }, "see user and password"),
        (Config { user: Some("nobody".to_owned()), ..right.clone() }, "see user and password"),
        (Config { database: Some("nowhere".to_owned()), ..right.clone() }, "name another database"),
        (Config { sslmode: None, ..right.clone() }, "turn TLS on in the server"),
        (
            Config { sslmode: None, ca: Some("/nowhere/ca.pem".into()), ..right.clone() },
            "cannot read ca '/nowhere/ca.pem'",
        ),
        (Config { sslmode: None, ca: Some("/etc/hostname".into()), ..right.clone() }, "no PEM block"),
        (Config { cert: Some("/nowhere".into()), ..right.clone() }, "together"),
        (Config { schema: "Keys".to_owned(), ..right.clone() }, "schema is not"),
        (Config { timeout: Duration::ZERO, ..right.clone() }, "timeout is not"),
        (Config { url: Some(secret("postgres://u:hunter2@h/d")), ..right.clone() }, "twice"),
    ] {
        let reason = unavailable(try_open(wrong).await);
        assert!(reason.contains(why), "{reason}");
    }
    let start = Instant::now();
    let closed = Config { port: Some(1), ..right.clone() };
    assert!(unreachable(try_open(closed).await).contains("refused"));
    let unknown = Config { host: Some("nowhere.invalid".to_owned()), ..right.clone() };
    assert!(unreachable(try_open(unknown).await).contains("see whether the server runs and the address is right"));
    let proxy = Proxy::start(server.address()).await;
    proxy.set(Mode::BlackHole);
    assert!(unreachable(try_open(config(proxy.port())).await).contains("no connection within 2s"));
    assert!(start.elapsed() < OPERATION);

    let url = format!("postgres://{ADMIN}:{PASSWORD}@127.0.0.1:{}/{DATABASE}?sslmode=disable", server.port());
    let config = Config { url: Some(secret(&url)), ..Config::default() };
    assert!(!format!("{config:?}").contains(PASSWORD));
    let store = open(config).await;
    assert!(!format!("{store:?}").contains(PASSWORD));
    let socket = Config { host: Some(server.directory().display().to_string()), sslmode: None, ..right };
    open(socket).await.ping().await.unwrap();
}

/// A certificate for `subject_names`, signed by an authority of its own: the folder with `ca.pem`, `server.pem` and
/// `server.key`.
fn certificates(folder: &Path, subject_names: &str) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(folder).output();
        let output = output.expect("openssl is not installed; run ./setup --tests");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let names = format!("subjectAltName={subject_names}");
    openssl(&[&["req", "-x509", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"], &key[..]].concat());
    let leaf = ["req", "-x509", "-subj", "/CN=server", "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "server.key"];
    let own = ["-out", "server.pem", "-addext", "basicConstraints=critical,CA:FALSE", "-addext", &names];
    openssl(&[&leaf[..], &own[..], &key[..]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tls_is_as_strict_as_its_mode_says() {
    let server = Postgres::start();
    certificates(server.directory(), "IP:127.0.0.1");
    let (ca, pem, key) = ("ca.pem", "server.pem", "server.key").into_paths(server.directory());
    server.own(&pem);
    server.own(&key);
    server.configure(&format!("ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'", pem.display(), key.display()));
    server.reload();
    let other = tempfile::tempdir().unwrap();
    certificates(other.path(), "IP:127.0.0.1");
    let tls = |host: &str, sslmode, ca: Option<&Path>| Config {
        host: Some(host.to_owned()),
        sslmode,
        ca: ca.map(Path::to_owned),
        ..config(server.port())
    };
    let start = Instant::now();
    while try_open(tls("127.0.0.1", None, Some(&ca))).await.is_err() {
        assert!(start.elapsed() < RECOVERY);
        sleep(SECOND / 10).await;
    }
    let store = open(tls("127.0.0.1", None, Some(&ca))).await;
    assert_eq!(
        server.sql(
            DATABASE,
            "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE application_name = 'keyway'"
        ),
        "t"
    );
    store.create(&name("over-tls"), &value("a key")).await.unwrap();
    let wrong = other.path().join("ca.pem");
    for refused in [
        tls("127.0.0.1", None, Some(&wrong)),
        tls("127.0.0.1", None, None),
        tls("127.0.0.1", Some(SslMode::VerifyCa), Some(&wrong)),
        tls("localhost", None, Some(&ca)),
    ] {
        let reason = unavailable(try_open(refused).await);
        assert!(reason.contains("see whether 'ca' has the authority"), "{reason}");
    }
    open(tls("localhost", Some(SslMode::VerifyCa), Some(&ca))).await.ping().await.unwrap();
    open(tls("localhost", Some(SslMode::Require), None)).await.ping().await.unwrap();
}

trait IntoPaths {
    fn into_paths(self, folder: &Path) -> (PathBuf, PathBuf, PathBuf);
}

impl IntoPaths for (&str, &str, &str) {
    fn into_paths(self, folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
        (folder.join(self.0), folder.join(self.1), folder.join(self.2))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_role_without_rights_is_told_what_to_grant_and_then_that_is_enough() {
    let server = Postgres::start();
    server.sql(DATABASE, &format!("CREATE ROLE gate LOGIN PASSWORD '{PASSWORD}'"));
    let gate = Config { user: Some("gate".to_owned()), ..config(server.port()) };
    let told = unavailable(try_open(gate.clone()).await);
    assert!(told.contains("GRANT CREATE ON DATABASE \"postgres\" TO \"gate\""), "{told}");
    server.sql(DATABASE, "CREATE SCHEMA keyway");
    let told = unavailable(try_open(gate.clone()).await);
    assert!(told.contains("GRANT USAGE, CREATE ON SCHEMA \"keyway\" TO \"gate\""), "{told}");

    let by_hand = Config { migrate: false, ..gate.clone() };
    let told = unavailable(try_open(by_hand.clone()).await);
    let (_, sql) = told.split_once("run as its owner: ").unwrap();
    server.sql(DATABASE, sql);
    for config in [by_hand, gate.clone()] {
        let (store, key) = (open(config).await, name("made-by-hand"));
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
async fn a_table_that_is_not_ours_or_newer_is_left_alone() {
    let server = Postgres::start();
    drop(open(config(server.port())).await);
    server.sql(DATABASE, "UPDATE keyway._keyway_migrations SET version = 2");
    assert!(
        unavailable(try_open(config(server.port())).await).contains("has schema version 2, and this release knows 1")
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
        let told = unavailable(try_open(Config { schema: schema.to_owned(), ..config(server.port()) }).await);
        assert!(told.contains(why), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn not_found_is_said_with_certainty_alone() {
    let server = Postgres::start();
    server.sql(DATABASE, &format!("CREATE ROLE gate LOGIN PASSWORD '{PASSWORD}'"));
    let (store, key) = (open(config(server.port())).await, name("kept"));
    store.create(&key, &value("a key")).await.unwrap();
    // Rows that are there but hidden.
    server.sql(
        DATABASE,
        "GRANT USAGE ON SCHEMA keyway TO gate; GRANT SELECT, INSERT, DELETE ON keyway.keys TO gate; \
        GRANT SELECT ON keyway._keyway_migrations TO gate",
    );
    let gate = open(Config { user: Some("gate".to_owned()), ..config(server.port()) }).await;
    assert_eq!(gate.get(&key).await.unwrap(), value("a key"));
    server.sql(DATABASE, "ALTER TABLE keyway.keys ENABLE ROW LEVEL SECURITY");
    for told in [
        unavailable(gate.get(&key).await),
        unavailable(gate.delete(&key).await),
        unavailable(gate.list("", None, 9).await),
    ] {
        assert!(told.contains("row-level security"), "{told}");
    }
    server.sql(DATABASE, "ALTER TABLE keyway.keys DISABLE ROW LEVEL SECURITY");
    assert_eq!(gate.get(&key).await.unwrap(), value("a key"));
    // A value that is no key, put there by somebody.
    server.sql(
        DATABASE,
        "ALTER TABLE keyway.keys DROP CONSTRAINT keys_value_check; \
        INSERT INTO keyway.keys VALUES ('large', decode(repeat('00', 1048577), 'hex'))",
    );
    assert!(matches!(store.get(&name("large")).await, Err(StoreError::Damaged { .. })));
    assert!(matches!(store.create(&name("large"), &value("x")).await, Err(StoreError::AlreadyExists)));
    // A table that is gone, and comes back.
    server.sql(DATABASE, "ALTER TABLE keyway.keys RENAME TO away");
    for told in
        [unavailable(store.get(&key).await), unavailable(store.delete(&key).await), unavailable(store.ping().await)]
    {
        assert!(told.contains("does not exist") && told.contains("restore it from a backup"), "{told}");
    }
    server.sql(DATABASE, "ALTER TABLE keyway.away RENAME TO keys; ALTER DATABASE postgres SET bytea_output = escape");
    assert_eq!(open(config(server.port())).await.get(&key).await.unwrap(), value("a key"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_is_refused_and_a_read_only_server_reads() {
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
    for told in [unavailable(store.create(&name("new"), &value("x")).await), unavailable(store.delete(&key).await)] {
        assert!(told.contains("read-only transaction") && told.contains("primary"), "{told}");
    }
    let new = Config { schema: "new".to_owned(), ..config(server.port()) };
    assert!(unavailable(try_open(new).await).contains("read-only"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_are_synchronous_whatever_the_role_is_set_to() {
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
    sleep(SECOND).await;
    let start = Instant::now();
    let error = store.create(&key, &value("a key")).await.unwrap_err();
    assert!(start.elapsed() < OPERATION);
    assert!(reason(&error).contains("it may have happened"), "{error}");
    assert!(matches!(store.get(&key).await, Err(StoreError::NotFound)), "nobody sees it before it is safe");
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
async fn a_lock_on_the_table_ends_in_an_answer() {
    let server = Postgres::start();
    let (store, key) = (open(config(server.port())).await, name("kept"));
    store.create(&key, &value("a key")).await.unwrap();
    std::thread::scope(|scope| {
        let lock = "BEGIN; LOCK TABLE keyway.keys; SELECT pg_sleep(9)";
        let holder = scope.spawn(|| server.sql(DATABASE, lock));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                sleep(SECOND).await;
                let (start, fresh, new) = (Instant::now(), value("x"), name("new"));
                let (create, delete, get) =
                    tokio::join!(store.create(&new, &fresh), store.delete(&key), store.get(&key));
                assert!(start.elapsed() < OPERATION);
                for told in [unavailable(create), unavailable(delete)] {
                    assert!(told.contains("lock timeout") && told.contains("pg_locks"), "{told}");
                }
                assert!(matches!(get, Err(StoreError::Unavailable { .. } | StoreError::Unreachable { .. })));
            });
        });
        holder.join().unwrap();
    });
    assert_eq!(store.get(&key).await.unwrap(), value("a key"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_callers_than_connections_take_turns() {
    let server = Postgres::start();
    let (store, key) = (open(Config { connections: 2, ..config(server.port()) }).await, name("kept"));
    store.create(&key, &value("a key")).await.unwrap();
    for answer in futures(&store, &key, 200).await {
        assert_eq!(answer.unwrap(), value("a key"));
    }
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keyway'";
    assert_eq!(server.sql(DATABASE, connections), "3", "two, and the one that listens");
    store.close().await;
    assert!(unavailable(store.get(&key).await).contains("closed"));
    sleep(SECOND).await;
    assert_eq!(server.sql(DATABASE, connections), "0");
}

#[cfg(feature = "conformance")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behind_pgbouncer_the_contract_is_kept() {
    let (server, count) = (Postgres::start(), AtomicUsize::new(0));
    let pooler = PgBouncer::start(&server);
    let listen = Listen::At { host: "127.0.0.1".to_owned(), port: server.port() };
    let behind = |schema: String| Config { schema, listen: listen.clone(), ..config(pooler.port()) };
    backends::conformance::run(|| open(behind(format!("s{}", count.fetch_add(1, Ordering::Relaxed))))).await;
    let stores = tokio::join!(open(behind("a".to_owned())), open(behind("a".to_owned())), open(behind("b".to_owned())));
    let mut changes = stores.1.changes().unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Subscribed);
    stores.0.create(&name("shared"), &value("a key")).await.unwrap();
    heard(&mut changes, &Change::Key(name("shared")), SECOND).await;
    assert!(matches!(stores.2.get(&name("shared")).await, Err(StoreError::NotFound)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behind_pgbouncer_a_listener_knows_that_it_is_deaf() {
    let server = Postgres::start();
    let pooler = PgBouncer::start(&server);
    for _ in 0..3 {
        let store = open(config(pooler.port())).await;
        let mut changes = store.changes().unwrap();
        assert_eq!(changes.recv().await.unwrap(), Change::Unsubscribed);
        store.create(&name("any"), &value("a key")).await.unwrap();
        store.delete(&name("any")).await.unwrap();
        sleep(2 * SECOND).await;
        assert_eq!(store.changes().unwrap().recv().await.unwrap(), Change::Unsubscribed);
    }
}

/// The driver would take them for what the config leaves out. Runs itself again with them set.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_environment_has_no_say() {
    const PORT: &str = "KEYWAY_TEST_POSTGRES_PORT";
    if let Ok(port) = std::env::var(PORT) {
        let port = port.parse().unwrap();
        let refused = std::env::var_os("PGOPTIONS").is_some() || std::env::var_os("PGSSLCERT").is_some();
        let result = try_open(config(port)).await;
        if refused {
            assert!(unavailable(result).contains("unset"));
        } else {
            result.unwrap();
            let without = Config { password: None, ..config(port) };
            assert!(unavailable(try_open(without).await).contains("password"));
        }
        return;
    }
    let server = Postgres::start();
    for variables in [
        vec![
            ("PGHOST", "nowhere.invalid"),
            ("PGHOSTADDR", "192.0.2.1"),
            ("PGPORT", "1"),
            ("PGUSER", "nobody"),
            ("PGPASSWORD", PASSWORD),
            ("PGDATABASE", "nowhere"),
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", "/nowhere"),
            ("PGAPPNAME", "nothing"),
        ],
        vec![("PGOPTIONS", "-c synchronous_commit=off")],
        vec![("PGSSLCERT", "/nowhere")],
    ] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_environment_has_no_say"])
            .env(PORT, server.port().to_string())
            .envs(variables)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
