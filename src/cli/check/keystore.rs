//! `keyway check --connect`: opens the keystore as it is, and reads from it once.

use std::time::{Duration, Instant};

use backends::{BackendConfig, StoreError, chain};

/// The maximum duration: longer than the time limits of all backends, and an end for a file system that hangs.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the keystore answered.
pub(super) enum Outcome {
    /// It can be read; with the time that one read took.
    Answered(Duration),
    /// There is no keystore yet.
    Absent,
    /// Why it cannot be used, and what to do.
    Failed(String),
}

/// Opens the keystore without creating anything, logs in if necessary, and reads once.
///
/// # Errors
/// The system does not have the resources for it.
pub(super) fn connect(config: &BackendConfig) -> std::io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async { tokio::time::timeout(TIMEOUT, ask(config.clone())).await });
    runtime.shutdown_background(); // does not wait for a file system that hangs
    Ok(match outcome {
        Ok(Ok(Some(time))) => Outcome::Answered(time),
        Ok(Ok(None)) => Outcome::Absent,
        Ok(Err(error)) => Outcome::Failed(chain(&error)),
        Err(_) => {
            let seconds = TIMEOUT.as_secs();
            Outcome::Failed(format!("no answer within {seconds} s; check the keystore and the network"))
        }
    })
}

async fn ask(config: BackendConfig) -> Result<Option<Duration>, StoreError> {
    let Some(store) = config.open_existing().await? else { return Ok(None) };
    let start = Instant::now();
    let answer = store.ping().await.map(|()| start.elapsed());
    store.close().await; // revokes the token of a login
    answer.map(Some)
}
