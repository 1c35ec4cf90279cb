//! Region and credentials from the environment.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backends::Store;
use backends::aws::{Aws, Config};

use super::front::{Front, Response};
use super::{name, value};
use crate::services::aws::Moto;

/// Runs [`in_the_environment`] in a process with these variables, and no others of AWS or a proxy.
pub(super) fn run_with(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let module = module_path!().split_once("::").map_or(String::new(), |(_, module)| format!("{module}::"));
    command.args(["--exact", &format!("{module}in_the_environment"), "--ignored", "--nocapture", "--test-threads=1"]);
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy().to_uppercase();
        if name.starts_with("AWS_") || name.ends_with("_PROXY") {
            command.env_remove(variable);
        }
    }
    let nowhere = "/nonexistent/aws";
    command.env("AWS_CONFIG_FILE", nowhere).env("AWS_SHARED_CREDENTIALS_FILE", nowhere);
    command.env("AWS_EC2_METADATA_DISABLED", "true").envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test]
#[ignore = "run by other tests, with a certain environment"]
async fn in_the_environment() {
    let Some(endpoint) = std::env::var_os("TEST_ENDPOINT") else { return };
    let config = Config { endpoint: Some(endpoint.into_string().unwrap()), ..Config::default() };
    let store = match Aws::open(&config).await {
        Ok(store) => store,
        Err(error) => {
            println!("open: {error}");
            return;
        }
    };
    println!("{store:?}");
    println!("{:?}", store.create(&name("my-key"), &value("one")).await);
    if let Some(seconds) = std::env::var_os("TEST_LATER") {
        tokio::time::sleep(Duration::from_secs(seconds.into_string().unwrap().parse().unwrap())).await;
        println!("later: {:?}", store.get(&name("my-key")).await);
    }
    let Some(profile) =
        std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").filter(|_| std::env::var_os("TEST_NEW").is_some())
    else {
        return;
    };
    tokio::time::sleep(Duration::from_millis(3100)).await;
    println!("old: {:?}", store.get(&name("my-key")).await);
    let new = "[default]\naws_access_key_id = NEWNEWNEWNEW\naws_secret_access_key = new\n";
    std::fs::write(profile, new).unwrap();
    tokio::time::sleep(Duration::from_millis(3100)).await;
    println!("new: {:?}", store.get(&name("my-key")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_and_region_come_from_the_environment_when_not_configured() {
    let moto = Moto::start();
    let key = [("AWS_ACCESS_KEY_ID", "ENVENVENVENV"), ("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-environment")];
    let endpoint = ("TEST_ENDPOINT", &*moto.endpoint());
    let text = run_with(&[key[0], key[1], ("AWS_REGION", "eu-west-1"), endpoint]);
    assert!(text.contains("Ok(())") && text.contains("in eu-west-1"), "{text}");
    assert!(!text.contains("a-secret-of-the-environment"), "{text}");
    let text = run_with(&[key[0], key[1], endpoint]);
    assert!(text.contains("open: key store is unavailable: no AWS region"), "{text}");
    let text = run_with(&[("AWS_REGION", "eu-west-1"), endpoint]);
    assert!(text.contains("open: key store is unavailable: no credentials from the default chain"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_identity_is_exchanged_at_sts_and_not_at_the_endpoint_for_secrets() {
    let moto = Moto::start();
    let front = Front::start(Some(moto.endpoint()), |_| Response::Moto).await;
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "a.web.token").unwrap();
    let text = run_with(&[
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/keyway"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ENDPOINT_URL_STS", &moto.endpoint()),
        ("TEST_ENDPOINT", &front.endpoint()),
    ]);
    assert!(text.contains("Ok(())"), "{text}");
    assert_eq!(front.operations(), ["GetSecretValue", "CreateSecret"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_profile_is_read_again_when_aws_refuses_the_old_key() {
    let moto = Moto::start();
    let opened = AtomicUsize::new(0);
    // From the third request on, the old key is not valid.
    let front = Front::start(Some(moto.endpoint()), move |request| {
        let count = opened.fetch_add(1, Ordering::Relaxed);
        if count >= 2 && request.authorization.contains("OLDOLDOLDOLD") {
            return Response::Error(400, "UnrecognizedClientException", "The security token is invalid.".to_owned());
        }
        Response::Moto
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let profile = directory.path().join("credentials");
    std::fs::write(&profile, "[default]\naws_access_key_id = OLDOLDOLDOLD\naws_secret_access_key = old\n").unwrap();
    let text = run_with(&[
        ("AWS_REGION", "eu-west-1"),
        ("AWS_SHARED_CREDENTIALS_FILE", profile.to_str().unwrap()),
        ("TEST_ENDPOINT", &front.endpoint()),
        ("TEST_NEW", "1"),
    ]);
    assert!(text.contains("old: Err(Unavailable") && text.contains("The security token is invalid."), "{text}");
    assert!(text.contains("new: Ok(Value(3 bytes))"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_cannot_be_fetched_any_more_are_reported_as_such() {
    let moto = Moto::start();
    let container = AtomicUsize::new(0);
    // Requested at the start and for the first request; from then on it fails. The SDK renews 10 s before the expiry.
    let front = Front::start(None, move |_| {
        if container.fetch_add(1, Ordering::Relaxed) >= 2 {
            return Response::Error(500, "InternalError", "No.".to_owned());
        }
        let end = aws_sdk_secretsmanager::primitives::DateTime::from_secs(
            (std::time::SystemTime::now() + Duration::from_secs(16))
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_secs()
                .try_into()
                .unwrap(),
        );
        let end = end.fmt(aws_sdk_secretsmanager::primitives::DateTimeFormat::DateTime).unwrap();
        Response::Json(format!(
            "{{\"AccessKeyId\":\"TASK\",\"SecretAccessKey\":\"a-secret-of-the-task\",\"Token\":\"t\",\"Expiration\":\"{end}\"}}"
        ))
    })
    .await;
    let text = run_with(&[
        ("AWS_REGION", "eu-west-1"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/role", front.endpoint())),
        ("TEST_ENDPOINT", &moto.endpoint()),
        ("TEST_LATER", "17"),
    ]);
    assert!(text.contains("Ok(())"), "{text}");
    assert!(text.contains("later: Err(Unavailable") && text.contains("no credentials: "), "{text}");
    assert!(!text.contains("a-secret-of-the-task"), "{text}");
}
