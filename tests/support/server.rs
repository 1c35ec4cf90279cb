//! A server: the program as a child process, with a config and a directory of its own.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{self, Client};
use super::{eventually, eventually_blocking, until};

/// How long a server may take to start or to stop.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Rules that the recorded exchanges expect.
const POLICIES: &str = "policy:
  app:
    allow:
    - /v1/key/create/app*
    - /v1/key/generate/app*
    - /v1/key/decrypt/app*
    - /v1/key/list/*
    - /v1/policy/read/app
    - /v1/status
    deny:
    - /v1/key/generate/app-internal*
    identities:
    - @app@
  ops:
    allow:
    - /v1/metrics
    - /v1/key/describe/*
    identities:
    - @ops@
";

/// What a server is started with.
pub struct Setup {
    /// YAML under `keystore:`; `@dir@` is the server's directory, `@unique@` a word that no other server has.
    pub keystore: String,
    /// YAML under `tls:` beyond key and cert.
    pub tls: String,
    /// Further top-level YAML; `@admin@`, `@app@`, `@ops@` are identities.
    pub extra: String,
    /// YAML of policies.
    pub policies: String,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// PEM of the server's certificate and private key, for one that is not fresh.
    pub certificate: Option<(String, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            keystore: "fs: {path: @dir@/keys}".to_owned(),
            tls: String::new(),
            extra: String::new(),
            policies: POLICIES.to_owned(),
            env: Vec::new(),
            certificate: None,
        }
    }
}

/// A running server. Dropping it kills the process, and fails the test if the server panicked or ended by itself.
pub struct Server {
    pub dir: TempDir,
    pub admin: Client,
    pub app: Client,
    pub ops: Client,
    pub stranger: Client,
    pub certificate: CertificateDer<'static>,
    pub address: std::net::SocketAddr,
    child: Child,
    /// The test has ended the process, or knows that it has ended.
    is_ended: bool,
    setup: Setup,
}

/// A response that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `message` of an error.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Server {
    /// A server on a fresh directory of keys.
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    /// A server on the store that this YAML describes.
    pub fn on(keystore: &str) -> Self {
        Self::with(Setup { keystore: keystore.to_owned(), ..Setup::default() })
    }

    /// A server with a setup to taste.
    pub fn with(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [admin, app, ops, stranger] = ["admin", "app", "ops", "stranger"].map(Client::new);
        let (certificate, key) = setup.certificate.clone().unwrap_or_else(|| Client::server().pem());
        fs::write(dir.path().join("server.cert"), &certificate).unwrap();
        fs::write(dir.path().join("server.key"), key).unwrap();
        let identities = [("admin", &admin), ("app", &app), ("ops", &ops), ("stranger", &stranger)];
        fs::write(dir.path().join("config.yml"), config(dir.path(), &setup, &identities)).unwrap();
        let (child, address) = spawn(dir.path(), &setup.env);
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        Self { dir, admin, app, ops, stranger, certificate, address, child, is_ended: false, setup }
    }

    /// Kills the server at once and starts it again on the same directory.
    pub fn restart(&mut self) {
        self.kill();
        assert_no_panic(&self.log()); // the next process writes a new log
        (self.child, self.address) = spawn(self.dir.path(), &self.setup.env);
        self.is_ended = false;
    }

    /// SIGKILL: no time for anything.
    pub fn kill(&mut self) {
        self.is_ended = true;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let (child, stderr) = (&mut self.child, self.dir.path().join("stderr"));
        let missing = || format!("the server does not stop:\n{}", fs::read_to_string(&stderr).unwrap_or_default());
        let status = eventually_blocking(PATIENCE, missing, || child.try_wait().unwrap());
        self.is_ended = true;
        status
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.is_ended |= self.child.try_wait().unwrap().is_some();
        !self.is_ended
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the server wrote to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// Waits until the log holds `text`: it is written behind the answers.
    pub async fn logged(&self, text: &str) {
        let missing = || format!("{text:?} is not in the log:\n{}", self.log());
        until(PATIENCE, missing, async || self.log().contains(text)).await;
    }

    /// The first line of the log that is looked for, which may take a moment: the server never waits for its log.
    pub async fn log_line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let missing = || format!("the line is not in the log:\n{}", self.log());
        let find = async || self.log().lines().find(|line| wanted(line)).map(str::to_owned);
        eventually(PATIENCE, missing, find).await
    }

    /// What the server wrote to standard output.
    pub fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("stdout")).unwrap_or_default()
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// An HTTP/1.1 client.
    pub fn http(&self, client: Option<&Client>) -> reqwest::Client {
        client::http(client::tls_config(&self.certificate, client, &[b"http/1.1"]))
    }

    /// An HTTP/2 client.
    pub fn http2(&self, client: Option<&Client>) -> reqwest::Client {
        client::http(client::tls_config(&self.certificate, client, &[b"h2"]))
    }

    /// One request over a connection of its own.
    pub async fn request(&self, client: &Client, method: Method, path: &str, body: Option<Value>) -> Answer {
        let http = self.http(Some(client));
        send(http.request(method, self.url(path)), body).await.unwrap()
    }

    /// GET as the admin.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(&self.admin, Method::GET, path, None).await
    }

    /// PUT as the admin.
    pub async fn put(&self, path: &str, body: Option<Value>) -> Answer {
        self.request(&self.admin, Method::PUT, path, body).await
    }

    /// Asserts that the server and its keystore serve whatever happened before.
    pub async fn assert_serves(&self) {
        let ready = self.get("/v1/ready").await;
        assert_eq!(ready.status, 200, "{}\n{}", ready.text(), self.log());
    }

    /// Waits until this number of requests is open, besides the one that asks.
    pub async fn until_active(&self, count: u32) {
        let active = async || self.metric("kes_http_request_active").await;
        let missing = || format!("{count} requests do not arrive:\n{}", self.log());
        until(Duration::from_secs(10), missing, async || active().await >= f64::from(count + 1)).await;
    }

    /// The value of a metric, by its name with labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/v1/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name} in\n{text}")).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = if self.is_ended { None } else { self.child.try_wait().ok().flatten() };
        self.kill();
        if !std::thread::panicking() {
            assert_no_panic(&self.log());
            assert!(ended.is_none_or(|status| status.success()), "the server ended with {ended:?}:\n{}", self.log());
        }
    }
}

/// Asserts that nothing in the process that wrote this has panicked, whatever it answered.
pub fn assert_no_panic(log: &str) {
    assert!(!log.contains("panicked"), "a panic:\n{log}");
}

/// Sends a request and reads the whole answer.
pub async fn send(request: reqwest::RequestBuilder, body: Option<Value>) -> reqwest::Result<Answer> {
    let request = match body {
        Some(body) => request.body(body.to_string()),
        None => request,
    };
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
}

/// The text of the config file.
fn config(dir: &Path, setup: &Setup, identities: &[(&str, &Client)]) -> String {
    let dir = dir.display();
    let mut text = format!(
        "version: v1\naddress: 127.0.0.1:0\nadmin:\n  identity: @admin@\n\
         tls:\n  key: {dir}/server.key\n  cert: {dir}/server.cert\n"
    );
    for (indent, part) in [("  ", &setup.tls), ("", &setup.policies), ("", &setup.extra)] {
        for line in part.lines() {
            let _ = writeln!(text, "{indent}{line}");
        }
    }
    text.push_str("keystore:\n");
    for line in setup.keystore.lines() {
        let _ = writeln!(text, "  {line}");
    }
    for (name, client) in identities {
        text = text.replace(&format!("@{name}@"), client.identity().as_str());
    }
    text.replace("@dir@", &dir.to_string()).replace("@unique@", &unique())
}

/// A word that no other server of this run has, for a schema or a prefix.
pub fn unique() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("u{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The program under test.
pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_keyway").into()
}

/// Starts the program on `dir/config.yml` and waits until it says where it listens.
fn spawn(dir: &Path, env: &[(String, String)]) -> (Child, std::net::SocketAddr) {
    let log = dir.join("stderr");
    let mut child = Command::new(program())
        .args(["server", "--config"])
        .arg(dir.join("config.yml"))
        .envs(env.iter().cloned())
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(File::create(dir.join("stdout")).unwrap())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let text = || fs::read_to_string(&log).unwrap_or_default();
    let start = Instant::now();
    // A child that does not start is not left behind.
    let address = eventually_blocking(
        PATIENCE * 2,
        || format!("the server does not start:\n{}", text()),
        || {
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
            }
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended with {ended:?}, after {:?}:\n{}", start.elapsed(), text());
            listening(&text())
        },
    );
    (child, address)
}

/// The address in the line `... serving address=127.0.0.1:40001 ...`, or in its JSON form.
fn listening(log: &str) -> Option<std::net::SocketAddr> {
    let line = log.lines().find(|line| line.contains("serving") && line.contains("address"))?;
    let (_, rest) = line.split_once("address=").or_else(|| line.split_once(r#""address":""#))?;
    rest.split([' ', '"']).next()?.parse().ok()
}

#[test]
#[should_panic(expected = "a panic")]
fn a_server_that_has_panicked_fails_its_test() {
    let server = Server::start();
    fs::write(server.dir.path().join("stderr"), "thread 'main' panicked at src/main.rs:1:1").unwrap();
}

#[test]
#[should_panic(expected = "the server ended with")]
fn a_server_that_ends_by_itself_fails_its_test() {
    let mut server = Server::start();
    server.signal(rustix::process::Signal::KILL);
    server.child.wait().unwrap();
}
