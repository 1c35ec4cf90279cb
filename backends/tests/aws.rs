//! The AWS backend on moto, and on answers of AWS that moto cannot give.

mod front;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::services::aws::Moto;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::primitives::Blob;
use backends::aws::{Aws, Config, Credentials, MAX_VALUE, Timeouts};
use backends::conformance::{Lengths, differential_within, run_within};
use backends::{BackendConfig, Name, Secret, Store, StoreError, Value};
use front::{Answer, Front};
use tokio::task::JoinSet;

const LENGTHS: Lengths = Lengths { least: 1, most: MAX_VALUE };
const ACCESS_KEY: &str = "AKIAEXAMPLE0000CONFIG";
const SECRET_KEY: &str = "a-secret-access-key-of-the-config";
const SESSION: &str = "a-session-token-of-the-config";
const MISSING: &str = "Secrets Manager can't find the specified secret.";

/// A configuration that leaves nothing to the environment.
fn config(endpoint: &str, prefix: &str) -> Config {
    Config {
        endpoint: Some(endpoint.to_owned()),
        region: Some("eu-central-1".to_owned()),
        credentials: Some(Credentials {
            access_key: ACCESS_KEY.to_owned(),
            secret_key: Secret::from(SECRET_KEY.to_owned()),
            token: Some(Secret::from(SESSION.to_owned())),
        }),
        prefix: prefix.to_owned(),
        ..Config::default()
    }
}

async fn open(endpoint: &str, prefix: &str) -> Aws {
    Aws::open(&config(endpoint, prefix)).await.unwrap()
}

/// The SDK itself, as another program uses it.
fn raw(endpoint: &str) -> Client {
    let credentials = aws_sdk_secretsmanager::config::Credentials::new("other", "other", None, None, "test");
    let config = aws_sdk_secretsmanager::Config::builder()
        .behavior_version_latest()
        .endpoint_url(endpoint)
        .region(aws_sdk_secretsmanager::config::Region::new("eu-central-1"))
        .credentials_provider(credentials);
    Client::from_conf(config.build())
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn value(text: &str) -> Value {
    Value::from(text.as_bytes().to_vec())
}

fn withheld(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    match result {
        Err(StoreError::Withheld { reason }) => reason,
        other => panic!("expected Withheld, got {other:?}"),
    }
}

fn unavailable(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable { reason, .. }) => reason,
        other => panic!("expected Unavailable, got {other:?}"),
    }
}

