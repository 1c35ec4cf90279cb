//! The printed table: one line for each program and case, each figure as minimum/median/maximum over the rounds.

use std::fmt::Write as _;

use crate::program::Kind;
use crate::report::{Report, Row, Spread};
use crate::sample::{BUSY, CPU, LOAD_CPU, P50, P99, P999, PEAK, RATE, RESIDENT};

/// The figures of a line, with the headers of their columns.
const COLUMNS: [(&str, &str); 9] = [
    (CPU, "CPU us/request"),
    (RATE, "requests/s"),
    (P50, "p50 ms"),
    (P99, "p99 ms"),
    (P999, "p99.9 ms"),
    (RESIDENT, "RSS MiB"),
    (PEAK, "peak MiB"),
    (BUSY, "server busy %"),
    (LOAD_CPU, "load us/request"),
];

/// A figure that was not measured.
const NOTHING: &str = "-";

/// The programs that others are compared with, and the headers of these columns.
const COMPARED: [(Kind, &str); 3] = [(Kind::Before, "x before"), (Kind::Floor, "x floor"), (Kind::Kes, "x KES")];

/// The whole table, below a description of the machine.
pub(crate) fn table(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{}, {} cores ({}), {} MiB, {}, {}, load average {} at the start, commit {}\n{}\n{} rounds of {} s; \
         minimum/median/maximum over the rounds\n",
        machine.cpu,
        machine.cores,
        machine.placement,
        machine.memory_mib,
        machine.kernel,
        machine.rustc,
        machine.load_average,
        machine.commit,
        machine.programs.join(", "),
        report.rounds,
        report.seconds,
    );
    let mut sections: Vec<&str> = report.rows.iter().map(|row| row.section.as_str()).collect();
    sections.dedup();
    for section in sections {
        let rows = report.rows.iter().filter(|row| row.section == section);
        let header = ["case", "", "program"]
            .into_iter()
            .chain(COLUMNS.map(|(_, head)| head))
            .chain(COMPARED.map(|(_, head)| head));
        let mut lines = vec![header.map(str::to_owned).collect()];
        lines.extend(rows.map(|row| line(report, row)));
        drop_empty_columns(&mut lines);
        let _ = write!(text, "\n{section}\n{}", aligned(&lines)); // writing to a String cannot fail
    }
    text
}

fn line(report: &Report, row: &Row) -> Vec<String> {
    let mut cells = vec![row.case.clone(), row.protocol.clone(), row.program.clone()];
    cells.extend(COLUMNS.map(|(figure, _)| cell(row.spread(figure))));
    cells.extend(COMPARED.map(|(kind, _)| {
        let other = report.other(row, kind).filter(|_| row.program != kind.name());
        cell(other.and_then(|other| row.times(other)))
    }));
    cells
}

fn cell(spread: Option<Spread>) -> String {
    match spread {
        None => NOTHING.to_owned(),
        Some(Spread { min, median, max }) if (min - max).abs() < f64::EPSILON => short(median),
        Some(Spread { min, median, max }) => [min, median, max].map(short).join("/"),
    }
}

/// Three significant digits, or all digits before the decimal point.
pub(crate) fn short(figure: f64) -> String {
    let decimals = match figure.abs() {
        0.0..9.995 => 2,
        9.995..99.95 => 1,
        _ => 0,
    };
    format!("{figure:.decimals$}")
}

/// Removes the columns without any figures.
fn drop_empty_columns(lines: &mut [Vec<String>]) {
    let is_empty = |column: usize| lines.iter().skip(1).all(|line| line.get(column).is_none_or(|cell| cell == NOTHING));
    let columns = lines.first().map_or(0, Vec::len);
    let empty: Vec<_> = (0..columns).map(is_empty).collect();
    for line in lines {
        let mut empty = empty.iter();
        line.retain(|_| !empty.next().is_some_and(|is_empty| *is_empty));
    }
}

/// Pads all columns to their widest cell; figures are right-aligned.
fn aligned(lines: &[Vec<String>]) -> String {
    /// The number of text columns.
    const WORDS: usize = 3;
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        let mut padded = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            let _ = if column < WORDS { write!(padded, "{cell:width$}  ") } else { write!(padded, "{cell:>width$}  ") };
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_spread_and_ratio() {
        let text = table(&crate::report::tests::report());
        let line = text.lines().find(|line| line.contains("HTTP/1.1  keyway")).unwrap();
        assert!(line.contains("20.0/25.0/30.0"), "{line}");
        assert!(line.contains("2.00/2.50/3.00"), "{line}");
    }

    #[test]
    fn a_column_without_figures_is_left_out() {
        let text = table(&crate::report::tests::report());
        assert!(text.contains("x floor") && !text.contains("x KES") && !text.contains("p99"), "{text}");
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([0.123, 9.999, 12.34, 99.96, 1234.5].map(short), ["0.12", "10.0", "12.3", "100", "1234"]);
    }
}
