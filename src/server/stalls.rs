//! Ends the wait for clients that do not take their answers. HTTP/1.1 would wait for them without end, and so does HTTP/2
//! for a client with a window of 0.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::activity::{Activity, PATIENCE};
use super::writes::Writes;
use crate::config::Limits;

/// Watches the answers of a connection, and its writes. Poll it after the connection, which creates them.
#[derive(Debug)]
pub(super) struct Stalls {
    activity: Activity,
    writes: Writes,
    /// The count of writes at the last tick.
    count: u32,
    /// Seconds in which no byte was taken.
    blocked: u32,
    /// Of the current second, while something waits for the client.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stalls {
    pub(super) fn new(activity: Activity, writes: Writes) -> Self {
        Self { activity, writes, count: 0, blocked: 0, timer: None }
    }

    /// Ready when the client has not taken bytes for too long.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, limits: impl Fn() -> Limits) -> Poll<()> {
        loop {
            if self.timer.is_none() && self.activity.waiting() == 0 && !self.writes.is_blocked() {
                return Poll::Pending;
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(Duration::from_secs(1))));
            ready!(timer.as_mut().poll(context));
            self.timer = None;
            let count = self.writes.count();
            self.blocked = if self.writes.is_blocked() && count == self.count { self.blocked + 1 } else { 0 };
            self.count = count;
            let is_late = self.activity.waiting() > 0 && self.activity.second_passed(&limits());
            if is_late || self.blocked >= PATIENCE {
                return Poll::Ready(());
            }
        }
    }
}
