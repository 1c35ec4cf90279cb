//! Ends the wait for clients that do not take their answers. HTTP/1.1 would wait for them without end, and so does HTTP/2
//! for a client with a window of 0.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::activity::Activity;
use crate::config::Limits;

/// Watches the answers of a connection. Poll it after the connection, which creates them.
#[derive(Debug)]
pub(super) struct Stalls {
    activity: Activity,
    /// Of the current second, while answers wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stalls {
    pub(super) fn new(activity: Activity) -> Self {
        Self { activity, timer: None }
    }

    /// Ready when the client has not taken an answer for too long.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, limits: impl Fn() -> Limits) -> Poll<()> {
        loop {
            if self.timer.is_none() && self.activity.waiting() == 0 {
                return Poll::Pending;
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(Duration::from_secs(1))));
            ready!(timer.as_mut().poll(context));
            self.timer = None;
            if self.activity.waiting() > 0 && self.activity.second_passed(&limits()) {
                return Poll::Ready(());
            }
        }
    }
}
