//! A server that is sealed, stopped, frozen, or reached through a faulty network.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backends::vault::{Config, KvVersion};
use backends::{Name, Store, StoreError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{POLICY, approle, config, errors, http_server, name, open, start, start_error, value};
use crate::services::vault::Program;

on_both!(
    sealing_is_reported_and_unsealing_is_noticed,
    a_restart_is_noticed,
    a_frozen_server_is_unreachable_within_the_deadline,
    a_create_whose_response_is_lost_is_read_back,
    only_a_redirect_of_a_standby_is_followed,
);

/// How long it takes until reads work again.
async fn recovery(store: &Arc<dyn Store>, key: &Name) -> Duration {
    let start = Instant::now();
    loop {
        match store.get(key).await {
            Ok(found) => {
                assert_eq!(found, value("x"));
                return start.elapsed();
            }
            Err(error) => assert!(!matches!(error, StoreError::NotFound | StoreError::Damaged { .. }), "{error}"),
        }
        assert!(start.elapsed() < Duration::from_secs(30), "does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn sealing_is_reported_and_unsealing_is_noticed(program: Program) {
    let server = start(program).await;
    server.policy("kes", POLICY);
    let login = approle(&server.approle("kes", "kes", "1h", "0"));
    let store = open(Config { login, ..config(&server, "kv1", KvVersion::V1) }).await;
    store.create(&name("k"), &value("x")).await.unwrap();
    server.seal();
    for error in errors(&store, "l").await {
        let text = error.to_string();
        assert!(matches!(error, StoreError::NotReady { .. }) && text.contains("the server is sealed"), "{text}");
    }
    server.unseal().await;
    assert!(recovery(&store, &name("k")).await < Duration::from_secs(5));
    store.create(&name("l"), &value("y")).await.unwrap();
}

async fn a_restart_is_noticed(program: Program) {
    let mut server = start(program).await;
    server.policy("kes", POLICY);
    let login = approle(&server.approle("kes", "kes", "1h", "0"));
    let store = open(Config { login, ..config(&server, "kv2", KvVersion::V2) }).await;
    store.create(&name("k"), &value("x")).await.unwrap();
    server.stop();
    for error in errors(&store, "l").await {
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    }
    server.restart().await;
    assert!(recovery(&store, &name("k")).await < Duration::from_secs(5));
    store.create(&name("l"), &value("y")).await.unwrap();
}

async fn a_frozen_server_is_unreachable_within_the_deadline(program: Program) {
    let server = start(program).await;
    for (engine, version) in [("kv1", KvVersion::V1), ("kv2", KvVersion::V2)] {
        let store = open(config(&server, engine, version)).await;
        store.create(&name("k"), &value("x")).await.unwrap();
        server.freeze();
        let began = Instant::now();
        let (key, new, x) = (name("k"), name("new"), value("x"));
        let (get, create, ping) = tokio::join!(store.get(&key), store.create(&new, &x), store.ping());
        for error in [get.unwrap_err(), create.unwrap_err(), ping.unwrap_err()] {
            assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
        }
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
        server.thaw();
        assert!(recovery(&store, &key).await < Duration::from_secs(5));
        // Whatever became of the create, the name can be used again, and has one value.
        let start = Instant::now();
        loop {
            match store.create(&new, &value("y")).await {
                Ok(()) => assert_eq!(store.get(&new).await.unwrap(), value("y")),
                Err(StoreError::AlreadyExists) => assert_eq!(store.get(&new).await.unwrap(), value("x")),
                Err(error) => {
                    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
                    assert!(start.elapsed() < Duration::from_secs(13), "{error}");
                    continue;
                }
            }
            break;
        }
    }
}

/// A proxy for plain HTTP, which counts the requests that contain `needle`. The first `cuts` of them are forwarded, but the
/// connection is closed instead of returning the response.
pub(super) struct Proxy {
    pub(super) port: u16,
    pub(super) seen: Arc<AtomicUsize>,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    pub(super) async fn start(upstream: u16, needle: &'static str) -> Self {
        Self::start_with(upstream, needle, || ()).await
    }

    /// The same; after each of these requests, something happens before its response is returned.
    pub(super) async fn start_with(
        upstream: u16,
        needle: &'static str,
        then: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, cuts) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::new(AtomicUsize::new(0));
        let (left, then, count) = (cuts.clone(), Arc::new(then), seen.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, cuts) = (TcpStream::connect(("127.0.0.1", upstream)).await.unwrap(), left.clone());
                let (then, seen) = (then.clone(), count.clone());
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let (mut request, mut response) = (vec![0; 65536], vec![0; 65536]);
                    let (mut cut, mut is_needle) = (false, false);
                    loop {
                        tokio::select! {
                            Ok(len @ 1..) = from_client.read(&mut request) => {
                                let one_less = |left: usize| left.checked_sub(1);
                                is_needle = String::from_utf8_lossy(&request[..len]).contains(needle);
                                seen.fetch_add(usize::from(is_needle), Ordering::SeqCst);
                                cut = is_needle && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
                                to_server.write_all(&request[..len]).await.unwrap();
                            }
                            Ok(len @ 1..) = from_server.read(&mut response) => {
                                if std::mem::take(&mut is_needle) {
                                    tokio::task::block_in_place(|| then());
                                }
                                if cut || to_client.write_all(&response[..len]).await.is_err() {
                                    break;
                                }
                            }
                            else => break,
                        }
                    }
                });
            }
        });
        Self { port, seen, cuts }
    }
}

