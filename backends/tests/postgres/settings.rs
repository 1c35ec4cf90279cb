//! Wrong settings, TLS, and the environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use backends::postgres::{Config, SslMode};
use tokio::time::sleep;

use super::{
    DATABASE, OPERATION, RECOVERY, SECOND, config, name, open, secret, try_open, unavailable, unreachable, value,
};
use crate::services::postgres::{ADMIN, PASSWORD, Postgres};
use crate::services::proxy::{Mode, Proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wrong_settings_are_reported_at_start_without_passwords() {
    let server = Postgres::start();
    let right = config(server.port());
    for (wrong, why) in [
        (Config { password: Some(secret("hunter2")), ..right.clone() }, "password authentication failed"),
        (Config { password: None, ..right.clone() }, "check user and password"),
        (Config { user: Some("nobody".to_owned()), ..right.clone() }, "check user and password"),
        (Config { database: Some("nowhere".to_owned()), ..right.clone() }, "configure another database"),
        (Config { sslmode: None, ..right.clone() }, "enable TLS on the server"),
        (
            Config { sslmode: None, ca: Some("/nowhere/ca.pem".into()), ..right.clone() },
            "cannot read ca '/nowhere/ca.pem'",
        ),
        (Config { sslmode: None, ca: Some("/etc/hostname".into()), ..right.clone() }, "contains no PEM block"),
        (Config { cert: Some("/nowhere".into()), ..right.clone() }, "together"),
        (Config { schema: "Keys".to_owned(), ..right.clone() }, "schema is not"),
        (Config { timeout: Duration::ZERO, ..right.clone() }, "timeout is out of range"),
        (Config { url: Some(secret("postgres://u:hunter2@h/d")), ..right.clone() }, "set both in url and separately"),
    ] {
        let reason = unavailable(try_open(wrong).await);
        assert!(reason.contains(why), "{reason}");
    }
    let start = Instant::now();
    let closed = Config { port: Some(1), ..right.clone() };
    assert!(unreachable(try_open(closed).await).contains("refused"));
    let unknown = Config { host: Some("nowhere.invalid".to_owned()), ..right.clone() };
    assert!(
        unreachable(try_open(unknown).await)
            .contains("check that the server is running and that the address is correct")
    );
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

/// Creates `ca.pem`, `server.pem` and `server.key` in the folder: a certificate for `subject_names` of a new authority.
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
async fn tls_is_as_strict_as_its_mode() {
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
        assert!(reason.contains("check that 'ca' contains the authority"), "{reason}");
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

/// The driver would use variables for what the config leaves out. The test runs itself again with them set.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_environment_is_ignored() {
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
        let module = module_path!().split_once("::").unwrap().1;
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::the_environment_is_ignored")])
            .env(PORT, server.port().to_string())
            .envs(variables)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    }
}
