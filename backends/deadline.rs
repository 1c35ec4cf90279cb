//! How work that takes too long ends, in all backends that use a network.

use std::time::Duration;

use tokio::time::timeout;

/// Ends `work` that takes longer than `deadline`, with the error that `expired` returns: for an operation of a store,
/// [`StoreError::Unreachable`](crate::StoreError::Unreachable). What a service was asked to do may still happen there.
pub(crate) fn within<T, E>(
    deadline: Duration,
    expired: impl FnOnce() -> E,
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    // On the heap: otherwise each function that passes a future on would double its size.
    let work = Box::pin(timeout(deadline, work));
    async { work.await.unwrap_or_else(|_| Err(expired())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_ends_at_the_deadline_with_the_given_error() {
        let never = std::future::pending::<Result<(), &str>>();
        assert_eq!(within(Duration::from_millis(1), || "too late", never).await, Err("too late"));
        assert_eq!(within(Duration::from_mins(1), || "too late", async { Ok(7) }).await, Ok(7));
        assert_eq!(
            within(Duration::from_mins(1), || "too late", async { Err::<(), _>("failed") }).await,
            Err("failed")
        );
    }
}