fn unreachable(result: Result<impl std::fmt::Debug, StoreError>) -> String {
    match result {
        Err(StoreError::Unreachable { reason, .. }) => reason,
        other => panic!("expected Unreachable, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_keeps_the_contract() {
    let moto = Moto::start();
    let count = AtomicUsize::new(0);
    run_within(LENGTHS, || async {
        let prefix = format!("contract-{}/", count.fetch_add(1, Ordering::Relaxed));
        Arc::new(open(&moto.endpoint(), &prefix).await) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_answers_as_memory_does() {
    let moto = Moto::start();
    for seed in 1..=3 {
        let memory = backends::open(&BackendConfig::Memory).await.unwrap();
        let aws = BackendConfig::Aws(Box::new(config(&moto.endpoint(), &format!("seed-{seed}/"))));
        assert_eq!(aws.kind(), "aws");
        differential_within(LENGTHS, vec![memory, backends::open(&aws).await.unwrap()], seed, 300).await;
    }
}

#[tokio::test]
async fn secrets_of_kes_are_read_and_ours_are_as_kes_writes_them() {
    let moto = Moto::start();
    let (store, raw) = (open(&moto.endpoint(), "").await, raw(&moto.endpoint()));
    raw.create_secret().name("kes-text").secret_string("Cg==\n").send().await.unwrap();
    raw.create_secret().name("kes-bytes").secret_binary(Blob::new(*b"{\"bytes\":\xff}")).send().await.unwrap();
    assert_eq!(store.get(&name("kes-text")).await.unwrap(), value("Cg==\n"));
    assert_eq!(store.get(&name("kes-bytes")).await.unwrap().as_bytes(), b"{\"bytes\":\xff}");
    store.create(&name("ours"), &value("CiQKIA==")).await.unwrap();
    let secret = raw.get_secret_value().secret_id("ours").send().await.unwrap();
    assert_eq!((secret.name(), secret.secret_string()), (Some("ours"), Some("CiQKIA==")));
    assert!(secret.secret_binary().is_none());
    assert_eq!(store.list("", None, 10).await.unwrap(), [name("kes-bytes"), name("kes-text"), name("ours")]);
    // The newest version is read.
    raw.put_secret_value().secret_id("kes-text").secret_string("newer").send().await.unwrap();
    assert_eq!(store.get(&name("kes-text")).await.unwrap(), value("newer"));
}

#[tokio::test]
async fn a_new_secret_is_encrypted_under_the_configured_key() {
    let moto = Moto::start();
    let key = "arn:aws:kms:eu-central-1:123456789012:key/one";
    let config = Config { kms_key: Some(key.to_owned()), ..config(&moto.endpoint(), "") };
    Aws::open(&config).await.unwrap().create(&name("my-key"), &value("one")).await.unwrap();
    let secret = raw(&moto.endpoint()).describe_secret().secret_id("my-key").send().await.unwrap();
    assert_eq!(secret.kms_key_id(), Some(key));
}

#[tokio::test]
async fn without_a_recovery_window_a_deleted_secret_is_gone_at_once() {
    let moto = Moto::start();
    let store = open(&moto.endpoint(), "").await;
    store.create(&name("my-key"), &value("one")).await.unwrap();
    store.delete(&name("my-key")).await.unwrap();
    let restored = raw(&moto.endpoint()).restore_secret().secret_id("my-key").send().await;
    assert!(restored.unwrap_err().into_service_error().is_resource_not_found_exception());
    assert!(matches!(store.delete(&name("my-key")).await, Err(StoreError::NotFound)));
    store.create(&name("my-key"), &value("two")).await.unwrap();
}

#[tokio::test]
async fn a_secret_scheduled_for_deletion_is_withheld_until_it_is_restored() {
    let moto = Moto::start();
    let raw = raw(&moto.endpoint());
    let config = Config { recovery_window: Some(7), ..config(&moto.endpoint(), "app/") };
    let with_window = Aws::open(&config).await.unwrap();
    let without = open(&moto.endpoint(), "app/").await;
    with_window.create(&name("my-key"), &value("one")).await.unwrap();
    with_window.delete(&name("my-key")).await.unwrap();
    for store in [&with_window, &without] {
        let key = name("my-key");
        for reason in [
            withheld(store.get(&key).await),
            withheld(store.create(&key, &value("two")).await),
            withheld(store.delete(&key).await),
        ] {
            assert!(reason.contains("aws secretsmanager restore-secret --secret-id app/my-key"), "{reason}");
        }
        assert_eq!(store.list("", None, 10).await.unwrap(), []);
    }
    raw.restore_secret().secret_id("app/my-key").send().await.unwrap();
    assert_eq!(without.get(&name("my-key")).await.unwrap(), value("one"));
    assert!(matches!(without.create(&name("my-key"), &value("two")).await, Err(StoreError::AlreadyExists)));
}

#[tokio::test]
async fn a_half_created_secret_is_neither_missing_nor_overwritten() {
    let moto = Moto::start();
    let (store, raw) = (open(&moto.endpoint(), "").await, raw(&moto.endpoint()));
    raw.create_secret().name("my-key").send().await.unwrap();
    for reason in
        [withheld(store.get(&name("my-key")).await), withheld(store.create(&name("my-key"), &value("two")).await)]
    {
        assert!(reason.contains("put-secret-value --secret-id my-key"), "{reason}");
    }
    raw.put_secret_value().secret_id("my-key").secret_string("one").send().await.unwrap();
    assert_eq!(store.get(&name("my-key")).await.unwrap(), value("one"));
    raw.create_secret().name("other").send().await.unwrap();
    store.delete(&name("other")).await.unwrap();
    assert!(matches!(store.get(&name("other")).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn a_prefix_separates_stores_and_other_secrets_are_left_out() {
    let moto = Moto::start();
    let (all, app, application) =
        (open(&moto.endpoint(), "").await, open(&moto.endpoint(), "app/").await, open(&moto.endpoint(), "app").await);
    let raw = raw(&moto.endpoint());
    for foreign in ["database/password", "app/sub/key", "app/.hidden", "app/ends-", "App/my-key", "plain.txt"] {
        raw.create_secret().name(foreign).secret_string("foreign").send().await.unwrap();
    }
    for number in 0..120 {
        app.create(&name(&format!("key-{number:03}")), &value("app")).await.unwrap();
    }
    all.create(&name("my-key"), &value("all")).await.unwrap();
    assert!(matches!(app.get(&name("my-key")).await, Err(StoreError::NotFound)));
    assert_eq!(all.list("", None, 1000).await.unwrap(), [name("my-key")]);
    assert_eq!(application.list("", None, 1000).await.unwrap(), []);
    // More than a page of AWS's, in two of ours.
    let first = app.list("key-", None, 70).await.unwrap();
    let second = app.list("key-", first.last(), 70).await.unwrap();
    assert_eq!((first.len(), second.len()), (70, 50));
    assert_eq!(first.into_iter().chain(second).collect::<BTreeSet<_>>().len(), 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_stores_with_eight_tasks_each_one_creates_a_name() {
    const NAMES: usize = 100;
    let moto = Moto::start();
    let stores = [Arc::new(open(&moto.endpoint(), "").await), Arc::new(open(&moto.endpoint(), "").await)];
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let store = Arc::clone(&stores[task % 2]);
        tasks.spawn(async move {
            let mut won = Vec::new();
            for number in 0..NAMES {
                match store.create(&name(&format!("key-{number}")), &value(&format!("{number} by {task}"))).await {
                    Ok(()) => won.push((number, task)),
                    Err(StoreError::AlreadyExists) => {}
                    Err(other) => panic!("create {number}: {other}"),
                }
            }
            won
        });
    }
    let mut won = tasks.join_all().await.concat();
    won.sort_unstable();
    assert!(won.iter().map(|(number, _)| *number).eq(0..NAMES), "{won:?}");
    for (number, task) in won {
        for store in &stores {
            let standing = store.get(&name(&format!("key-{number}"))).await.unwrap();
            assert_eq!(standing, value(&format!("{number} by {task}")));
        }
    }
}

#[tokio::test]
async fn values_that_aws_does_not_take_are_refused_unsent() {
    let front = Front::start(None, |_| Answer::Error(400, "ResourceNotFoundException", MISSING.to_owned())).await;
    let store = open(&front.endpoint(), "").await;
    let before = front.operations().len();
    for len in [0, MAX_VALUE + 1, Value::MAX_LEN] {
        let reason = unavailable(store.create(&name("my-key"), &Value::from(vec![b'x'; len])).await);
        assert!(reason.contains(&format!("{len} bytes")) && reason.contains("1 to 65536"), "{reason}");
    }
    assert_eq!(front.operations().len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_killed_is_unreachable_and_found_again() {
    let mut moto = Moto::start();
    let store = open(&moto.endpoint(), "").await;
    store.create(&name("my-key"), &value("one")).await.unwrap();
    moto.stop();
    let start = Instant::now();
    let reason = unreachable(store.get(&name("my-key")).await);
    assert!(reason.contains("'my-key'") && reason.contains("refused"), "{reason}");
    unreachable(store.create(&name("new"), &value("one")).await);
    unreachable(store.delete(&name("my-key")).await);
    unreachable(store.list("", None, 10).await);
    assert!(start.elapsed() < Duration::from_secs(32), "{:?}", start.elapsed());
    unreachable(Aws::open(&config(&moto.endpoint(), "")).await);
    moto.start_again();
    let start = Instant::now();
    store.ping().await.unwrap();
    store.create(&name("new"), &value("two")).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_hangs_is_unreachable_in_time_and_nothing_is_lost() {
    let moto = Moto::start();
    let store = open(&moto.endpoint(), "").await;
    store.create(&name("my-key"), &value("one")).await.unwrap();
    moto.freeze();
    for number in 0..2 {
        let start = Instant::now();
        if number == 0 {
            unreachable(store.get(&name("my-key")).await);
        } else {
            unreachable(store.create(&name("new"), &value("new")).await);
        }
        assert!(start.elapsed() < Duration::from_millis(8500), "{:?}", start.elapsed());
    }
    moto.thaw();
    let start = Instant::now();
    assert_eq!(store.get(&name("my-key")).await.unwrap(), value("one"));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // The create may have been waiting there, and may be done by now: either way there is one value.
    match store.create(&name("new"), &value("other")).await {
        Ok(()) => assert_eq!(store.get(&name("new")).await.unwrap(), value("other")),
        Err(StoreError::AlreadyExists) => assert_eq!(store.get(&name("new")).await.unwrap(), value("new")),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_unreachable() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let start = Instant::now();
    unreachable(Aws::open(&config(&format!("http://{}", listener.local_addr().unwrap()), "")).await);
    assert!(start.elapsed() < Duration::from_millis(8500), "{:?}", start.elapsed());
    let key = [("AWS_ACCESS_KEY_ID", "ENVENVENVENV"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "eu-west-1")];
    let text = run_with(&[key[0], key[1], key[2], ("TEST_ENDPOINT", "https://no-such-host.invalid")]);
    assert!(text.contains("open: key store is not reachable") && text.contains("dns error"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_answers_are_waited_for() {
    let moto = Moto::start();
    let front = Front::start(Some(moto.endpoint()), |_| Answer::Late(Duration::from_secs(1))).await;
    let store = open(&front.endpoint(), "").await;
    store.create(&name("my-key"), &value("one")).await.unwrap();
    assert_eq!(store.get(&name("my-key")).await.unwrap(), value("one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_whose_answers_are_lost_is_verified() {
    let moto = Moto::start();
    for fault in [Answer::Cut, Answer::Lost, Answer::Error(500, "InternalServiceError", "Later.".to_owned())] {
        let lose = fault.clone();
        // The first answer, or all three.
        for lost in [1, 3] {
            let (count, lose) = (AtomicUsize::new(0), lose.clone());
            let front = Front::start(Some(moto.endpoint()), move |request| {
                let is_create = request.operation == "CreateSecret";
                if is_create && count.fetch_add(1, Ordering::Relaxed) < lost { lose.clone() } else { Answer::Moto }
            })
            .await;
            let store = open(&front.endpoint(), &format!("{lost}-{}/", count_of(&fault))).await;
            let created = store.create(&name("my-key"), &value("ours")).await;
            if lost == 3 && matches!(fault, Answer::Error(..)) {
                // That one never reached moto.
                let reason = unavailable(created);
                assert!(reason.contains("InternalServiceError: Later."), "{reason}");
                assert!(matches!(store.get(&name("my-key")).await, Err(StoreError::NotFound)));
                continue;
            }
            created.unwrap();
            assert_eq!(store.get(&name("my-key")).await.unwrap(), value("ours"));
        }
        // All answers are lost, and another one's value stands.
        let (prefix, other) = (format!("other-{}/", count_of(&fault)), raw(&moto.endpoint()));
        let front = Front::start(Some(moto.endpoint()), move |request| {
            if request.operation == "CreateSecret" { fault.clone() } else { Answer::Moto }
        })
        .await;
        other.create_secret().name(format!("{prefix}my-key")).secret_string("theirs").send().await.unwrap();
        let store = open(&front.endpoint(), &prefix).await;
        assert!(matches!(store.create(&name("my-key"), &value("ours")).await, Err(StoreError::AlreadyExists)));
        assert_eq!(store.get(&name("my-key")).await.unwrap(), value("theirs"));
    }
}

fn count_of(fault: &Answer) -> usize {
    match fault {
        Answer::Cut => 1,
        Answer::Lost => 2,
        _ => 3,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_deletes_are_tried_again_when_an_answer_is_lost() {
    let moto = Moto::start();
    for fault in [Answer::Cut, Answer::Lost] {
        let count = AtomicUsize::new(0);
        // Every second answer is lost.
        let front = Front::start(Some(moto.endpoint()), move |_| {
            if count.fetch_add(1, Ordering::Relaxed) % 2 == 1 { fault.clone() } else { Answer::Moto }
        })
        .await;
        let store = open(&front.endpoint(), "").await;
        for _ in 0..3 {
            store.create(&name("my-key"), &value("one")).await.unwrap();
            assert_eq!(store.get(&name("my-key")).await.unwrap(), value("one"));
            assert_eq!(store.list("", None, 10).await.unwrap(), [name("my-key")]);
            store.delete(&name("my-key")).await.unwrap();
            assert!(matches!(store.get(&name("my-key")).await, Err(StoreError::NotFound)));
        }
    }
}

/// Opens a store that gets this answer to all but its first request.
async fn refused(status: u16, code: &'static str, words: &str) -> (Front, Aws) {
    let (count, words) = (AtomicUsize::new(0), words.to_owned());
    let front = Front::start(None, move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::Error(400, "ResourceNotFoundException", MISSING.to_owned()),
        _ => Answer::Error(status, code, words.clone()),
    })
    .await;
    let store = open(&front.endpoint(), "app/").await;
    (front, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_with_the_words_of_aws_and_what_to_do() {
    let denied = "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: secretsmanager:GetSecretValue";
    let cases = [
        (400, "AccessDeniedException", denied, "allow secretsmanager:CreateSecret"),
        (400, "ExpiredTokenException", "The security token included in the request is expired", "credentials"),
        (400, "UnrecognizedClientException", "The security token included in the request is invalid.", "credentials"),
        (400, "DecryptionFailure", "Secrets Manager can't decrypt the protected secret text.", "kms:Decrypt"),
        (400, "InvalidRequestException", "A parameter is not valid for the resource.", "configuration"),
        (400, "ThrottlingException", "Rate exceeded", "quota"),
        (500, "InternalServiceError", "An error occurred on the server side.", "again later"),
        (503, "ServiceUnavailable", "Try again.", "again later"),
    ];
    for (status, code, words, advice) in cases {
        let (front, store) = refused(status, code, words).await;
        let key = name("my-key");
        let told = [
            unavailable(store.get(&key).await),
            unavailable(store.create(&key, &value("the-value-of-the-key")).await),
            unavailable(store.delete(&key).await),
            unavailable(store.list("", None, 10).await),
            unavailable(store.ping().await),
        ];
        for reason in &told {
            assert!(reason.contains(&format!("{code}: {words}")) && reason.contains(advice), "{reason}");
            assert!(reason.contains("eu-central-1"), "{reason}");
        }
        assert!(told[..3].iter().all(|reason| reason.contains("'app/my-key'")), "{told:?}");
        let attempts = front.operations().iter().filter(|operation| *operation == "ListSecrets").count();
        let is_temporary = code == "ThrottlingException" || status >= 500;
        assert_eq!(attempts, if is_temporary { 3 } else { 1 }, "{code}");
    }
}

#[tokio::test]
async fn neither_credentials_nor_values_are_in_errors_or_debug_output() {
    let value_text = "the-value-of-the-key";
    let signature = format!(
        "The request signature we calculated does not match.\n\nThe Canonical String for this request should have been\n\
         'POST\n/\n\nx-amz-security-token:{SESSION}\n{SECRET_KEY}'"
    );
    let validation =
        format!("1 validation error detected: Value '{value_text}' at 'secretString' failed to satisfy constraint");
    for (code, words) in [("InvalidSignatureException", signature), ("ValidationException", validation)] {
        let (_front, store) = refused(400, code, &words).await;
        let created = store.create(&name("my-key"), &value(value_text)).await;
        let read = store.get(&name("my-key")).await;
        let texts =
            [format!("{created:?}"), created.unwrap_err().to_string(), format!("{read:?}"), format!("{store:?}")];
        for text in texts {
            for secret in [value_text, ACCESS_KEY, SECRET_KEY, SESSION] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
    let config = config("http://127.0.0.1:1", "");
    let unreachable = Aws::open(&config).await;
    for text in [format!("{config:?}"), format!("{unreachable:?}")] {
        for secret in [ACCESS_KEY, SECRET_KEY, SESSION] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn a_role_that_may_not_describe_secrets_does_as_with_kes() {
    let moto = Moto::start();
    let denied = || Answer::Error(400, "AccessDeniedException", "not authorized".to_owned());
    let front = Front::start(Some(moto.endpoint()), move |request| match request.operation.as_str() {
        "DescribeSecret" => denied(),
        _ => Answer::Moto,
    })
    .await;
    let (store, raw) = (open(&front.endpoint(), "").await, raw(&moto.endpoint()));
    let key = name("my-key");
    assert!(matches!(store.get(&key).await, Err(StoreError::NotFound)));
    assert!(matches!(store.delete(&key).await, Err(StoreError::NotFound)));
    store.create(&key, &value("one")).await.unwrap();
    assert!(matches!(store.create(&key, &value("two")).await, Err(StoreError::AlreadyExists)));
    store.delete(&key).await.unwrap();
    raw.create_secret().name("half").send().await.unwrap();
    withheld(store.get(&name("half")).await);
    raw.create_secret().name("deleted").secret_string("one").send().await.unwrap();
    raw.delete_secret().secret_id("deleted").recovery_window_in_days(7).send().await.unwrap();
    withheld(store.get(&name("deleted")).await);
    withheld(store.delete(&name("deleted")).await);
    // Words that we do not know are no knowledge.
    let other = Front::start(None, |request| match request.operation.as_str() {
        "DescribeSecret" => Answer::Error(400, "AccessDeniedException", "not authorized".to_owned()),
        _ => Answer::Error(400, "ResourceNotFoundException", "Something was not found.".to_owned()),
    })
    .await;
    unavailable(open(&other.endpoint(), "").await.get(&key).await);
}

#[tokio::test]
async fn a_name_that_aws_is_still_removing_is_withheld() {
    let front = Front::start(None, |request| match request.operation.as_str() {
        "CreateSecret" => {
            let words =
                "You can't create this secret because a secret with this name is already scheduled for deletion.";
            Answer::Error(400, "InvalidRequestException", words.to_owned())
        }
        _ => Answer::Error(400, "ResourceNotFoundException", MISSING.to_owned()),
    })
    .await;
    let reason = withheld(open(&front.endpoint(), "").await.create(&name("my-key"), &value("one")).await);
    assert!(reason.contains("try again in some minutes"), "{reason}");
}

#[tokio::test]
async fn settings_out_of_bounds_are_refused_by_name() {
    let base = || config("http://127.0.0.1:1", "");
    let hours = Timeouts { operation: Duration::ZERO, ..Timeouts::default() };
    let cases = [
        (Config { recovery_window: Some(6), ..base() }, "recovery_window is 6 days; AWS takes 7 to 30"),
        (Config { recovery_window: Some(31), ..base() }, "recovery_window"),
        (Config { prefix: "a b".to_owned(), ..base() }, "prefix 'a b' has ' '"),
        (Config { prefix: "!a".to_owned(), ..base() }, "prefix"),
        (Config { prefix: "p".repeat(433), ..base() }, "433 characters, 432 at most"),
        (Config { endpoint: Some("ftp://host".to_owned()), ..base() }, "endpoint is no http or https URL"),
        (Config { endpoint: Some("https://user:word@host".to_owned()), ..base() }, "endpoint holds a user"),
        (Config { endpoint: Some(String::new()), ..base() }, "endpoint"),
        (Config { timeouts: hours, ..base() }, "time-out"),
    ];
    for (config, words) in cases {
        let reason = unavailable(Aws::open(&config).await);
        assert!(reason.contains(words), "{reason}");
    }
    // As KES's documentation writes it.
    let host = Config { endpoint: Some("secretsmanager.us-east-2.amazonaws.com".to_owned()), ..base() };
    host.check().unwrap();
}

/// Runs [`in_the_environment`] in a process with these variables, and no others of AWS or a proxy.
fn run_with(variables: &[(&str, &str)]) -> String {
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
#[ignore = "run by other tests, with an environment of their choice"]
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
    let front = Front::start(Some(moto.endpoint()), |_| Answer::Moto).await;
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
    // From the third request on, the old key is worth nothing.
    let front = Front::start(Some(moto.endpoint()), move |request| {
        let count = opened.fetch_add(1, Ordering::Relaxed);
        if count >= 2 && request.authorization.contains("OLDOLDOLDOLD") {
            return Answer::Error(400, "UnrecognizedClientException", "The security token is invalid.".to_owned());
        }
        Answer::Moto
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
async fn credentials_that_cannot_be_fetched_any_more_are_told_as_such() {
    let moto = Moto::start();
    let container = AtomicUsize::new(0);
    // Asked at the start and for the first request; from then on it fails. The SDK renews 10 s before the end.
    let front = Front::start(None, move |_| {
        if container.fetch_add(1, Ordering::Relaxed) >= 2 {
            return Answer::Error(500, "InternalError", "No.".to_owned());
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
        Answer::Json(format!(
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
    println!("{text}");
    assert!(text.contains("later: Err(Unavailable") && text.contains("no credentials: "), "{text}");
    assert!(!text.contains("a-secret-of-the-task"), "{text}");
}
