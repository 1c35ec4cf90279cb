//! The official Go SDK as a client: see `tests/interop/sdk` for its requests and the expected responses.

use std::fs;

use keyway::identity::api_key::ApiKey;
use rcgen::PKCS_RSA_SHA256;

use super::go::Package;
use super::stored_key;
use crate::services::postgres::Postgres;
use crate::support::server::unique;
use crate::support::{Client, Server, Setup, heavy, stores};

/// How many keys an iterator must see.
const KEYS: usize = 30_000;

/// A server with its clients: the admin by its certificate, `all` by API key and RSA certificate, `app` by API key.
struct Gateway {
    server: Server,
    all: ApiKey,
    app: ApiKey,
    rsa: Client,
}

impl Gateway {
    fn on(keystore: &str) -> Self {
        let (all, app) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        let rsa = Client::with_algorithm("rsa", &PKCS_RSA_SHA256);
        let policies = format!(
            "policy:\n  all:\n    allow: ['*']\n    identities: [{}, {}]\n  app:\n    allow:\n    \
             - /v1/key/create/app*\n    - /v1/key/list/*\n    - /v1/status\n    deny:\n    - /v1/key/create/app-internal*\n\
             \x20   identities: [{}]\n",
            all.identity().as_str(),
            rsa.identity().as_str(),
            app.identity().as_str()
        );
        let server = Server::with(Setup { keystore: keystore.to_owned(), policies, ..Setup::default() });
        for (name, client) in [("admin", &server.admin), ("rsa", &rsa)] {
            let (certificate, key) = client.pem();
            fs::write(server.dir.path().join(format!("{name}.pem")), certificate).unwrap();
            fs::write(server.dir.path().join(format!("{name}.key")), key).unwrap();
        }
        Self { server, all, app, rsa }
    }

    /// What the Go tests need.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.server.dir.path().join(name).display().to_string();
        vec![
            ("KEYWAY_ENDPOINT", self.server.url("")),
            ("KEYWAY_VERSION", keyway::VERSION.to_owned()),
            ("KEYWAY_CA", file("server.cert")),
            // The root certificates of Go's "system", for clients that have only an API key.
            ("SSL_CERT_FILE", file("server.cert")),
            ("KEYWAY_ADMIN", self.server.admin.identity().as_str().to_owned()),
            ("KEYWAY_ADMIN_CERT", file("admin.pem")),
            ("KEYWAY_ADMIN_KEY", file("admin.key")),
            ("KEYWAY_RSA_CERT", file("rsa.pem")),
            ("KEYWAY_RSA_KEY", file("rsa.key")),
            ("KEYWAY_ALL_API_KEY", self.all.to_text().to_string()),
            ("KEYWAY_APP_API_KEY", self.app.to_text().to_string()),
        ]
    }

    fn environment_with(&self, name: &'static str, value: String) -> Vec<(&'static str, String)> {
        let mut environment = self.environment();
        environment.push((name, value));
        environment
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_the_sdk_works_over_both_protocols_with_api_keys_and_certificates() {
    let gateway = Gateway::on("fs: {path: @dir@/keys}");
    let said =
        Package::Sdk.test("TestEveryCallWorksOverBothProtocolsWithAPIKeysAndCertificates", gateway.environment());
    for call in ["Version", "CreateKey", "HMAC", "DescribeIdentity", "AuditLog", "ErrorLog"] {
        assert!(
            said.contains(&format!("sdk | {call} | ok | ok | ok | ok | ok")),
            "{call} is not in the table:\n{said}"
        );
    }
    assert_eq!(gateway.rsa.certificates.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_the_value_that_the_sdk_compares_it_to() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    // A key of the time before HMAC keys.
    fs::write(keys.join("without-hmac"), stored_key("json-oldest")).unwrap();
    let gateway = Gateway::on(&format!("fs: {{path: {}}}", keys.display()));
    Package::Sdk.test("TestEveryErrorIsTheSDKsOwnValue", gateway.environment());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_policy_does_not_allow_is_err_not_allowed_in_the_sdk() {
    let gateway = Gateway::on("sqlite: {path: @dir@/keys.db}");
    Package::Sdk.test("TestWhateverThePolicyDoesNotAllowIsErrNotAllowed", gateway.environment());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_reports_a_certificate_that_is_missing_or_not_trusted() {
    let gateway = Gateway::on("memory: {}");
    Package::Sdk.test("TestWithoutACertificateOrTrustThereIsAConnectionError", gateway.environment());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_reports_a_store_that_is_unreachable() {
    let mut service = Postgres::start();
    let gateway = Gateway::on(&stores::postgres(service.address(), &unique()));
    service.stop();
    let environment = gateway.environment_with("KEYWAY_STORE", "unreachable".to_owned());
    Package::Sdk.test("TestAnUnavailableStoreIsReportedLikeKES", environment);
    service.resume();
    gateway.server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_reports_a_store_that_is_unavailable() {
    let gateway = Gateway::on("fs: {path: @dir@/keys}");
    let keys = gateway.server.dir.path().join("keys");
    fs::rename(&keys, keys.with_extension("elsewhere")).unwrap();
    let environment = gateway.environment_with("KEYWAY_STORE", "unavailable".to_owned());
    Package::Sdk.test("TestAnUnavailableStoreIsReportedLikeKES", environment);
    fs::rename(keys.with_extension("elsewhere"), &keys).unwrap();
    gateway.server.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn iterators_of_the_sdk_see_thirty_thousand_keys_once_and_in_order() {
    let _turn = heavy();
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let key = stored_key("protobuf");
    // As long as names may be, so that they do not fit into one answer.
    let names = (0..KEYS).map(|number| format!("list-{number:05}-{}", "x".repeat(69)));
    for name in names.chain(["a-before".to_owned(), "z-after".to_owned()]) {
        fs::write(keys.join(name), &key).unwrap();
    }
    let gateway = Gateway::on(&format!("fs: {{path: {}}}", keys.display()));
    Package::Sdk
        .test("TestIteratorsSeeEveryKeyOnceAndInOrder", gateway.environment_with("KEYWAY_KEYS", KEYS.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_costs_the_sdk_no_call() {
    let gateway = Gateway::on("memory: {}");
    Package::Sdk.test("TestADeadEndpointCostsNoCall", gateway.environment());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_dies_costs_the_sdk_no_call() {
    let dir = tempfile::tempdir().unwrap();
    let keystore = format!("sqlite: {{path: {}/keys.db}}", dir.path().display());
    let gateway = Gateway::on(&keystore);
    let file = |name: &str| fs::read_to_string(gateway.server.dir.path().join(name)).unwrap();
    let mut dying = Server::with(Setup {
        keystore,
        policies: format!(
            "policy: {{all: {{allow: ['*'], identities: [{}]}}}}\n",
            gateway.server.admin.identity().as_str()
        ),
        certificate: Some((file("server.cert"), file("server.key"))),
        ..Setup::default()
    });
    let mut environment = gateway.environment_with("KEYWAY_PID", dying.id().to_string());
    environment.push(("KEYWAY_DYING_ENDPOINT", dying.url("")));
    Package::Sdk.test("TestAnEndpointThatDiesCostsNoCall", environment);
    assert!(!dying.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_hold_every_event_and_end_with_the_server_without_an_error() {
    let mut gateway = Gateway::on("memory: {}");
    let environment = gateway.environment_with("KEYWAY_PID", gateway.server.id().to_string());
    Package::Sdk.test("TestStreamsHoldEveryEventUntilTheyEnd", environment);
    assert!(gateway.server.wait().success(), "{}", gateway.server.log());
}
