//! The text output of `keyway status`: one block per server, redrawn in place with `--watch`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd as _;

use time::OffsetDateTime;

use super::{Reply, milliseconds};
use crate::cli::terminal::output::{BAD, BOLD, DIM, DOUBTFUL, GOOD, printable};
use crate::client::responses::{Cache, Status};
use crate::config::duration::GoDuration;

/// The number of latencies in the graph, one per second.
const HISTORY: usize = 60;

/// The heights of a bar.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Columns and rows of a terminal that does not report its size: those of the VT100.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// The screen of `--watch`.
pub(super) struct View {
    /// Latencies of each server in milliseconds; `None` for a failed request.
    histories: Vec<VecDeque<Option<f64>>>,
    /// Lines of the previous frame on the screen.
    lines: usize,
}

impl View {
    pub(super) fn new(servers: usize) -> Self {
        Self { histories: vec![VecDeque::with_capacity(HISTORY); servers], lines: 0 }
    }

    /// The next frame, which replaces the previous one; write it at once.
    pub(super) fn next(&mut self, replies: &[Reply]) -> String {
        for (history, reply) in self.histories.iter_mut().zip(replies) {
            if history.len() == HISTORY {
                history.pop_front();
            }
            history.push_back(reply.result.is_ok().then(|| milliseconds(reply.latency)));
        }
        let now = OffsetDateTime::now_utc();
        let clock = format!("{:02}:{:02}:{:02}", now.hour(), now.minute(), now.second());
        let text = format!(
            "{DIM}{clock} UTC, every second; Ctrl-C to stop{DIM:#}\n{}",
            blocks(replies, Some(&self.histories))
        );
        let (columns, rows) = size();
        let mut frame = String::new();
        if self.lines > 0 {
            let _ = write!(frame, "\u{1b}[{}A", self.lines); // writing to a String cannot fail
        }
        self.lines = 0;
        // Text that does not fit would wrap or scroll, and the next frame would be drawn too low.
        for line in text.lines().take(rows.saturating_sub(1)) {
            let _ = writeln!(frame, "{}\u{1b}[K", truncate(line, columns));
            self.lines += 1;
        }
        frame.push_str("\u{1b}[J");
        frame
    }
}

/// One block of lines per server.
pub(super) fn blocks(replies: &[Reply], histories: Option<&[VecDeque<Option<f64>>]>) -> String {
    let mut text = String::new();
    for (index, reply) in replies.iter().enumerate() {
        let (style, mark) = match &reply.result {
            Ok((status, _)) if status.keystore_is_healthy() => (GOOD, "●"),
            Ok(_) => (DOUBTFUL, "●"),
            Err(_) => (BAD, "●"),
        };
        let _ = writeln!(text, "{style}{mark}{style:#} {BOLD}{}{BOLD:#}", printable(&reply.endpoint));
        match &reply.result {
            Ok((status, _)) => lines(&mut text, reply, status),
            Err(error) => {
                for line in error.to_string().lines() {
                    let line = line.trim_start().trim_start_matches(reply.endpoint.as_str());
                    let _ = writeln!(text, "  {BAD}{}{BAD:#}", printable(line.trim_start()));
                }
            }
        }
        if let Some(history) = histories.and_then(|histories| histories.get(index)) {
            field(&mut text, "Last minute", &sparkline(history));
        }
    }
    text
}

fn lines(text: &mut String, reply: &Reply, status: &Status) {
    field(
        text,
        "Version",
        &format!("{} ({}/{})", printable(&status.version), printable(&status.os), printable(&status.arch)),
    );
    field(text, "Up for", &GoDuration(std::time::Duration::from_secs(status.uptime)).to_string());
    field(text, "Latency", &format!("{:.1} ms", milliseconds(reply.latency)));
    field(text, "Keystore", &keystore(status));
    if let Some(cache) = &status.cache {
        field(text, "Cache", &cache_line(cache));
    }
    let heap = mebibytes(status.mem_heap_used);
    field(text, "Uses", &format!("{} of {} CPUs, {heap} of heap", status.num_cpu_used, status.num_cpu));
}

