//! What is worth one line in the log and not thousands.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time between two lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one line pass per 10 s, and counts the others. For rare events only: it has a lock.
#[derive(Debug)]
pub struct Rarely(Mutex<(Option<Instant>, u64)>);

impl Rarely {
    /// Lets the first line pass.
    #[expect(clippy::new_without_default, reason = "for statics")]
    pub const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// Whether to write a line now; then the number of lines since the last one that were not written.
    pub fn is_due(&self) -> Option<u64> {
        let mut state = self.0.lock();
        let (last, unsaid) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < INTERVAL) {
            *unsaid += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_line_within_the_interval_is_not_due() {
        let rarely = Rarely::new();
        assert_eq!([rarely.is_due(), rarely.is_due(), rarely.is_due()], [Some(0), None, None]);
        rarely.0.lock().0 = Instant::now().checked_sub(INTERVAL);
        assert_eq!(rarely.is_due(), Some(2));
    }
}
