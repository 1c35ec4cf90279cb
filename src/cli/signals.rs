//! The signals that stop a command: the first one lets it finish its work in progress, the second one ends it
//! immediately.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Calls `first` on the first of these signals, and `second` on the next one.
///
/// # Errors
/// The system's, when it refuses a handler.
pub(super) fn on_stop(
    kinds: &[SignalKind],
    first: impl FnOnce() + Send + 'static,
    second: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let mut signals = kinds.iter().map(|kind| signal(*kind)).collect::<io::Result<Vec<_>>>()?;
    tokio::spawn(async move {
        any(&mut signals).await;
        first();
        any(&mut signals).await;
        second();
    });
    Ok(())
}

/// Calls `act` on every signal: the process would end on one that it does not receive.
pub(super) async fn on_each(mut signal: Signal, act: impl Fn()) {
    while signal.recv().await.is_some() {
        act();
    }
}

/// Waits for any of these signals.
async fn any(signals: &mut [Signal]) {
    poll_fn(|context| {
        let is_received = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if is_received { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
