//! Notifies systemd of the server's state if it runs as a service of `Type=notify` or `Type=notify-reload`
//! (`sd_notify(3)`).

use sd_notify::NotifyState;
use tracing::warn;

/// The server is ready.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The server reloads its config, until [`ready`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "cannot read the monotonic clock for systemd"),
    }
}

/// The server drains.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Feeds the watchdog of the unit (`WatchdogSec=`) twice per interval, as long as tasks run.
pub async fn feed_watchdog() {
    let Some(time) = sd_notify::watchdog_enabled() else { return };
    loop {
        notify(&[NotifyState::Watchdog]);
        tokio::time::sleep(time / 2).await;
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify systemd of the server's state");
    }
}
