//! MinIO as a client: real servers, and an S3 client that writes and reads what they encrypt with keys of a gateway.
//! See `tests/interop/minio` for the objects.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keyway::api_key::ApiKey;

use super::calls::Calls;
use super::go::Package;
use super::stored_key;
use crate::services::minio::{Credential, Kms, Minio, USER};
use crate::services::proxy::{Mode, Proxy};
use crate::support::{Client, Server, Setup};

/// The default key of all servers here.
const KEY: &str = "minio-default-key";

/// Rules for all that MinIO calls, and no more: the policy that it needs. `/version`, which is open to all, comes on top.
const RULES: [&str; 8] = [
    "/v1/api",
    "/v1/key/create/*",
    "/v1/key/decrypt/*",
    "/v1/key/describe/*",
    "/v1/key/generate/*",
    "/v1/key/hmac/*",
    "/v1/key/list/*",
    "/v1/status",
];

/// How long a call may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway behind a proxy, so that it can go and come back at the same address. Its policy `minio` is for an API key and a
/// certificate.
struct Gateway {
    server: Server,
    proxy: Proxy,
    calls: Calls,
    api_key: ApiKey,
}

impl Gateway {
    async fn on(keystore: &str, rules: &str) -> Self {
        Self::with(keystore, rules, ApiKey::generate().unwrap(), None).await
    }

