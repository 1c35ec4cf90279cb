//! Clients of the two gateways, and what they saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::faults::Fault;
use crate::support::server::send;
use crate::support::{Server, until};

/// Keys that are used all the time.
const HOT: usize = 4;

/// Keys that are used now and then, so that they are mostly not in the cache.
const COLD: usize = 200;

/// From then on a fault is known, and what fails must fail at once.
const KNOWN_AFTER: Duration = Duration::from_secs(5);

/// A running load.
pub struct Load {
    gateways: Arc<[Server; 2]>,
    seen: Arc<Mutex<Seen>>,
    done: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

/// What happened during one fault, or all the time between them.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// How often it came.
    pub times: usize,
    /// How long it lasted, all together.
    pub lasted: Duration,
    pub requests: usize,
    /// Requests for hot keys that failed.
    pub hot_failures: usize,
    /// The longest that one took.
    pub hot_worst: Duration,
    /// Failures of what needs the store, by status.
    pub failures: BTreeMap<u16, usize>,
    /// The longest that a failure took once the fault was known.
    pub failed_worst: Duration,
    /// The longest until both gateways created keys again.
    pub recovery: Duration,
}

/// What was seen, by fault.
#[derive(Debug, Default)]
pub struct Seen {
    pub rows: BTreeMap<Option<Fault>, Row>,
    now: Option<(Fault, Instant)>,
    /// Answers that must never be: a wrong plaintext, a key that is lost.
    pub wrong: Vec<String>,
    /// Keys whose creation was answered with 200, with a data key each where one was generated.
    acknowledged: Vec<(String, Option<Value>)>,
}

/// One client: an HTTP client for each gateway.
struct Client {
    http: [reqwest::Client; 2],
    gateways: Arc<[Server; 2]>,
    seen: Arc<Mutex<Seen>>,
}

impl Load {
    /// Creates the keys and starts the clients.
    pub async fn start(gateways: Arc<[Server; 2]>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut load = Self { gateways, seen, done: Arc::default(), clients: JoinSet::new() };
        let client = load.client();
        for name in (0..HOT).map(|n| format!("hot-{n}")).chain((0..COLD).map(|n| format!("cold-{n}"))) {
            assert_eq!(client.ask(0, "create", &name, None).await.0, 200);
        }
        for number in 0..4 {
            load.spawn(number, Client::use_hot);
        }
        for number in 0..2 {
            load.spawn(number, Client::use_cold);
            load.spawn(number, Client::create);
        }
        load
    }

    fn client(&self) -> Client {
        let http = self.gateways.each_ref().map(|gateway| gateway.http(Some(&gateway.admin)));
        Client { http, gateways: self.gateways.clone(), seen: self.seen.clone() }
    }

    fn spawn<F>(&mut self, number: usize, step: impl Fn(Arc<Client>, usize, usize) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let (client, done) = (Arc::new(self.client()), self.done.clone());
        self.clients.spawn(async move {
            let mut round = 0;
            while !done.load(Ordering::Relaxed) {
                step(client.clone(), number, round).await;
                round += 1;
            }
        });
    }

    /// A fault begins.
    pub fn begin(&self, fault: Fault) {
        let mut seen = self.seen.lock().unwrap();
        seen.now = Some((fault, Instant::now()));
        seen.rows.entry(Some(fault)).or_default().times += 1;
    }

    /// Waits until both gateways create keys again.
    pub async fn recovered(&self, within: Duration) -> Duration {
        let (client, start) = (self.client(), Instant::now());
        for gateway in 0..2 {
            until(
                within * 5,
                || self.gateways[gateway].log(),
                async || {
                    let name = format!("recovered-{gateway}-{}", start.elapsed().as_nanos());
                    client.ask(gateway, "create", &name, None).await.0 == 200
                },
            )
            .await;
        }
        start.elapsed()
    }

    /// The fault is over.
    pub fn end(&self, recovery: Duration) {
        let mut seen = self.seen.lock().unwrap();
        let Some((fault, began)) = seen.now.take() else { return };
        let row = seen.rows.entry(Some(fault)).or_default();
        row.lasted += began.elapsed();
        row.recovery = row.recovery.max(recovery);
    }

