//! What systemd is told, where it started the server as `Type=notify` or `Type=notify-reload` (`sd_notify(3)`). Elsewhere
//! nothing is said.

use sd_notify::NotifyState;
use tracing::warn;

/// The server serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The server reads its config again; [`ready`] ends that.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "cannot read the monotonic clock for systemd"),
    }
}

/// The server drains.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells the watchdog of the unit (`WatchdogSec=`) that the server lives, twice in its time, for as long as tasks run.
pub async fn feed_watchdog() {
    let Some(time) = sd_notify::watchdog_enabled() else { return };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(time / 2).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot tell systemd about the server's state");
    }
}
