//! What is tried again, and how often. The backends repeat what a single lost connection costs; this is for a store that
//! is away for a moment: a failover, a restart, throttling.

use std::time::Duration;

use backends::StoreError;

/// The pauses between attempts. A store that is still away after them is not waited for: the migration ends, and is
/// resumed by the same command.
pub(super) const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

/// Asks a store, and asks again when it is away.
///
/// # Errors
/// The store's last one.
pub(crate) async fn retrying<T, F>(ask: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for pause in PAUSES {
        match ask().await {
            Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    ask().await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn asked(failures: usize, error: fn() -> StoreError) -> (usize, bool) {
        let asked = AtomicUsize::new(0);
        let attempt = || async { if asked.fetch_add(1, Ordering::Relaxed) < failures { Err(error()) } else { Ok(()) } };
        let is_ok = retrying(attempt).await.is_ok();
        (asked.load(Ordering::Relaxed), is_ok)
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_for_a_moment_is_asked_again() {
        let away = || StoreError::unreachable("");
        assert_eq!(asked(2, away).await, (3, true));
        assert_eq!(asked(3, away).await, (3, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_store_says_of_a_key_stands() {
        assert_eq!(asked(1, || StoreError::NotFound).await, (1, false));
        assert_eq!(asked(1, || StoreError::Damaged { reason: String::new() }).await, (1, false));
    }
}
