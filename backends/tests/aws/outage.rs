//! A service that is killed, hangs, or whose responses are lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backends::aws::Aws;
use backends::{Store, StoreError};

use super::environment::run_with;
use super::front::{Front, Response};
use super::{config, name, open, raw, unavailable, unreachable, value};
use crate::services::aws::Moto;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_killed_is_unreachable_and_used_again_after_its_restart() {
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
async fn a_service_that_hangs_is_unreachable_within_the_deadline_and_nothing_is_lost() {
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
    // The create may have been waiting there, and may have happened by now: either way there is one value.
    match store.create(&name("new"), &value("other")).await {
        Ok(()) => assert_eq!(store.get(&name("new")).await.unwrap(), value("other")),
        Err(StoreError::AlreadyExists) => assert_eq!(store.get(&name("new")).await.unwrap(), value("new")),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_address_that_does_not_respond_is_unreachable() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let start = Instant::now();
    unreachable(Aws::open(&config(&format!("http://{}", listener.local_addr().unwrap()), "")).await);
    assert!(start.elapsed() < Duration::from_millis(8500), "{:?}", start.elapsed());
    let key = [("AWS_ACCESS_KEY_ID", "ENVENVENVENV"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "eu-west-1")];
    let text = run_with(&[key[0], key[1], key[2], ("TEST_ENDPOINT", "https://no-such-host.invalid")]);
    assert!(text.contains("open: key store is not reachable") && text.contains("dns error"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_responses_are_waited_for() {
    let moto = Moto::start();
    let front = Front::start(Some(moto.endpoint()), |_| Response::Late(Duration::from_secs(1))).await;
    let store = open(&front.endpoint(), "").await;
    store.create(&name("my-key"), &value("one")).await.unwrap();
    assert_eq!(store.get(&name("my-key")).await.unwrap(), value("one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_whose_responses_are_lost_is_verified() {
    let moto = Moto::start();
    for fault in [Response::Cut, Response::Lost, Response::Error(500, "InternalServiceError", "Later.".to_owned())] {
        let lose = fault.clone();
        // The first response, or all three.
        for lost in [1, 3] {
            let (count, lose) = (AtomicUsize::new(0), lose.clone());
            let front = Front::start(Some(moto.endpoint()), move |request| {
                let is_create = request.operation == "CreateSecret";
                if is_create && count.fetch_add(1, Ordering::Relaxed) < lost { lose.clone() } else { Response::Moto }
            })
            .await;
            let store = open(&front.endpoint(), &format!("{lost}-{}/", number_of(&fault))).await;
            let created = store.create(&name("my-key"), &value("ours")).await;
            if lost == 3 && matches!(fault, Response::Error(..)) {
                // That one did not reach moto.
                let reason = unavailable(created);
                assert!(reason.contains("InternalServiceError: Later."), "{reason}");
                assert!(matches!(store.get(&name("my-key")).await, Err(StoreError::NotFound)));
                continue;
            }
            created.unwrap();
            assert_eq!(store.get(&name("my-key")).await.unwrap(), value("ours"));
        }
        // All responses are lost, and the secret contains another value.
        let (prefix, other) = (format!("other-{}/", number_of(&fault)), raw(&moto.endpoint()));
        let front = Front::start(Some(moto.endpoint()), move |request| {
            if request.operation == "CreateSecret" { fault.clone() } else { Response::Moto }
        })
        .await;
        other.create_secret().name(format!("{prefix}my-key")).secret_string("theirs").send().await.unwrap();
        let store = open(&front.endpoint(), &prefix).await;
        assert!(matches!(store.create(&name("my-key"), &value("ours")).await, Err(StoreError::AlreadyExists)));
        assert_eq!(store.get(&name("my-key")).await.unwrap(), value("theirs"));
    }
}

fn number_of(fault: &Response) -> usize {
    match fault {
        Response::Cut => 1,
        Response::Lost => 2,
        _ => 3,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_deletes_are_repeated_when_a_response_is_lost() {
    let moto = Moto::start();
    for fault in [Response::Cut, Response::Lost] {
        let count = AtomicUsize::new(0);
        // Every second response is lost.
        let front = Front::start(Some(moto.endpoint()), move |_| {
            if count.fetch_add(1, Ordering::Relaxed) % 2 == 1 { fault.clone() } else { Response::Moto }
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
