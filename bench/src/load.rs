//! The load generator: clients that send the next request as soon as they receive a response, over connections that are
//! opened before the measurement starts. Latencies are those of a server that is never idle; CPU time is read from the
//! kernel at the start and the end of the measurement.
//!
//! A load generator of its own, because no existing tool resumes TLS sessions, uses 10,000 distinct names once each,
//! and needs less CPU time per request than the floor. A slower one would leave the server idle between requests, and
//! an idle server needs more CPU time per request, because each one wakes it up (README.md has the figures).

mod fresh;
mod http1;
mod http2;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{IpAddr, ServerName};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::request::Request;
use crate::sample::{LOAD_CPU, PEAK, RESIDENT, RESUMED, Sample, float, sample};
use crate::usage;

pub(crate) use http1::Http1;

/// Concurrent handshakes while connections are opened.
const OPENING: usize = 32;

/// How often the main thread checks the clients.
const POLL: Duration = Duration::from_millis(2);

/// A measurement continues until the number of responses is this many times the number of concurrent requests ...
const ENOUGH: usize = 2;

/// ... but for at most this many times the requested duration.
const MOST_TIMES: u32 = 10;

/// The number of TLS sessions that a client stores.
const TICKETS: usize = 32;

/// The clients, the server, the requests and the duration.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// The address of the server.
    pub(crate) address: SocketAddr,
    /// The process of the server.
    pub(crate) pid: u32,
    /// The TLS config of the clients; its ALPN matches `shape`.
    pub(crate) tls: Arc<ClientConfig>,
    /// Whether new connections resume a session of the same client.
    pub(crate) resume: bool,
    /// The kind and the number of connections.
    pub(crate) shape: Shape,
    /// The requests.
    pub(crate) request: Request,
    /// When it ends.
    pub(crate) end: End,
    /// The number of client threads.
    pub(crate) threads: usize,
}

/// How clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// HTTP/1.1: the number of connections, with one request at a time on each.
    Http1(usize),
    /// HTTP/2: the number of connections, and the number of streams on each.
    Http2(usize, usize),
    /// HTTP/1.1 with a new connection for each request: the number of concurrent connections.
    Fresh(usize),
}

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// After the warm-up, which is not measured, and the measured time.
    After(Duration, Duration),
    /// After this number of requests.
    Count(u64),
}

/// The state shared by all clients.
struct Shared {
    load: Load,
    /// The number of open connections.
    open: AtomicUsize,
    opening: Semaphore,
    /// The number of the next request.
    next: AtomicU64,
    resumed: AtomicU64,
    /// The number of measured requests.
    answered: AtomicUsize,
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    WarmUp,
    Measured,
    Over,
}

type Latencies = Vec<Duration>;

impl Load {
    /// Runs the load and returns the figures.
    ///
    /// # Errors
    /// The first response that is not 200, or a failed connection.
    pub(crate) fn run(self) -> anyhow::Result<Sample> {
        let (connections, threads) = (self.shape.connections(), self.threads.clamp(1, self.shape.connections()));
        let (pid, end, request) = (self.pid, self.end, self.request.clone());
        let shared = Arc::new(Shared {
            load: self,
            open: AtomicUsize::new(0),
            opening: Semaphore::new(OPENING),
            next: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            answered: AtomicUsize::new(0),
            phase: watch::Sender::new(Phase::Open),
        });
        let clients: Vec<_> = (0..threads)
            .map(|thread| {
                let (shared, mine) =
                    (shared.clone(), connections / threads + usize::from(thread < connections % threads));
                std::thread::spawn(move || clients(&shared, mine))
            })
            .collect();
        let failed = || clients.iter().any(std::thread::JoinHandle::is_finished);
        while shared.open.load(Ordering::Acquire) < connections && !failed() {
            std::thread::sleep(POLL);
        }
        if let End::After(warm_up, _) = end {
            shared.enter(Phase::WarmUp);
            std::thread::sleep(warm_up);
        }
        usage::reset_peak(pid);
        let (cpu, own, start) = (usage::cpu(pid)?, usage::cpu(std::process::id())?, Instant::now());
        shared.enter(Phase::Measured);
        match end {
            End::After(_, measured) => {
                // Requests that span the start or the end of the measurement must be few compared to those within it.
                let enough = || shared.answered.load(Ordering::Relaxed) >= ENOUGH * shared.load.shape.concurrency();
                let last = start + measured * MOST_TIMES;
                while !failed() && (start.elapsed() < measured || (!enough() && Instant::now() < last)) {
                    std::thread::sleep(POLL.max(measured.saturating_sub(start.elapsed())));
                }
            }
            End::Count(_) => {
                while !clients.iter().all(std::thread::JoinHandle::is_finished) {
                    std::thread::sleep(POLL);
                }
            }
        }
        let elapsed = start.elapsed();
        let (cpu, own) = (usage::cpu(pid)?.saturating_sub(cpu), usage::cpu(std::process::id())?.saturating_sub(own));
        shared.enter(Phase::Over);
        let mut latencies = Latencies::new();
        for client in clients {
            let done = client.join().map_err(|_| anyhow!("a thread of the load panicked"))?;
            latencies.extend(done.with_context(|| format!("{} {}", request.method, request.path(0)))?);
        }
        if latencies.is_empty() {
            bail!("{} {}: no response in {elapsed:?}", request.method, request.path(0));
        }
        let count = float(latencies.len());
        let mut sample = sample(&mut latencies, elapsed, cpu);
        let memory = usage::memory(pid)?;
        sample.insert(RESIDENT.to_owned(), memory.resident);
        sample.insert(PEAK.to_owned(), memory.peak);
        sample.insert(LOAD_CPU.to_owned(), own.as_secs_f64() * 1e6 / count);
        if let Shape::Fresh(_) = shared.load.shape {
            let resumed = usize::try_from(shared.resumed.load(Ordering::Relaxed)).unwrap_or_default();
            sample.insert(RESUMED.to_owned(), float(resumed) * 100.0 / float(shared.sent().max(1)));
        }
        Ok(sample)
    }
}

