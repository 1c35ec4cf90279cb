//! MinIO as a client: real servers, and an S3 client that writes and reads what they encrypt with keys of a gateway.
//! See `tests/interop/minio` for the objects.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::gateway::{Gateway, KEY, RULES, TIMEOUT, run};
use super::stored_key;
use crate::services::minio::Minio;
use crate::services::proxy::Mode;
use crate::support::{heavy, until};

#[tokio::test(flavor = "multi_thread")]
async fn minio_does_all_it_can_with_exactly_the_calls_that_its_policy_allows() {
    let _turn = heavy();
    let gateway = Gateway::on("fs: {path: @dir@/keys}").await;
    let one = Minio::start(&gateway.kms());
    run("TestObjectsOfAllKindsAreWritten", &[&one], &[("KEYWAY_BUCKET", "api-key")]).await;
    run("TestKeysAreListedAndCreatedThroughTheAdminAPI", &[&one], &[("KEYWAY_ENDPOINT", &gateway.url())]).await;
    let other = Minio::start(&gateway.kms_by_certificate());
    run("TestObjectsOfAllKindsAreWritten", &[&other], &[("KEYWAY_BUCKET", "certificate")]).await;
    // Without a root user it derives one from two HMACs.
    let mut rootless = Minio::start_with(&gateway.kms(), &ROOTLESS);
    rootless.wait();
    assert!(rootless.log().contains(DERIVED_ROOT), "{}", rootless.log());
    gateway.called("/v1/key/describe/", 200).await;

    gateway.calls.print("all that MinIO does");
    let rules = RULES.map(|rule| rule.trim_end_matches('*').to_owned());
    let mut expected: Vec<_> = ["/version".to_owned()].into_iter().chain(rules).collect();
    expected.sort();
    assert_eq!(gateway.calls.apis(), expected);
    for api in expected {
        assert_eq!(gateway.calls.count(&api, 403), 0, "{api}");
    }
}

/// MinIO without a root user and password.
const ROOTLESS: [(&str, &str); 3] =
    [("MINIO_ROOT_USER", ""), ("MINIO_ROOT_PASSWORD", ""), ("MINIO_API_ROOT_ACCESS", "off")];

/// What it logs when it has derived them by HMACs.
const DERIVED_ROOT: &str = "Automatically generated root access key and secret key with the KMS";

#[tokio::test(flavor = "multi_thread")]
async fn minio_starts_on_a_key_of_the_time_before_hmacs() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    fs::write(keys.join(KEY), stored_key("json-oldest")).unwrap();
    let gateway = Gateway::on(&format!("fs: {{path: {}}}", keys.display())).await;
    let mut rootless = Minio::start_with(&gateway.kms(), &ROOTLESS);
    rootless.wait();
    assert!(!rootless.log().contains(DERIVED_ROOT), "{}", rootless.log());
    gateway.called("/v1/key/hmac/", 501).await;
    assert_eq!(gateway.calls.count("/v1/key/create/", 200), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_minio_servers_that_start_at_once_on_an_empty_store_agree_on_one_default_key() {
    let dir = tempfile::tempdir().unwrap();
    let keystore = format!("fs: {{path: {}/keys}}", dir.path().display());
    let one = Gateway::on(&keystore).await;
    let other = one.twin(&keystore).await;
    // Both learn late that there is no key, so that each creates it before the other has.
    let slow = Mode::Delay(Duration::from_secs(3));
    one.proxy.set(slow);
    other.proxy.set(slow);
    let [mut first, mut second] = Minio::pair([&one.kms(), &other.kms()]);
    let creates = |code| one.calls.count("/v1/key/create/", code) + other.calls.count("/v1/key/create/", code);
    let missing = || format!("no race for the key:\n{}\n{}", first.log(), second.log());
    until(TIMEOUT, missing, async || creates(200) + creates(400) >= 2).await;
    assert_eq!((creates(200), creates(400)), (1, 1), "one wins, and the other is answered that the key exists");
    one.proxy.set(Mode::Pass);
    other.proxy.set(Mode::Pass);
    first.wait();
    second.wait();
    assert_eq!(fs::read_dir(dir.path().join("keys")).unwrap().count(), 1, "one key");
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_restarts_in_the_middle_of_uploads_costs_no_object() {
    let mut gateway = Gateway::on("sqlite: {path: @dir@/keys.db}").await;
    let minio = Minio::start(&gateway.kms());
    let steps = tempfile::tempdir().unwrap();
    let path = steps.path().display().to_string();
    let settings = [("KEYWAY_STEPS", path.as_str()), ("KEYWAY_BUCKET", "restarted")];
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
}

/// Waits for a file.
async fn appears(path: &Path) {
    until(TIMEOUT, || format!("{} does not appear", path.display()), async || path.exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_denies_to_minio_is_denied_to_its_clients() {
    let rules = "allow: ['/v1/key/create/app-*', '/v1/key/generate/app-*', '/v1/key/decrypt/app-*'], \
                 deny: [/v1/key/decrypt/app-sealed]";
    let gateway = Gateway::with_rules("memory: {}", rules).await;
    // It starts although it may not even use its default key.
    let mut minio = Minio::start_with(&gateway.kms(), &[]);
    minio.wait_for("cluster");
    run("TestWhatThePolicyDeniesIsDeniedToClients", &[&minio], &[]).await;
    gateway.calls.print("denial");
}
