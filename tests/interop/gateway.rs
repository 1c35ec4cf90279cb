//! A gateway as MinIO sees it, and its clients' tests.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use keyway::identity::api_key::ApiKey;

use super::calls::Calls;
use super::go::Package;
use crate::services::minio::{Credential, Kms, Minio, USER};
use crate::services::proxy::Proxy;
use crate::support::{Client, Server, Setup, until};

/// The default key of all servers here.
pub const KEY: &str = "minio-default-key";

/// Rules for exactly the APIs that MinIO calls, besides `/version`, which is public.
pub const RULES: [&str; 8] = [
    "/v1/api",
    "/v1/key/create/*",
    "/v1/key/decrypt/*",
    "/v1/key/describe/*",
    "/v1/key/generate/*",
    "/v1/key/hmac/*",
    "/v1/key/list/*",
    "/v1/status",
];

/// How long to wait for a call.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A gateway behind a proxy, so that it can go and come back at the same address. Its policy `minio` is for an API key and a
/// certificate.
pub struct Gateway {
    pub server: Server,
    pub proxy: Proxy,
    pub calls: Calls,
    api_key: ApiKey,
}

impl Gateway {
    /// A gateway with a policy that allows what MinIO calls.
    pub async fn on(keystore: &str) -> Self {
        Self::with_rules(keystore, &all_rules()).await
    }

    /// A gateway with another policy.
    pub async fn with_rules(keystore: &str, rules: &str) -> Self {
        Self::with(keystore, rules, ApiKey::generate().unwrap(), None).await
    }

    /// Another gateway that MinIO cannot distinguish from this one.
    pub async fn twin(&self, keystore: &str) -> Self {
        let file = |name: &str| fs::read_to_string(self.file(name)).unwrap();
        let certificate = Some((file("server.cert"), file("server.key")));
        let api_key = ApiKey::parse(&self.api_key.to_text()).unwrap();
        Self::with(keystore, &all_rules(), api_key, certificate).await
    }

    async fn with(keystore: &str, rules: &str, api_key: ApiKey, certificate: Option<(String, String)>) -> Self {
        let client = Client::new("minio");
        let policies = format!(
            "policy: {{minio: {{{rules}, identities: [{}, {}]}}}}\n",
            api_key.identity().as_str(),
            client.identity().as_str()
        );
        let keystore = keystore.to_owned();
        let server = Server::with(Setup { keystore, policies, certificate, ..Setup::default() });
        let (pem, key) = client.pem();
        fs::write(server.dir.path().join("minio.pem"), pem).unwrap();
        fs::write(server.dir.path().join("minio.key"), key).unwrap();
        let calls = Calls::default();
        calls.follow(&server).await;
        Self { proxy: Proxy::start(server.address).await, server, calls, api_key }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.server.dir.path().join(name)
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.proxy.address())
    }

    /// For MinIO with an API key.
    pub fn kms(&self) -> Kms {
        Kms {
            endpoint: self.url(),
            ca: self.file("server.cert"),
            credential: Credential::ApiKey(self.api_key.to_text().to_string()),
            key: KEY.to_owned(),
        }
    }

    /// For MinIO with a certificate.
    pub fn kms_by_certificate(&self) -> Kms {
        let credential = Credential::Certificate(self.file("minio.pem"), self.file("minio.key"));
        Kms { credential, ..self.kms() }
    }

    /// Waits until MinIO has sent a call and received this answer.
    pub async fn called(&self, api: &str, code: u16) {
        let missing = || format!("MinIO does not call {api}:\n{}", self.server.log());
        until(TIMEOUT, missing, async || self.calls.count(api, code) > 0).await;
    }
}

/// Runs one of the Go tests with these servers and further settings.
pub async fn run(test: &'static str, servers: &[&Minio], settings: &[(&'static str, &str)]) {
    let addresses: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
    let directory = servers[0].directory().display();
    let mut environment = vec![
        ("KEYWAY_MINIO", addresses.join(",")),
        ("KEYWAY_MINIO_USER", USER.to_owned()),
        ("KEYWAY_MINIO_PASSWORD", servers[0].password.clone()),
        ("KEYWAY_DRIVE", directory.to_string()),
        ("KEYWAY_OBJECTS", format!("{directory}/objects.json")),
        ("KEYWAY_DEFAULT_KEY", KEY.to_owned()),
        ("KEYWAY_VERSION", keyway::VERSION.to_owned()),
    ];
    environment.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let ended = tokio::task::spawn_blocking(move || Package::Minio.test(test, environment)).await;
    if let Err(failed) = ended {
        std::panic::resume_unwind(failed.into_panic());
    }
}

fn all_rules() -> String {
    format!("allow: ['{}']", RULES.join("', '"))
}
