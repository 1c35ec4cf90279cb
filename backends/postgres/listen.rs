//! Hearing what other gateways do: one connection of its own with `LISTEN`, made anew for as long as the store lives.
//!
//! Every create and delete notifies the channel `keyway_SCHEMA` with the name, in its own transaction. A connection
//! that is silent for two seconds is asked for a sign of life. Before we say that we hear, a word is sent to the
//! channel through the *other* connections: a pooler in transaction mode takes a `LISTEN` and then tells us nothing.

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

/// Changes that a receiver may lag behind before it is told that it missed some.
const CAPACITY: usize = 4096;

/// How long each step of connecting may take, and how long a silent connection is trusted.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(500);

/// Between two attempts when the server takes our `LISTEN` and tells us nothing: that is how it is set up.
const RETRY_POOLER: Duration = Duration::from_secs(5);

/// How long the first attempt may hold up the start.
const FIRST: Duration = Duration::from_secs(3);

/// What no key name begins with: a word of ours to ourselves.
const WORD: char = '.';

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    changes: Arc<Changes>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Starts to listen, and waits until that has worked or failed once.
    pub(super) async fn start(options: PgConnectOptions, channel: String, pool: Arc<Pool>) -> Self {
        let changes = Arc::new(Changes { sender: broadcast::channel(CAPACITY).0, is_hearing: Mutex::new(false) });
        let (tried, first) = oneshot::channel();
        let ear = Ear { changes: Arc::clone(&changes), options, channel, pool };
        let task = tokio::spawn(ear.listen(tried));
        let _ = timeout(FIRST, first).await;
        Self { changes, task }
    }

    /// A receiver of all changes from now on. The first thing that it gets is [`Change::Subscribed`] or [`Change::Unsubscribed`],
    /// as things are; other receivers get that, too.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        let receiver = self.changes.sender.subscribe();
        self.changes.repeat();
        receiver
    }

    /// Stops to listen.
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

/// Tells the receivers, and knows what it told last.
#[derive(Debug)]
struct Changes {
    sender: broadcast::Sender<Change>,
    /// Held while a change of state is sent, so that no receiver misses one.
    is_hearing: Mutex<bool>,
}

impl Changes {
    fn set(&self, hearing: bool) {
        let mut is_hearing = self.is_hearing.lock();
        if *is_hearing != hearing {
            *is_hearing = hearing;
            self.send(if hearing { Change::Subscribed } else { Change::Unsubscribed });
        }
    }

    fn repeat(&self) {
        let is_hearing = self.is_hearing.lock();
        self.send(if *is_hearing { Change::Subscribed } else { Change::Unsubscribed });
    }

    fn send(&self, change: Change) {
        // Nobody may be there to hear it.
        let _ = self.sender.send(change);
    }
}

/// Why we do not hear.
#[derive(Debug, thiserror::Error)]
enum Deafness {
    #[error("{0}")]
    Failed(Failure),
    #[error("the connection is lost")]
    Lost,
    #[error("no answer within {PATIENCE:?}")]
    Silent,
    #[error(
        "the server takes LISTEN but tells nothing; name a way past the pooler (PgBouncer in transaction mode) to listen \
         on, or turn listening off"
    )]
    Pooler,
}

impl From<sqlx::Error> for Deafness {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(Failure::Query(error))
    }
}

struct Ear {
    changes: Arc<Changes>,
    options: PgConnectOptions,
    channel: String,
    pool: Arc<Pool>,
}

impl Ear {
    async fn listen(self, tried: oneshot::Sender<()>) {
        let mut tried = Some(tried);
        // Said once, and again only after it was different.
        let mut told = false;
        loop {
            let reason = match self.connect().await {
                Ok(mut connection) => {
                    self.changes.set(true);
                    told = false;
                    info!(channel = self.channel, "listening for changes of other gateways");
                    tried.take().map(|tried| tried.send(()));
                    let reason = self.hear(&mut connection).await;
                    self.changes.set(false);
                    reason
                }
                Err(reason) => reason,
            };
            if !told {
                warn!(channel = self.channel, %reason, "cannot hear the changes of other gateways; cached keys live shorter");
                told = true;
            }
            tried.take().map(|tried| tried.send(()));
            sleep(if matches!(reason, Deafness::Pooler) { RETRY_POOLER } else { RETRY }).await;
        }
    }

    /// A connection that is known to hear.
    async fn connect(&self) -> Result<PgListener, Deafness> {
        // The driver listens on connections of a pool alone.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.options.clone());
        let mut connection = PgListener::connect_with(&pool).await?;
        connection.ignore_pool_close_event(true);
        connection.eager_reconnect(false);
        timeout(PATIENCE, connection.listen(&self.channel)).await.map_err(|_| Deafness::Silent)??;
        let word = format!("{WORD}{}", std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos());
        self.say(&word).await.map_err(Deafness::Failed)?;
        let heard = timeout(PATIENCE, async {
            while let Some(notification) = connection.try_recv().await? {
                // What else is heard is of no matter: whoever hears that we hear again forgets all that it knew.
                if notification.payload() == word {
                    return Ok(());
                }
            }
            Err(Deafness::Lost)
        });
        heard.await.map_err(|_| Deafness::Pooler)??;
        Ok(connection)
    }

    /// Sends a word to all who listen, us included.
    async fn say(&self, payload: &str) -> Result<(), Failure> {
        // Nothing is lost with it, and a server that waits for its standby would hold on to every attempt.
        let notify = format!("SET LOCAL synchronous_commit = off; SELECT pg_notify('{}', '{payload}')", self.channel);
        let send = async |connection: &mut PgConnection| {
            connection.execute(AssertSqlSafe(notify)).await?;
            Ok(())
        };
        self.pool.with_lease(PATIENCE * 2, send).await
    }

    /// Passes on what is heard, until the connection fails.
    async fn hear(&self, connection: &mut PgListener) -> Deafness {
        loop {
            match timeout(PATIENCE, connection.try_recv()).await {
                Ok(Ok(Some(notification))) => {
                    if let Ok(name) = Name::parse(notification.payload()) {
                        self.changes.send(Change::Key(name));
                    }
                }
                Ok(Ok(None)) => return Deafness::Lost,
                Ok(Err(error)) => return error.into(),
                Err(_) => match timeout(PATIENCE, connection.execute("SELECT 1")).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return error.into(),
                    Err(_) => return Deafness::Silent,
                },
            }
        }
    }
}
