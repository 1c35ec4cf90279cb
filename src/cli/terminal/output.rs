//! The output of commands: a table on a terminal, plain lines in a pipe, JSON on request.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For a terminal.
    Table,
    /// For a pipe or a file.
    Plain,
    /// For programs, on request.
    Json,
}

/// Standard output. Colors are omitted if it is not a terminal, or if `NO_COLOR` is set.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) form: Form,
    stdout: anstream::Stdout,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let form = match json {
            true => Form::Json,
            false if io::stdout().is_terminal() => Form::Table,
            false => Form::Plain,
        };
        Self { form, stdout: anstream::stdout() }
    }

    /// Prints a line. Text from elsewhere must have passed [`printable`].
    pub(crate) fn line(&mut self, line: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.stdout, "{}", line.as_ref())
    }

    /// Prints a line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_string(value).map_err(io::Error::other)?;
        writeln!(self.stdout, "{line}")
    }

    /// Prints text unchanged, in one write.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.stdout.write_all(text.as_bytes())?;
        self.stdout.flush()
    }

    /// Prints raw bytes.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.flush()?;
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Prints rows under a header; in a pipe only the rows, with tabs between the columns.
    pub(crate) fn table<const N: usize>(&mut self, header: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
        if self.form == Form::Plain {
            for row in rows {
                self.line(row.each_ref().map(|cell| printable(cell)).join("\t"))?;
            }
            return Ok(());
        }
        let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell).into_owned())).collect();
        let mut widths = header.map(width);
        for row in &rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = width(cell).max(*widest);
            }
        }
        self.line(format!("{BOLD}{}{BOLD:#}", aligned(header.into_iter(), &widths)))?;
        rows.iter().try_for_each(|row| self.line(aligned(row.iter().map(String::as_str), &widths)))
    }

    /// Prints names and values, one pair per line.
    pub(crate) fn fields(&mut self, fields: &[(&str, String)]) -> io::Result<()> {
        let widest = fields.iter().map(|(name, _)| width(name)).max().unwrap_or_default();
        for (name, value) in fields {
            let value = printable(value);
            match self.form {
                Form::Table => {
                    let gap = " ".repeat(widest - width(name));
                    self.line(format!("{DIM}{name}:{DIM:#}{gap} {value}"))?;
                }
                Form::Plain | Form::Json => self.line(format!("{name}: {value}"))?,
            }
        }
        Ok(())
    }
}

/// Confirms on a terminal that a command without output has succeeded.
pub(crate) fn confirm_done(message: &str) -> io::Result<()> {
    let mut output = Output::new(false);
    match output.form {
        Form::Table => output.line(message),
        Form::Plain | Form::Json => Ok(()),
    }
}

/// Aligns cells in columns, two spaces apart.
fn aligned<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, widest) in cells.zip(widths) {
        let gap = " ".repeat((widest + 2).saturating_sub(width(cell)));
        let _ = write!(line, "{cell}{gap}"); // writing to a String cannot fail
    }
    line.trim_end().to_owned()
}

/// The columns that a text takes: names, dates and identities are ASCII.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// Escapes control characters and changes of the writing direction, so that text from elsewhere cannot control the
/// terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// The same, but keeps line breaks.
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |char| char == '\n')
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_unsafe = |char: char| {
        !keep(char) && (char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    };
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        if is_unsafe(char) { safe.extend(char.escape_default()) } else { safe.push(char) }
    }
    Cow::Owned(safe)
}

/// A time of the API for display: KES sends the year 1 for an unknown time.
pub(crate) fn time(text: &str) -> String {
    if text.is_empty() || text.starts_with("0001-") { "unknown".to_owned() } else { text.to_owned() }
}

/// A time without fractions of a second on a terminal.
pub(crate) fn second(time: &str, form: Form) -> String {
    match time.split_once('.') {
        Some((seconds, _)) if form == Form::Table => format!("{seconds}Z"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_control_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\r\nc\u{202e}d\u{9b}"), r"a\u{1b}[31mb\r\nc\u{202e}d\u{9b}");
        assert_eq!(printable_lines("a\nb\t"), "a\nb\\t");
        assert!(matches!(printable("Grüße, 世界"), Cow::Borrowed(_)));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        assert_eq!(aligned(["a", "bb", "c"].into_iter(), &[3, 2, 1]), "a    bb  c");
    }
}