impl Shape {
    /// The number of concurrent connections.
    pub(crate) fn connections(self) -> usize {
        match self {
            Self::Http1(connections) | Self::Http2(connections, _) | Self::Fresh(connections) => connections,
        }
    }

    /// The number of concurrent requests.
    fn concurrency(self) -> usize {
        match self {
            Self::Http2(connections, streams) => connections * streams,
            Self::Http1(connections) | Self::Fresh(connections) => connections,
        }
    }

    /// Whether the protocol is HTTP/2.
    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2(..))
    }

    /// The name of the protocol in tables.
    pub(crate) fn name(self) -> &'static str {
        if self.is_http2() { "HTTP/2" } else { "HTTP/1.1" }
    }
}

impl Shared {
    fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let is_new = *now < phase;
            *now = phase.max(*now);
            is_new
        });
    }

    /// Waits until all connections are open.
    async fn ready(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
        let _ = self.phase.subscribe().wait_for(|phase| *phase > Phase::Open).await; // the sender lives in `self`
    }

    /// The number of the next request; `None` at the end.
    fn next(&self) -> Option<u64> {
        if *self.phase.borrow() == Phase::Over {
            return None;
        }
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        match self.load.end {
            End::Count(count) if n >= count => None,
            _ => Some(n),
        }
    }

    /// Records the latency of a request that was sent at `start`, if the measurement is running.
    fn keep(&self, latencies: &mut Latencies, start: Instant) {
        if *self.phase.borrow() == Phase::Measured {
            self.answered.fetch_add(1, Ordering::Relaxed);
            latencies.push(start.elapsed());
        }
    }

    fn sent(&self) -> usize {
        usize::try_from(self.next.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        connect(self.load.address, self.load.tls.clone()).await
    }

    /// The TLS config of one client. Each client has its own session store: a shared one keeps too few tickets.
    fn own_tls(&self) -> Arc<ClientConfig> {
        let mut tls = ClientConfig::clone(&self.load.tls);
        if self.load.resume {
            tls.resumption = Resumption::in_memory_sessions(TICKETS);
        }
        Arc::new(tls)
    }
}

/// Opens a connection, including the TLS handshake.
pub(crate) async fn connect(address: SocketAddr, tls: Arc<ClientConfig>) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let name = ServerName::IpAddress(IpAddr::from(address.ip()));
    TlsConnector::from(tls).connect(name, stream).await.context("TLS handshake failed")
}

/// Runs `connections` clients on this thread.
fn clients(shared: &Arc<Shared>, connections: usize) -> anyhow::Result<Latencies> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            match shared.load.shape {
                Shape::Http1(_) => drop(clients.spawn(http1::client(shared.clone()))),
                Shape::Http2(_, streams) => drop(clients.spawn(http2::client(shared.clone(), streams))),
                Shape::Fresh(_) => drop(clients.spawn(fresh::client(shared.clone()))),
            }
        }
        let mut latencies = Latencies::new();
        while let Some(done) = clients.join_next().await {
            latencies.extend(done??);
        }
        Ok(latencies)
    })
}

/// Fails unless the status is 200.
fn check(status: u16, body: &[u8]) -> anyhow::Result<()> {
    if status == 200 {
        return Ok(());
    }
    bail!("status {status}: {}", String::from_utf8_lossy(body.get(..200).unwrap_or(body)))
}

#[cfg(test)]
mod tests;