    /// Ends the load, and looks whether every key that was acknowledged is there, on both gateways.
    pub async fn stop(mut self) -> Seen {
        self.done.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let client = self.client();
        let acknowledged = std::mem::take(&mut self.seen.lock().unwrap().acknowledged);
        for (name, data_key) in acknowledged {
            for gateway in 0..2 {
                let (status, answer, _) = match &data_key {
                    Some(key) => {
                        let body = json!({ "ciphertext": key["ciphertext"] });
                        client.ask(gateway, "decrypt", &name, Some(body)).await
                    }
                    None => client.ask(gateway, "generate", &name, None).await,
                };
                let same = data_key.as_ref().is_none_or(|key| key["plaintext"] == answer["plaintext"]);
                if status != 200 || !same {
                    client.wrong(format!("{name} is lost on gateway {gateway}: {status} {answer}"));
                }
            }
        }
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Client {
    /// One request: status, answer and the time it took. 0 stands for no answer at all.
    async fn ask(&self, gateway: usize, operation: &str, name: &str, body: Option<Value>) -> (u16, Value, Duration) {
        let start = Instant::now();
        let url = self.gateways[gateway].url(&format!("/v1/key/{operation}/{name}"));
        let answer = send(self.http[gateway].put(url), body).await;
        let (status, answer) = answer.map_or((0, Value::Null), |answer| {
            (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
        });
        (status, answer, start.elapsed())
    }

    fn wrong(&self, what: String) {
        self.seen.lock().unwrap().wrong.push(what);
    }

    /// Counts a request in the row of what happened when it began.
    fn count(&self, fault: Option<Fault>, change: impl FnOnce(&mut Row)) {
        let mut seen = self.seen.lock().unwrap();
        let row = seen.rows.entry(fault).or_default();
        row.requests += 1;
        change(row);
    }

    fn now(&self) -> (Option<Fault>, bool) {
        let now = self.seen.lock().unwrap().now;
        (now.map(|(fault, _)| fault), now.is_some_and(|(_, began)| began.elapsed() > KNOWN_AFTER))
    }

    /// A data key of a key in use, encrypted by one gateway and decrypted by the other.
    async fn use_hot(self: Arc<Self>, number: usize, round: usize) {
        let name = format!("hot-{}", round % HOT);
        let ((fault, _), gateway) = (self.now(), number % 2);
        let (status, key, time) = self.ask(gateway, "generate", &name, None).await;
        self.count(fault, |row| {
            row.hot_worst = row.hot_worst.max(time);
            row.hot_failures += usize::from(status != 200);
        });
        if status == 200 {
            let body = json!({ "ciphertext": key["ciphertext"] });
            let (status, answer, time) = self.ask(1 - gateway, "decrypt", &name, Some(body)).await;
            self.count(fault, |row| {
                row.hot_worst = row.hot_worst.max(time);
                row.hot_failures += usize::from(status != 200);
            });
            if status == 404 || status == 400 || (status == 200 && answer["plaintext"] != key["plaintext"]) {
                self.wrong(format!("{name}: {status} {answer}"));
            }
        } else if matches!(status, 400 | 404) {
            self.wrong(format!("{name}: {status} {key}"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await; // its pace
    }

    /// A data key of a key that is mostly not in the cache, and back.
    async fn use_cold(self: Arc<Self>, number: usize, round: usize) {
        let name = format!("cold-{}", round % COLD);
        let key = self.needs_store(number, "generate", &name, None).await;
        if let Some(key) = key {
            let body = json!({ "ciphertext": key["ciphertext"] });
            let answer = self.needs_store(1 - number, "decrypt", &name, Some(body)).await;
            if answer.is_some_and(|answer| answer["plaintext"] != key["plaintext"]) {
                self.wrong(format!("{name}: another plaintext"));
            }
        }
        tokio::time::sleep(Duration::from_millis(30)).await; // its pace
    }

    /// A new key, and a data key of it by the other gateway.
    async fn create(self: Arc<Self>, number: usize, round: usize) {
        let name = format!("new-{number}-{round}");
        if self.needs_store(number, "create", &name, None).await.is_some() {
            let key = self.needs_store(1 - number, "generate", &name, None).await;
            self.seen.lock().unwrap().acknowledged.push((name, key));
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // its pace
    }

    /// A request that may fail while the store is away, and must then fail at once.
    async fn needs_store(&self, gateway: usize, operation: &str, name: &str, body: Option<Value>) -> Option<Value> {
        let (fault, is_known) = self.now();
        let (status, answer, time) = self.ask(gateway, operation, name, body).await;
        self.count(fault, |row| {
            if status != 200 {
                *row.failures.entry(status).or_default() += 1;
                if is_known {
                    row.failed_worst = row.failed_worst.max(time);
                }
            }
        });
        if !matches!(status, 200 | 502..=504) {
            self.wrong(format!("{operation} {name}: {status} {answer}"));
        }
        (status == 200).then_some(answer)
    }
}