fn field(text: &mut String, name: &str, value: &str) {
    let gap = " ".repeat(12_usize.saturating_sub(name.len()));
    let _ = writeln!(text, "  {DIM}{name}{DIM:#}{gap} {value}");
}

fn keystore(status: &Status) -> String {
    if status.keystore_is_healthy() {
        let latency = status.keystore_latency.map(|latency| format!(", {latency} ms")).unwrap_or_default();
        return format!("{GOOD}healthy{GOOD:#}{latency}");
    }
    let word = if status.keystore_unreachable { "not reachable" } else { "not available" };
    let since = status.keystore_down_seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    let since = since.map(|seconds| format!(" for {seconds:.0} s")).unwrap_or_default();
    let error = status.keystore_error.as_deref().map(|error| format!(": {}", printable(error))).unwrap_or_default();
    format!("{BAD}{word}{since}{BAD:#}{error}")
}

fn cache_line(cache: &Cache) -> String {
    let requests = cache.hits + cache.misses;
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let rate =
        if requests == 0 { String::new() } else { format!(" ({:.1} %)", 100.0 * cache.hits as f64 / requests as f64) };
    let stale = match cache.stale {
        0 => String::new(),
        stale => format!(", {DOUBTFUL}{stale} while the keystore was down{DOUBTFUL:#}"),
    };
    let Cache { entries, hits, misses, refreshes, .. } = cache;
    format!("{entries} keys, {hits} hits{rate}, {misses} misses, {refreshes} refreshes{stale}")
}

fn mebibytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "rounded to one decimal")]
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!("{mebibytes:.1} MiB")
}

/// Latencies as bars, scaled to the highest; failures as crosses.
fn sparkline(history: &VecDeque<Option<f64>>) -> String {
    let highest = history.iter().flatten().copied().fold(0.0, f64::max);
    let mut line: String = history
        .iter()
        .map(|latency| match latency {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
            Some(latency) => BARS.get((latency / highest * 7.0) as usize).copied().unwrap_or('▁'),
            None => '×',
        })
        .collect();
    if highest > 0.0 {
        let _ = write!(line, " up to {highest:.1} ms");
    }
    line
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stdout().as_fd()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or(DEFAULT_SIZE, |size| (size.ws_col.into(), size.ws_row.into()))
}

/// Truncates a line to a number of columns. Escape sequences take none and are all kept, so that the last color is
/// always reset.
fn truncate(line: &str, columns: usize) -> String {
    let (mut kept, mut used, mut in_escape) = (String::with_capacity(line.len()), 0, false);
    for char in line.chars() {
        match char {
            '\u{1b}' => in_escape = true,
            'm' if in_escape => {
                in_escape = false;
                kept.push(char);
                continue;
            }
            _ => {}
        }
        if in_escape {
            kept.push(char);
        } else if used < columns {
            kept.push(char);
            used += 1;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_line_keeps_its_color_sequences() {
        assert_eq!(truncate("\u{1b}[32mgreen\u{1b}[0m and more", 3), "\u{1b}[32mgre\u{1b}[0m");
        assert_eq!(truncate("abc", 80), "abc");
    }

    #[test]
    fn latencies_are_bars_and_failures_are_crosses() {
        let history = VecDeque::from([Some(0.0), Some(4.0), None, Some(8.0)]);
        assert_eq!(sparkline(&history), "▁▄×█ up to 8.0 ms");
    }

    #[test]
    fn the_state_of_keystore_and_cache_is_shown() {
        let status: Status = serde_json::from_str(
            r#"{"keystore_unreachable":true,"keystore_unavailable":true,"keystore_error":"vault:\u001b refused",
                "keystore_down_seconds":75,"cache":{"entries":2,"hits":3,"misses":1,"refreshes":4,"stale":5}}"#,
        )
        .unwrap();
        let line = anstream::adapter::strip_str(&keystore(&status)).to_string();
        assert_eq!(line, r"not reachable for 75 s: vault:\u{1b} refused");
        let line = anstream::adapter::strip_str(&cache_line(status.cache.as_ref().unwrap())).to_string();
        assert_eq!(line, "2 keys, 3 hits (75.0 %), 1 misses, 4 refreshes, 5 while the keystore was down");
    }
}
