//! Refusals by AWS, and settings that are refused; neither reveals a secret.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backends::Store;
use backends::aws::{Aws, Config, Timeouts};

use super::front::{Front, Response};
use super::{ACCESS_KEY, MISSING, SECRET_KEY, SESSION, config, name, open, unavailable, value};

/// Opens a store that gets this response to all requests except the first.
async fn refused(status: u16, code: &'static str, words: &str) -> (Front, Aws) {
    let (count, words) = (AtomicUsize::new(0), words.to_owned());
    let front = Front::start(None, move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Response::Error(400, "ResourceNotFoundException", MISSING.to_owned()),
        _ => Response::Error(status, code, words.clone()),
    })
    .await;
    let store = open(&front.endpoint(), "app/").await;
    (front, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_reported_with_the_message_of_aws_and_what_to_do() {
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
        let reasons = [
            unavailable(store.get(&key).await),
            unavailable(store.create(&key, &value("the-value-of-the-key")).await),
            unavailable(store.delete(&key).await),
            unavailable(store.list("", None, 10).await),
            unavailable(store.ping().await),
        ];
        for reason in &reasons {
            assert!(reason.contains(&format!("{code}: {words}")) && reason.contains(advice), "{reason}");
            assert!(reason.contains("eu-central-1"), "{reason}");
        }
        assert!(reasons[..3].iter().all(|reason| reason.contains("'app/my-key'")), "{reasons:?}");
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
async fn settings_out_of_bounds_are_refused_by_name() {
    let base = || config("http://127.0.0.1:1", "");
    let zero = Timeouts { operation: Duration::ZERO, ..Timeouts::default() };
    let cases = [
        (
            Config { recovery_window: Some(6), ..base() },
            "recovery_window is 6 days, which is out of range; use a number from 7 to 30",
        ),
        (Config { recovery_window: Some(31), ..base() }, "recovery_window"),
        (Config { prefix: "a b".to_owned(), ..base() }, "prefix 'a b' contains ' '"),
        (Config { prefix: "!a".to_owned(), ..base() }, "prefix"),
        (Config { prefix: "p".repeat(433), ..base() }, "433 characters; use at most 432"),
        (Config { endpoint: Some("ftp://host".to_owned()), ..base() }, "endpoint is not an http or https URL"),
        (Config { endpoint: Some("https://user:word@host".to_owned()), ..base() }, "endpoint contains a user"),
        (Config { endpoint: Some(String::new()), ..base() }, "endpoint"),
        (Config { timeouts: zero, ..base() }, "a timeout is 0"),
    ];
    for (config, words) in cases {
        let reason = unavailable(Aws::open(&config).await);
        assert!(reason.contains(words), "{reason}");
    }
    // As KES's documentation writes it.
    let host = Config { endpoint: Some("secretsmanager.us-east-2.amazonaws.com".to_owned()), ..base() };
    host.check().unwrap();
}
