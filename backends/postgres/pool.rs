//! Connections: few, reused, and closed at the first doubt.
//!
//! The driver's own pool retries a refused connection until its time-out and then loses the reason, and tests its idle
//! connections one time-out after the other when a network drops all packets. Here a connection that fails, or whose
//! user stops waiting, closes all idle ones as well, and the reason is reported.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::failure::Failure;
use crate::deadline::within;

/// A connection that has been idle for longer is tested before it is used.
const TEST_AFTER: Duration = Duration::from_secs(1);

/// How long that test may take. A new connection costs less than waiting longer.
const TEST_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection that is older is replaced, so that connections follow a server that has moved or a proxy that
/// rebalances.
const MAX_AGE: Duration = Duration::from_mins(30);

/// Connections to one database.
pub(super) struct Pool {
    options: PgConnectOptions,
    connect_timeout: Duration,
    permits: Semaphore,
    /// A stack: the last one in is the first one out.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: PgConnection,
    /// When it was established.
    born: Instant,
    /// When it became idle.
    since: Instant,
}

impl Pool {
    /// A pool without connections yet.
    pub(super) fn new(options: PgConnectOptions, connections: u32, connect_timeout: Duration) -> Self {
        let permits = Semaphore::new(usize::try_from(connections).unwrap_or(Semaphore::MAX_PERMITS));
        Self { options, connect_timeout, permits, idle: Mutex::default() }
    }

    /// Runs `work` with a connection, for at most `deadline` including the wait for one. Afterwards the connection is
    /// free for others, unless the work failed.
    pub(super) async fn with_lease<T>(
        &self,
        deadline: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let leased = async {
            let mut lease = self.lease().await?;
            let done = work(&mut lease.connection).await;
            match &done {
                Ok(_) => lease.give_back(),
                Err(failure @ Failure::Query(_)) if !failure.is_lost_connection() => lease.discard(),
                Err(_) => {}
            }
            done
        };
        within(deadline, || Failure::Timeout(deadline), leased).await
    }

    /// A connection for one use.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, Failure> {
        let acquire = async { self.permits.acquire().await.map_err(|_| Failure::Closed) };
        let permit = within(self.connect_timeout, || Failure::Busy(self.connect_timeout), acquire).await?;
        let (connection, born) = match self.reuse().await {
            Some(connection) => connection,
            None => (self.connect().await?, Instant::now()),
        };
        Ok(Lease { connection, born, doubt: Doubt { pool: self, is_resolved: false }, _permit: permit })
    }

    async fn connect(&self) -> Result<PgConnection, Failure> {
        let connect = async { self.options.connect().await.map_err(Failure::Connect) };
        within(self.connect_timeout, || Failure::ConnectTimeout(self.connect_timeout), connect).await
    }

    /// Closes all idle connections properly and hands out no more connections.
    pub(super) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock());
        for idle in idle {
            let _ = timeout(TEST_TIMEOUT, idle.connection.close()).await;
        }
    }

    async fn reuse(&self) -> Option<(PgConnection, Instant)> {
        loop {
            let Idle { mut connection, born, since } = self.idle.lock().pop()?;
            if born.elapsed() > MAX_AGE {
                continue;
            }
            if since.elapsed() < TEST_AFTER || matches!(timeout(TEST_TIMEOUT, connection.ping()).await, Ok(Ok(()))) {
                return Some((connection, born));
            }
            self.idle.lock().clear();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} idle)", self.idle.lock().len())
    }
}

/// A connection in use. If it is just dropped, for example at a deadline, it is closed together with all idle ones.
pub(super) struct Lease<'a> {
    /// The connection.
    pub(super) connection: PgConnection,
    born: Instant,
    doubt: Doubt<'a>,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    /// Returns a connection that works and has no open transaction.
    pub(super) fn give_back(mut self) {
        self.doubt.is_resolved = true;
        let pool = self.doubt.pool;
        if !pool.permits.is_closed() {
            pool.idle.lock().push(Idle { connection: self.connection, born: self.born, since: Instant::now() });
        }
    }

    /// Closes only this connection: the server responded, with an error.
    fn discard(mut self) {
        self.doubt.is_resolved = true;
    }
}

/// Closes all idle connections on drop, unless the connection in use is known to work.
struct Doubt<'a> {
    pool: &'a Pool,
    is_resolved: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.is_resolved {
            self.pool.idle.lock().clear();
        }
    }
}
