//! The one way in which work that takes too long ends.

use std::time::Duration;

use tokio::time::timeout;

/// Ends `work` that takes longer than `deadline`, with the error that `expired` returns: for an operation of a store,
/// [`StoreError::Unreachable`](crate::StoreError::Unreachable). What a service was asked to do may still happen there.
pub(crate) async fn within<T, E>(
    deadline: Duration,
    expired: impl FnOnce() -> E,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(deadline, work).await.unwrap_or_else(|_| Err(expired()))
}