async fn a_create_whose_response_is_lost_is_read_back(program: Program) {
    let server = start(program).await;
    for (engine, version, needle) in
        [("kv1", KvVersion::V1, "POST /v1/kv1/key"), ("kv2", KvVersion::V2, "POST /v1/kv2/data/key")]
    {
        let proxy = Proxy::start(server.port(), needle).await;
        let endpoint = format!("http://127.0.0.1:{}", proxy.port);
        let store = open(Config { endpoint, ..config(&server, engine, version) }).await;
        for number in 0..5 {
            proxy.cuts.store(1, Ordering::SeqCst);
            let key = name(&format!("key-{number}"));
            store.create(&key, &value("ours")).await.unwrap();
            assert_eq!(proxy.cuts.load(Ordering::SeqCst), 0, "nothing was cut");
            assert_eq!(store.get(&key).await.unwrap(), value("ours"));
            assert!(matches!(store.create(&key, &value("other")).await, Err(StoreError::AlreadyExists)));
        }
        store.close().await;

        let reads = if version == KvVersion::V1 { "GET /v1/kv1/key" } else { "GET /v1/kv2/data/key" };
        let proxy = Proxy::start(server.port(), reads).await;
        let endpoint = format!("http://127.0.0.1:{}", proxy.port);
        let store = open(Config { endpoint, ..config(&server, engine, version) }).await;
        proxy.cuts.store(1, Ordering::SeqCst);
        assert_eq!(store.get(&name("key-0")).await.unwrap(), value("ours"));
        proxy.cuts.store(1000, Ordering::SeqCst);
        for error in [
            store.get(&name("key-0")).await.unwrap_err(),
            store.create(&name("key-0"), &value("x")).await.unwrap_err(),
            store.delete(&name("key-0")).await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
        }
        proxy.cuts.store(0, Ordering::SeqCst);
        assert_eq!(store.get(&name("key-0")).await.unwrap(), value("ours"));
    }
}

/// A standby that does not forward: its response to every request is a redirect to `target`, in which `PATH` is
/// replaced by the path of the request.
async fn standby(target: String) -> String {
    let port = http_server(move |request| {
        let path = request.split(' ').nth(1).unwrap_or("/");
        let location = target.replace("PATH", path);
        format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    });
    format!("http://127.0.0.1:{}", port.await)
}

async fn only_a_redirect_of_a_standby_is_followed(program: Program) {
    let server = start(program).await;
    for (engine, version) in [("kv1", KvVersion::V1), ("kv2", KvVersion::V2)] {
        let endpoint = standby(format!("{}PATH", server.url())).await;
        let store = open(Config { endpoint, ..config(&server, engine, version) }).await;
        store.create(&name("k"), &value("x")).await.unwrap();
        assert_eq!(store.get(&name("k")).await.unwrap(), value("x"));
        assert_eq!(store.list("", None, 9).await.unwrap(), [name("k")]);
    }
    let to_another_path = format!("{}/elsewherePATH", server.url());
    let to_another_scheme = format!("https://127.0.0.1:{}PATH", server.port());
    let twice = format!("{}PATH", standby(format!("{}PATH", server.url())).await);
    for target in [to_another_path, to_another_scheme, twice] {
        let endpoint = standby(target).await;
        let error = start_error(Config { endpoint, ..config(&server, "kv2", KvVersion::V2) }).await;
        assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("redirects")), "{error}");
    }
}
