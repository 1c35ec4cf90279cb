//! Mixed load on two gateways over PostgreSQL and two over `OpenBao`, while the backends are stopped, frozen, slowed,
//! restarted, cut off and their sessions ended, at random. No answer is wrong, keys in use never fail, what needs the
//! store fails at once, and nothing grows.
//!
//! 90 s in all; the long form: `KEYWAY_SOAK_SECONDS=600 cargo test --test keyway soak -- --nocapture`. A run is repeated
//! by `KEYWAY_SOAK_SEED`, which each prints.

mod faults;
mod load;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::services::postgres::Postgres;
use crate::services::proxy::Proxy;
use crate::services::vault::Program;
use crate::support::server::unique;
use crate::support::stores::{self, Kv};
use crate::support::{Server, Setup};
use faults::{Backend, FAULTS, Fault};
use load::Load;

/// How long a fault lasts, in seconds: never as long as `offline`.
const FAULT_SECONDS: std::ops::Range<u64> = 4..8;

/// How long a store is left in peace after a fault.
const PEACE: Duration = Duration::from_secs(4);

/// How soon a gateway must create keys again: the breaker's 2 s, and what the operations themselves take here.
const RECOVERY: Duration = Duration::from_secs(3);

/// The cache of the gateways. Keys in use are read again every two seconds, so that each fault is met at once.
const CACHE: &str = "cache: {expiry: {any: 2s, unused: 30s, offline: 60s}}\n";

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

// Starting and stopping processes keeps a thread waiting, and the proxies must go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn two_gateways_over_each_store_give_no_wrong_answer_whatever_happens_to_it() {
    let length = Duration::from_secs(setting("KEYWAY_SOAK_SECONDS", 90));
    let seed = setting("KEYWAY_SOAK_SEED", rand::rng().random_range(0..1_000_000));
    let postgres = Postgres::start();
    let proxy = Proxy::start(postgres.address()).await;
    let keystore = stores::postgres(proxy.address(), &unique());
    let postgres = soak("postgres", Backend::Postgres(postgres), proxy, keystore, seed, length);

    let openbao = stores::start(Program::OpenBao).await;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], openbao.port()))).await;
    let keystore = stores::vault(&openbao, &format!("http://{}", proxy.address()), Kv::V2, &unique());
    let openbao = soak("OpenBao", Backend::OpenBao(openbao), proxy, keystore, seed + 1, length);
    let (postgres, openbao) = (tokio::spawn(postgres), tokio::spawn(openbao));
    postgres.await.unwrap();
    openbao.await.unwrap();
}

/// Two gateways over one store, under load and faults for `length`.
async fn soak(store: &'static str, mut backend: Backend, proxy: Proxy, keystore: String, seed: u64, length: Duration) {
    let mut random = StdRng::seed_from_u64(seed);
    let gateway = || Server::with(Setup { keystore: keystore.clone(), extra: CACHE.to_owned(), ..Setup::default() });
    let gateways = Arc::new([gateway(), gateway()]);
    let load = Load::start(gateways.clone()).await;
    tokio::time::sleep(PEACE).await;
    let before = gateways.each_ref().map(table::Usage::of);
    let end = Instant::now() + length;
    let mut next = FAULTS.to_vec();
    while Instant::now() < end {
        if next.is_empty() {
            next = FAULTS.to_vec();
        }
        let fault: Fault = next.swap_remove(random.random_range(0..next.len()));
        load.begin(fault);
        backend.begin(fault, &proxy).await;
        tokio::time::sleep(Duration::from_secs(random.random_range(FAULT_SECONDS))).await;
        backend.end(fault, &proxy).await;
        let recovery = load.recovered(RECOVERY).await;
        load.end(recovery);
        tokio::time::sleep(PEACE).await;
    }
    let report = load.stop().await;
    let after = gateways.each_ref().map(table::Usage::of);
    table::print(store, seed, &report, &before, &after);
    table::judge(store, &report, &before, &after);
}
