//! A console: standard output or standard error behind a queue and a thread, so that a terminal or a pipe that blocks
//! delays neither a request nor the end of the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

use super::rarely::Rarely;

/// Lines in the queue before further ones are lost; room for them is allocated at start.
const MAX_LINES: usize = 8192;

/// Bytes in the queue before further lines are lost.
const MAX_BYTES: usize = 4 << 20;

/// How long the queue is written on when the process ends.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// The pause between two attempts to put the last message into a full queue.
const FLUSH_PAUSE: Duration = Duration::from_millis(10);

/// A writer that never blocks. Each write is a whole line.
#[derive(Clone, Debug)]
pub struct Console(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sender: SyncSender<Message>,
    state: Arc<State>,
}

/// Shared with the thread that writes.
#[derive(Debug)]
struct State {
    /// Lines in the queue.
    lines: AtomicUsize,
    /// Their size.
    bytes: AtomicUsize,
    /// Lines that were not written.
    lost: IntCounter,
    /// What is lost, for the line in the log that says so. None for the console of the log itself.
    what: Option<&'static str>,
    told: Rarely,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// Writes the queued lines when it is dropped, for at most 1 s.
#[derive(Debug)]
pub struct Flush(Console);

impl Console {
    /// A console that counts in `lost` the lines that it could not write. If `what` says what they are, the log says that
    /// they are lost, once per 10 s at most. Lines after the drop of the returned [`Flush`] may not be written.
    ///
    /// # Errors
    /// The system's, when it refuses a thread.
    pub fn new<W: io::Write + Send + 'static>(
        writer: W,
        what: Option<&'static str>,
        lost: IntCounter,
    ) -> io::Result<(Self, Flush)> {
        let (sender, receiver) = sync_channel(MAX_LINES);
        let (lines, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let state = Arc::new(State { lines, bytes, lost, what, told: Rarely::new() });
        let shared = state.clone();
        std::thread::Builder::new().name("console".to_owned()).spawn(move || write(writer, &receiver, &shared))?;
        let console = Self(Arc::new(Inner { sender, state }));
        Ok((console.clone(), Flush(console)))
    }

    /// Queues a line. If there is no room for it, it is lost.
    pub fn put(&self, line: Vec<u8>) {
        let (state, size) = (&self.0.state, line.len());
        let bytes = state.bytes.fetch_add(size, Ordering::AcqRel);
        state.lines.fetch_add(1, Ordering::AcqRel);
        if bytes + size > MAX_BYTES || self.0.sender.try_send(Message::Line(line)).is_err() {
            state.leave(size);
            state.lose("it is not read, or not fast enough");
        }
    }
}

impl State {
    /// A line of this size is no longer in the queue.
    fn leave(&self, size: usize) {
        self.bytes.fetch_sub(size, Ordering::AcqRel);
        self.lines.fetch_sub(1, Ordering::AcqRel);
    }

    /// Counts a lost line, and says so now and then.
    fn lose(&self, reason: &str) {
        self.lost.inc();
        if let Some(what) = self.what
            && self.told.is_due().is_some()
        {
            warn!(lost = self.lost.get(), reason, "standard output takes no {what}; they are lost");
        }
    }
}

/// Writes what arrives until there are no senders.
fn write(mut writer: impl io::Write, receiver: &Receiver<Message>, state: &State) {
    for message in receiver {
        match message {
            Message::Line(line) => {
                let written = writer.write_all(&line).and_then(|()| writer.flush());
                state.leave(line.len());
                if let Err(error) = written {
                    state.lose(&error.to_string());
                }
            }
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

impl io::Write for Console {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Console {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let Inner { sender, state } = &*self.0.0;
        let (end, (done, is_done)) = (Instant::now() + FLUSH_TIME, sync_channel(1));
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(again)) = sender.try_send(message) {
            if Instant::now() >= end {
                break;
            }
            message = again;
            std::thread::sleep(FLUSH_PAUSE);
        }
        if is_done.recv_timeout(end.saturating_duration_since(Instant::now())).is_err()
            && let Some(what) = state.what
        {
            let lost = state.lines.load(Ordering::Acquire);
            warn!(lost, "standard output takes no {what}; the last ones are lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A writer that waits for a permission per write.
    struct Blocked(Receiver<()>, Sender<Vec<u8>>);

    impl io::Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_console_keeps_4_mib_and_counts_the_rest() {
        let ((permit, permits), (written, output)) = (channel(), channel());
        let lost = IntCounter::new("lost", "lost").unwrap();
        let (console, flush) = Console::new(Blocked(permits, written), None, lost.clone()).unwrap();
        for _ in 0..100 {
            console.put(vec![b'x'; 64 << 10]);
        }
        assert!((34..=36).contains(&lost.get()), "{} lines are lost", lost.get());
        drop(permit); // everything is written now
        drop(flush);
        assert_eq!(output.try_iter().count() as u64, 100 - lost.get());
        console.put(b"more".to_vec());
        assert_eq!(output.recv().unwrap(), b"more");
    }

    #[test]
    fn the_end_waits_for_a_blocked_console_for_1_s_at_most() {
        let ((_permit, permits), (written, _output)) = (channel(), channel());
        let (console, flush) =
            Console::new(Blocked(permits, written), None, IntCounter::new("a", "a").unwrap()).unwrap();
        for _ in 0..2 * MAX_LINES {
            console.put(b"x".to_vec());
        }
        let start = Instant::now();
        drop(flush);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
}
