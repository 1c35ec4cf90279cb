//! The audit and error streams: one sender and several subscribers, none of which blocks another.

use std::sync::Arc;

use bytes::Bytes;
use prometheus::IntCounter;
use tokio::sync::broadcast;

/// Lines that are buffered for slow subscribers, which miss older ones: 4 MiB, because each has at most [`MAX_LINE`].
const BACKLOG: usize = 1024;

/// The maximum size of the text in a line, in bytes as escaped by JSON.
pub const MAX_LINE: usize = 4 << 10;

/// A stream of lines, each ending in a newline.
#[derive(Clone, Debug)]
pub struct Broadcast(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sender: broadcast::Sender<Bytes>,
    /// Lines sent, with or without subscribers.
    sent: IntCounter,
    /// Lines that subscribers missed.
    missed: IntCounter,
}

impl Broadcast {
    /// A stream without subscribers. Counts its lines in `sent`, and those that slow subscribers missed in `missed`.
    pub fn new(sent: IntCounter, missed: IntCounter) -> Self {
        Self(Arc::new(Inner { sender: broadcast::Sender::new(BACKLOG), sent, missed }))
    }

    /// Counts a line; creates and sends it only if there are subscribers.
    pub fn send(&self, line: impl FnOnce() -> Bytes) {
        self.0.sent.inc();
        if self.0.sender.receiver_count() > 0 {
            let _ = self.0.sender.send(line()); // the last subscriber may have disconnected just now
        }
    }

    /// A new subscription, or `None` if there are `limit` already. They share a buffer of 1,024 lines.
    pub fn subscribe(&self, limit: usize) -> Option<broadcast::Receiver<Bytes>> {
        (self.0.sender.receiver_count() < limit).then(|| self.0.sender.subscribe())
    }

    /// The number of lines sent.
    pub fn sent(&self) -> u64 {
        self.0.sent.get()
    }

    /// The counter of missed lines.
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
    async fn a_slow_subscriber_misses_lines_and_does_not_block_the_sender() {
        let broadcast = broadcast();
        let mut slow = broadcast.subscribe(1).unwrap();
        for line in 0..2 * BACKLOG {
            broadcast.send(|| line.to_string().into());
        }
        assert!(matches!(slow.recv().await, Err(broadcast::error::RecvError::Lagged(_))));
        assert_eq!(broadcast.sent(), 2 * BACKLOG as u64);
    }

    #[test]
    fn without_subscribers_no_line_is_created() {
        let broadcast = broadcast();
        broadcast.send(|| unreachable!("there are no subscribers"));
        assert_eq!(broadcast.sent(), 1);
    }

    #[test]
    fn the_number_of_subscribers_is_limited() {
        let broadcast = broadcast();
        let mut all: Vec<_> = (0..64).map(|_| broadcast.subscribe(64).unwrap()).collect();
        assert!(broadcast.subscribe(64).is_none());
        all.pop();
        assert!(broadcast.subscribe(64).is_some());
    }
}