    /// Another gateway that looks the same to MinIO.
    async fn twin(&self, keystore: &str) -> Self {
        let file = |name: &str| fs::read_to_string(self.file(name)).unwrap();
        let certificate = Some((file("server.cert"), file("server.key")));
        let api_key = ApiKey::parse(&self.api_key.to_text()).unwrap();
        Self::with(keystore, &format!("allow: ['{}']", RULES.join("', '")), api_key, certificate).await
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

    fn url(&self) -> String {
        format!("https://{}", self.proxy.address())
    }

    /// For MinIO with an API key.
    fn kms(&self) -> Kms {
        Kms {
            endpoint: self.url(),
            ca: self.file("server.cert"),
            credential: Credential::ApiKey(self.api_key.to_text().to_string()),
            key: KEY.to_owned(),
        }
    }

    /// For MinIO with a certificate.
    fn kms_by_certificate(&self) -> Kms {
        let credential = Credential::Certificate(self.file("minio.pem"), self.file("minio.key"));
        Kms { credential, ..self.kms() }
    }

    /// Waits until MinIO has made a call and got this answer.
    async fn called(&self, api: &str, code: u16) {
        let start = Instant::now();
        while self.calls.count(api, code) == 0 {
            assert!(start.elapsed() < PATIENCE, "MinIO does not call {api}:\n{}", self.server.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Runs one of the Go tests with these servers and further settings.
async fn run(test: &'static str, servers: &[&Minio], settings: &[(&'static str, &str)]) {
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

#[tokio::test(flavor = "multi_thread")]
async fn minio_does_all_it_can_with_exactly_the_calls_that_its_policy_allows() {
    let gateway = Gateway::on("fs: {path: @dir@/keys}", &all_rules()).await;
    let one = Minio::start(&gateway.kms());
    run("TestObjectsOfAllKindsAreWritten", &[&one], &[("KEYWAY_BUCKET", "api-key")]).await;
    run("TestKeysAreSeenAndMadeThroughTheAdminAPI", &[&one], &[("KEYWAY_ENDPOINT", &gateway.url())]).await;
    let other = Minio::start(&gateway.kms_by_certificate());
    run("TestObjectsOfAllKindsAreWritten", &[&other], &[("KEYWAY_BUCKET", "certificate")]).await;
    // Without a root user it makes one of two HMACs.
    let mut rootless = Minio::start_with(&gateway.kms(), &ROOTLESS);
    rootless.wait();
    assert!(rootless.log().contains(MADE_ROOT), "{}", rootless.log());
    gateway.called("/v1/key/describe/", 200).await;

    gateway.calls.print("all that MinIO does");
    let rules = RULES.map(|rule| rule.trim_end_matches('*').to_owned());
    let mut expected: Vec<_> = ["/version".to_owned()].into_iter().chain(rules).collect();
    expected.sort();
    assert_eq!(gateway.calls.apis(), expected);
    for api in expected {
        assert_eq!(gateway.calls.count(&api, 403), 0, "{api}");
    }
    gateway.server.assert_unharmed().await;
}

/// MinIO without a root user and password.
const ROOTLESS: [(&str, &str); 3] =
    [("MINIO_ROOT_USER", ""), ("MINIO_ROOT_PASSWORD", ""), ("MINIO_API_ROOT_ACCESS", "off")];

/// What it says when it has made them by HMACs.
const MADE_ROOT: &str = "Automatically generated root access key and secret key with the KMS";

#[tokio::test(flavor = "multi_thread")]
async fn minio_starts_on_a_key_of_the_time_before_hmacs() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(KEY), stored_key("json-oldest")).unwrap();
    let gateway = Gateway::on(&format!("fs: {{path: {}}}", dir.path().display()), &all_rules()).await;
    let mut rootless = Minio::start_with(&gateway.kms(), &ROOTLESS);
    rootless.wait();
    assert!(!rootless.log().contains(MADE_ROOT), "{}", rootless.log());
    gateway.called("/v1/key/hmac/", 501).await;
    assert_eq!(gateway.calls.count("/v1/key/create/", 200), 0);
    gateway.server.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_minio_servers_that_start_at_once_on_an_empty_store_agree_on_one_default_key() {
    let dir = tempfile::tempdir().unwrap();
    let keystore = format!("fs: {{path: {}}}", dir.path().display());
    let one = Gateway::on(&keystore, &all_rules()).await;
    let other = one.twin(&keystore).await;
    // Both are told late that there is no key, so that each makes it before the other has.
    let slow = Mode::Delay(Duration::from_secs(3));
    one.proxy.set(slow);
    other.proxy.set(slow);
    let [mut first, mut second] = Minio::pair([&one.kms(), &other.kms()]);
    let start = Instant::now();
    let creates = |code| one.calls.count("/v1/key/create/", code) + other.calls.count("/v1/key/create/", code);
    while creates(200) + creates(400) < 2 {
        assert!(start.elapsed() < PATIENCE, "no race for the key:\n{}\n{}", first.log(), second.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((creates(200), creates(400)), (1, 1), "one wins, and the other is told that the key exists");
    one.proxy.set(Mode::Pass);
    other.proxy.set(Mode::Pass);
    first.wait();
    second.wait();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "one key");
    run("TestServersShareTheirObjects", &[&first, &second], &[]).await;
    run("TestObjectsOfAllKindsAreWritten", &[&first, &second], &[("KEYWAY_BUCKET", "two-servers")]).await;
    run(
        "TestObjectsAreReadable",
        &[&second, &first],
        &[
            ("KEYWAY_OBJECTS", &first.directory().join("objects.json").display().to_string()),
            ("KEYWAY_WHEN", "from both servers"),
        ],
    )
    .await;
    one.calls.print("two servers, the first");
    other.calls.print("two servers, the second");
    one.server.assert_unharmed().await;
    other.server.assert_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_restarts_in_the_middle_of_uploads_costs_no_object() {
    let mut gateway = Gateway::on("sqlite: {path: @dir@/keys.db}", &all_rules()).await;
    let minio = Minio::start(&gateway.kms());
    let steps = tempfile::tempdir().unwrap();
    let path = steps.path().display().to_string();
    let settings = [("KEYWAY_STEPS", path.as_str())];
    let servers = [&minio];
    let uploads = run("TestNoUploadIsLostWhenTheGatewayRestarts", &servers, &settings);
    let restart = async {
        appears(&steps.path().join("uploading")).await;
        // Away for longer than the SDK tries again.
        gateway.server.kill();
        tokio::time::sleep(Duration::from_secs(4)).await;
        gateway.server.restart();
        gateway.proxy.lead_to(gateway.server.address);
        gateway.calls.follow(&gateway.server).await;
        fs::write(steps.path().join("back"), "").unwrap();
    };
    tokio::join!(uploads, restart);
    gateway.calls.print("restart of the gateway");
    gateway.server.assert_unharmed().await;
}

/// Waits for a file.
async fn appears(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < PATIENCE, "{} does not appear", path.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_denies_to_minio_is_denied_to_its_clients() {
    let rules = "allow: ['/v1/key/create/app-*', '/v1/key/generate/app-*', '/v1/key/decrypt/app-*'], \
                 deny: [/v1/key/decrypt/app-sealed]";
    let gateway = Gateway::on("memory: {}", rules).await;
    // It starts although it may not even use its default key.
    let mut minio = Minio::start_with(&gateway.kms(), &[]);
    minio.wait_for("cluster");
    run("TestWhatThePolicyDeniesIsDeniedToClients", &[&minio], &[]).await;
    gateway.calls.print("denial");
    gateway.server.assert_unharmed().await;
}
