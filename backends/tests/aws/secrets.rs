//! How keys are stored as secrets, and secrets that are not whole.

use std::collections::BTreeSet;

use aws_sdk_secretsmanager::primitives::Blob;
use backends::aws::{Aws, Config, MAX_VALUE};
use backends::{Store, StoreError, Value};

use super::front::{Front, Response};
use super::{MISSING, config, name, open, raw, unavailable, value, withheld};
use crate::services::aws::Moto;

#[tokio::test]
async fn secrets_of_kes_are_read_and_ours_have_the_same_format() {
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
async fn without_a_recovery_window_a_deleted_secret_is_gone_immediately() {
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
    // More than one page of AWS, in two of ours.
    let first = app.list("key-", None, 70).await.unwrap();
    let second = app.list("key-", first.last(), 70).await.unwrap();
    assert_eq!((first.len(), second.len()), (70, 50));
    assert_eq!(first.into_iter().chain(second).collect::<BTreeSet<_>>().len(), 120);
}

#[tokio::test]
async fn values_that_aws_does_not_accept_are_refused_without_a_request() {
    let front = Front::start(None, |_| Response::Error(400, "ResourceNotFoundException", MISSING.to_owned())).await;
    let store = open(&front.endpoint(), "").await;
    let before = front.operations().len();
    for len in [0, MAX_VALUE + 1, Value::MAX_LEN] {
        let reason = unavailable(store.create(&name("my-key"), &Value::from(vec![b'x'; len])).await);
        assert!(reason.contains(&format!("{len} bytes")) && reason.contains("accepts 1 to 65536"), "{reason}");
    }
    assert_eq!(front.operations().len(), before);
}

#[tokio::test]
async fn a_role_that_may_not_describe_secrets_is_sufficient_as_for_kes() {
    let moto = Moto::start();
    let denied = || Response::Error(400, "AccessDeniedException", "not authorized".to_owned());
    let front = Front::start(Some(moto.endpoint()), move |request| match request.operation.as_str() {
        "DescribeSecret" => denied(),
        _ => Response::Moto,
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
    // An unknown message is not taken as "not found".
    let other = Front::start(None, |request| match request.operation.as_str() {
        "DescribeSecret" => Response::Error(400, "AccessDeniedException", "not authorized".to_owned()),
        _ => Response::Error(400, "ResourceNotFoundException", "Something was not found.".to_owned()),
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
            Response::Error(400, "InvalidRequestException", words.to_owned())
        }
        _ => Response::Error(400, "ResourceNotFoundException", MISSING.to_owned()),
    })
    .await;
    let reason = withheld(open(&front.endpoint(), "").await.create(&name("my-key"), &value("one")).await);
    assert!(reason.contains("try again in a few minutes"), "{reason}");
}
