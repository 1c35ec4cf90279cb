//! Notifications of changes by other gateways: one separate connection with `LISTEN`, established again whenever it
//! fails.
//!
//! Every create and delete notifies the channel `keyway_SCHEMA` with the name, in its own transaction. A connection
//! without notifications for two seconds is tested. Before the store reports that it is subscribed, a test message is
//! sent to the channel through the *other* connections: a pooler in transaction mode accepts a `LISTEN` and then
//! delivers nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::failure::Failure;
use super::pool::Pool;
use crate::{Change, Name};

/// How many changes a receiver may lag behind before it misses some.
const CAPACITY: usize = 4096;

/// The time limit for each step of connecting, and the time without notifications after which a connection is tested.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// The time between two attempts to connect.
const RETRY: Duration = Duration::from_millis(500);

/// The same when the server accepts `LISTEN` and delivers nothing, which is a matter of its setup.
const RETRY_POOLER: Duration = Duration::from_secs(5);

/// How long the first attempt may delay the start.
const START_TIMEOUT: Duration = Duration::from_secs(3);

/// What a test message begins with, and a key name never does.
const TEST_PREFIX: char = '.';

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    changes: Arc<Changes>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Starts to listen, and waits until the first attempt has succeeded or failed.
    pub(super) async fn start(options: PgConnectOptions, channel: String, pool: Arc<Pool>) -> Self {
        let changes = Arc::new(Changes { sender: broadcast::channel(CAPACITY).0, is_subscribed: Mutex::new(false) });
        let (tried, first) = oneshot::channel();
        let subscription = Subscription { changes: Arc::clone(&changes), options, channel, pool };
        let task = tokio::spawn(subscription.maintain(tried));
        let _ = timeout(START_TIMEOUT, first).await;
        Self { changes, task }
    }

    /// A receiver of all changes from now on. It first gets the current state, [`Change::Subscribed`] or
    /// [`Change::Unsubscribed`], which the other receivers get again.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        let receiver = self.changes.sender.subscribe();
        self.changes.repeat();
        receiver
    }

    /// Stops listening.
    pub(super) fn close(&self) {
        self.task.abort();
        self.changes.set(false);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends changes to the receivers, and keeps the current state.
#[derive(Debug)]
struct Changes {
    sender: broadcast::Sender<Change>,
    /// Locked while a change of state is sent, so that no receiver misses one.
    is_subscribed: Mutex<bool>,
}

impl Changes {
    fn set(&self, subscribed: bool) {
        let mut is_subscribed = self.is_subscribed.lock();
        if *is_subscribed != subscribed {
            *is_subscribed = subscribed;
            self.send(if subscribed { Change::Subscribed } else { Change::Unsubscribed });
        }
    }

    fn repeat(&self) {
        let is_subscribed = self.is_subscribed.lock();
        self.send(if *is_subscribed { Change::Subscribed } else { Change::Unsubscribed });
    }

    fn send(&self, change: Change) {
        // It fails if there are no receivers.
        let _ = self.sender.send(change);
    }
}

/// Why there is no subscription.
#[derive(Debug, thiserror::Error)]
enum NotSubscribed {
    #[error("{0}")]
    Failed(Failure),
    #[error("the connection is lost")]
    Lost,
    #[error("no response within {STEP_TIMEOUT:?}")]
    Timeout,
    #[error(
        "the server accepts LISTEN but delivers no notifications, like PgBouncer in transaction mode; configure an \
         address to listen on that bypasses the pooler, or turn listening off"
    )]
    Pooler,
}

impl From<sqlx::Error> for NotSubscribed {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(Failure::Query(error))
    }
}

/// One connection that listens, and what is needed to establish it.
struct Subscription {
    changes: Arc<Changes>,
    options: PgConnectOptions,
    channel: String,
    pool: Arc<Pool>,
}

impl Subscription {
    /// Connects, forwards notifications, and starts again when that fails. `tried` ends with the first attempt.
    async fn maintain(self, tried: oneshot::Sender<()>) {
        let mut tried = Some(tried);
        // The warning is logged once, and again only after a success.
        let mut warned = false;
        loop {
            let reason = match self.connect().await {
                Ok(mut connection) => {
                    self.changes.set(true);
                    warned = false;
                    info!(channel = self.channel, "receiving change notifications from other gateways");
                    tried.take().map(|tried| tried.send(()));
                    let reason = self.forward(&mut connection).await;
                    self.changes.set(false);
                    reason
                }
                Err(reason) => reason,
            };
            if !warned {
                warn!(
                    channel = self.channel,
                    %reason,
                    "not receiving change notifications from other gateways; cached keys expire within 10 s"
                );
                warned = true;
            }
            tried.take().map(|tried| tried.send(()));
            sleep(if matches!(reason, NotSubscribed::Pooler) { RETRY_POOLER } else { RETRY }).await;
        }
    }

    /// A connection on which a test message has arrived.
    async fn connect(&self) -> Result<PgListener, NotSubscribed> {
        // The driver can only listen on a connection of one of its pools.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(STEP_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.options.clone());
        let mut connection = PgListener::connect_with(&pool).await?;
        connection.ignore_pool_close_event(true);
        connection.eager_reconnect(false);
        timeout(STEP_TIMEOUT, connection.listen(&self.channel)).await.map_err(|_| NotSubscribed::Timeout)??;
        let test = format!("{TEST_PREFIX}{}", std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos());
        self.notify(&test).await.map_err(NotSubscribed::Failed)?;
        let arrived = timeout(STEP_TIMEOUT, async {
            while let Some(notification) = connection.try_recv().await? {
                // Other notifications can be ignored: receivers of `Subscribed` discard everything that they know.
                if notification.payload() == test {
                    return Ok(());
                }
            }
            Err(NotSubscribed::Lost)
        });
        arrived.await.map_err(|_| NotSubscribed::Pooler)??;
        Ok(connection)
    }

    /// Sends a message to all gateways that listen, including this one.
    async fn notify(&self, payload: &str) -> Result<(), Failure> {
        // The message need not be durable, and a server that waits for its standby would delay every attempt.
        let notify = format!("SET LOCAL synchronous_commit = off; SELECT pg_notify('{}', '{payload}')", self.channel);
        let send = async |connection: &mut PgConnection| {
            connection.execute(AssertSqlSafe(notify)).await?;
            Ok(())
        };
        self.pool.with_lease(STEP_TIMEOUT * 2, send).await
    }

    /// Forwards notifications until the connection fails.
    async fn forward(&self, connection: &mut PgListener) -> NotSubscribed {
        loop {
            match timeout(STEP_TIMEOUT, connection.try_recv()).await {
                Ok(Ok(Some(notification))) => {
                    if let Ok(name) = Name::parse(notification.payload()) {
                        self.changes.send(Change::Key(name));
                    }
                }
                Ok(Ok(None)) => return NotSubscribed::Lost,
                Ok(Err(error)) => return error.into(),
                Err(_) => match timeout(STEP_TIMEOUT, connection.execute("SELECT 1")).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return error.into(),
                    Err(_) => return NotSubscribed::Timeout,
                },
            }
        }
    }
}
