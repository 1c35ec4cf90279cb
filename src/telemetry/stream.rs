//! One sender, some subscribers, nobody waits: what audit and error streams are made of.

use std::sync::Arc;

use bytes::Bytes;
use prometheus::IntCounter;
use tokio::sync::broadcast;

/// Lines that a subscriber may be behind before it misses some.
const BACKLOG: usize = 1024;

/// A stream of lines, each ending in a newline.
#[derive(Clone, Debug)]
pub struct Broadcast(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sender: broadcast::Sender<Bytes>,
    /// Lines sent, subscribers or not.
    sent: IntCounter,
    /// Lines that subscribers missed.
    missed: IntCounter,
}

impl Broadcast {
    /// A stream without subscribers, which counts the lines it carries in `sent` and those that a slow subscriber
    /// did not get in `missed`.
    pub fn new(sent: IntCounter, missed: IntCounter) -> Self {
        Self(Arc::new(Inner { sender: broadcast::Sender::new(BACKLOG), sent, missed }))
    }

    /// Counts a line and, when somebody listens, makes and sends it.
    pub fn send(&self, line: impl FnOnce() -> Bytes) {
        self.0.sent.inc();
        if self.0.sender.receiver_count() > 0 {
            let _ = self.0.sender.send(line()); // the last subscriber may have left just now
        }
    }

    /// A new subscription, or none when there are `limit`. All together hold the last 1,024 lines.
    pub fn subscribe(&self, limit: usize) -> Option<broadcast::Receiver<Bytes>> {
        (self.0.sender.receiver_count() < limit).then(|| self.0.sender.subscribe())
    }

    /// How many lines were sent.
    pub fn sent(&self) -> u64 {
        self.0.sent.get()
    }

    /// Where missed lines are counted.
    pub fn missed_counter(&self) -> IntCounter {
        self.0.missed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broadcast() -> Broadcast {
        Broadcast::new(IntCounter::new("sent", "sent").unwrap(), IntCounter::new("missed", "missed").unwrap())
    }

    #[tokio::test]
    async fn a_subscriber_that_falls_behind_misses_lines_and_blocks_nobody() {
        let broadcast = broadcast();
        let mut slow = broadcast.subscribe(1).unwrap();
        for line in 0..2 * BACKLOG {
            broadcast.send(|| line.to_string().into());
        }
        assert!(matches!(slow.recv().await, Err(broadcast::error::RecvError::Lagged(_))));
        assert_eq!(broadcast.sent(), 2 * BACKLOG as u64);
    }

    #[test]
    fn without_a_subscriber_no_line_is_made() {
        let broadcast = broadcast();
        broadcast.send(|| unreachable!("nobody listens"));
        assert_eq!(broadcast.sent(), 1);
    }

    #[test]
    fn subscribers_are_bounded() {
        let broadcast = broadcast();
        let mut all: Vec<_> = (0..64).map(|_| broadcast.subscribe(64).unwrap()).collect();
        assert!(broadcast.subscribe(64).is_none());
        all.pop();
        assert!(broadcast.subscribe(64).is_some());
    }
}
