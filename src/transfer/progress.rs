//! Progress of a run: a bar with rate and remaining time on a terminal, otherwise a line every 10 s. Both go to
//! standard error, so that standard output holds only the report.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use parking_lot::Mutex;

/// The time between two progress lines if standard error is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows the progress of the current phase. Clones share one display.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Mutex<Shown>>);

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines(Lines),
}

#[derive(Debug)]
struct Lines {
    phase: &'static str,
    done: u64,
    total: u64,
    started: Instant,
    printed: Instant,
}

impl Progress {
    /// A display that shows nothing yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Shown::Nothing)))
    }

    /// Starts a phase of `total` keys, such as `checking` or `copying`.
    pub fn begin(&self, phase: &'static str, total: usize) {
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        let now = Instant::now();
        let shown = if io::stderr().is_terminal() {
            Shown::Bar(bar(phase, total))
        } else {
            Shown::Lines(Lines { phase, done: 0, total, started: now, printed: now })
        };
        *self.0.lock() = shown;
    }

    /// Counts one more finished key.
    pub fn advance(&self) {
        match &mut *self.0.lock() {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.inc(1),
            Shown::Lines(lines) => {
                if let Some(line) = lines.advance(Instant::now()) {
                    let _ = writeln!(io::stderr(), "{line}");
                }
            }
        }
    }

    /// Ends the phase and removes the bar.
    pub fn end(&self) {
        if let Shown::Bar(bar) = std::mem::replace(&mut *self.0.lock(), Shown::Nothing) {
            bar.finish_and_clear();
        }
    }

    /// Writes to standard error without corrupting the bar.
    ///
    /// # Errors
    /// The operating system's.
    pub fn say(&self, bytes: &[u8]) -> io::Result<()> {
        match &*self.0.lock() {
            Shown::Bar(bar) => bar.suspend(|| io::stderr().write_all(bytes)),
            _ => io::stderr().write_all(bytes),
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// Log lines, such as warnings of a store, are printed above the bar.
impl Write for Progress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.say(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Counts one more finished key; a line if the last one was long enough ago.
    fn advance(&mut self, now: Instant) -> Option<String> {
        self.done += 1;
        if now.saturating_duration_since(self.printed) < LINE_INTERVAL {
            return None;
        }
        self.printed = now;
        Some(self.text(now.saturating_duration_since(self.started)))
    }

    /// `copying: 12000 of 50000 keys (24 %), 1200 keys/s, 32 s left`.
    fn text(&self, elapsed: Duration) -> String {
        let (percent, rate, left) = figures(self.done, self.total, elapsed);
        format!("{}: {} of {} keys ({percent} %), {rate} keys/s, {left} left", self.phase, self.done, self.total)
    }
}

/// Percentage, keys per second, and the remaining time at this rate.
fn figures(done: u64, total: u64, elapsed: Duration) -> (u64, u64, String) {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let left = match total.saturating_sub(done).saturating_mul(millis).checked_div(done) {
        Some(left) => Duration::from_millis(left),
        None => return (0, 0, "unknown time".to_owned()),
    };
    (done * 100 / total.max(1), done.saturating_mul(1000) / millis, readable(left))
}

/// `8 s`, `12 min 5 s`, `3 h 20 min`.
fn readable(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn bar(phase: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = "{msg:8} {bar:30} {pos}/{len} keys  {percent:>3} %  {rate} keys/s  {left} left";
    let figure = |pick: fn((u64, u64, String)) -> String| {
        move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let figures = figures(state.pos(), state.len().unwrap_or_default(), state.elapsed());
            let _ = out.write_str(&pick(figures));
        }
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        let style =
            style.with_key("rate", figure(|(_, rate, _)| rate.to_string())).with_key("left", figure(|(.., left)| left));
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(phase);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_there_is_a_line_at_most_every_ten_seconds() {
        let start = Instant::now();
        let mut lines = Lines { phase: "copying", done: 0, total: 500, started: start, printed: start };
        let printed: Vec<_> =
            (1..=500).filter_map(|key| lines.advance(start + Duration::from_millis(100) * key)).collect();
        let expected = [
            "copying: 100 of 500 keys (20 %), 10 keys/s, 40 s left",
            "copying: 200 of 500 keys (40 %), 10 keys/s, 30 s left",
            "copying: 300 of 500 keys (60 %), 10 keys/s, 20 s left",
            "copying: 400 of 500 keys (80 %), 10 keys/s, 10 s left",
            "copying: 500 of 500 keys (100 %), 10 keys/s, 0 s left",
        ];
        assert_eq!(printed, expected);
    }

    #[test]
    fn a_line_has_count_rate_and_remaining_time() {
        let now = Instant::now();
        let lines = |done| Lines { phase: "copying", done, total: 50_000, started: now, printed: now };
        let ten = Duration::from_secs(10);
        assert_eq!(lines(12_000).text(ten), "copying: 12000 of 50000 keys (24 %), 1200 keys/s, 31 s left");
        assert_eq!(lines(0).text(ten), "copying: 0 of 50000 keys (0 %), 0 keys/s, unknown time left");
        assert_eq!(lines(50_000).text(ten), "copying: 50000 of 50000 keys (100 %), 5000 keys/s, 0 s left");
        assert_eq!(lines(10).text(ten), "copying: 10 of 50000 keys (0 %), 1 keys/s, 13 h 53 min left");
    }
}
