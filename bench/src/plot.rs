//! The plot for the README: CPU time per request, one row for each operation, as marks on a logarithmic axis. Its
//! colours are legible on light and dark backgrounds.

use std::fmt::Write as _;

use crate::program::Kind;
use crate::report::{Report, Row};
use crate::sample::CPU;
use crate::sections::SIDE_BY_SIDE;
use crate::table::short;

const WIDTH: f64 = 900.0;
const ROW: f64 = 22.0;
const TOP: f64 = 90.0;
const BOTTOM: f64 = 34.0;
/// The ends of the axis.
const LEFT: f64 = 285.0;
const RIGHT: f64 = 690.0;
/// The right edges of the columns of figures.
const FIGURES: [(Kind, f64); 3] = [(Kind::Keyway, 765.0), (Kind::Floor, 825.0), (Kind::Kes, 888.0)];

const TEXT: &str = "#818b98";
const GRID: &str = "#818b9840";

/// The plot as SVG.
pub(crate) fn svg(report: &Report) -> String {
    let rows: Vec<_> =
        report.rows.iter().filter(|row| row.section == SIDE_BY_SIDE && row.program == Kind::Keyway.name()).collect();
    let kinds: Vec<_> =
        FIGURES.into_iter().filter(|(kind, _)| report.rows.iter().any(|row| row.program == kind.name())).collect();
    let all = report.rows.iter().filter(|row| row.section == SIDE_BY_SIDE).filter_map(|row| row.spread(CPU));
    let axis = Axis::around(all.flat_map(|spread| [spread.min, spread.max]));
    let height = TOP + ROW * crate::sample::float(rows.len()) + BOTTOM;
    let mut svg = Svg(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"{TEXT}\">\n"
    ));
    svg.text(12.0, 20.0, "start", "15", "CPU time of the server per request, in microseconds");
    let machine = format!(
        "{}, {}; one core for the server, median of {} rounds, lines from minimum to maximum; logarithmic axis",
        report.machine.cpu, report.machine.kernel, report.rounds
    );
    svg.text(12.0, 38.0, "start", "11", &machine);
    svg.text(12.0, 54.0, "start", "11", "floor: only TLS and HTTP, every response has 181 bytes");
    for (kind, x) in &kinds {
        svg.text(*x, TOP - 10.0, "end", "12", kind.name());
        svg.mark(*kind, x - 7.0 * crate::sample::float(kind.name().len()) - 10.0, TOP - 14.0);
    }
    for (tick, label) in axis.ticks() {
        let (x, end) = (axis.x(tick), height - BOTTOM);
        svg.line(x, TOP - 4.0, x, end, GRID, 1.0);
        svg.text(x, end + 16.0, "middle", "11", &label);
    }
    let mut y = TOP + ROW / 2.0;
    for row in rows {
        svg.text(12.0, y + 4.0, "start", "12", &format!("{}  ({})", row.case, row.protocol));
        // Keyway is drawn last, on top.
        for (kind, x) in kinds.iter().rev() {
            let own = (*kind == Kind::Keyway).then_some(row);
            if let Some(row) = own.or_else(|| report.other(row, *kind)) {
                svg.figure(row, *kind, &axis, *x, y);
            }
        }
        y += ROW;
    }
    svg.0.push_str("</svg>\n");
    svg.0
}

/// The ticks of the logarithmic axis within each power of ten.
const FACTORS: [f64; 3] = [1.0, 2.0, 5.0];

/// A logarithmic axis.
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    /// From 1, 2 or 5 times a power of ten, below all figures, to a little above the largest.
    fn around(figures: impl Iterator<Item = f64>) -> Self {
        let (min, max) = figures.fold((f64::MAX, 1.0_f64), |(min, max), figure| (min.min(figure), max.max(figure)));
        let min = min.min(max).max(1.0);
        let power = 10_f64.powf(min.log10().floor());
        let from = FACTORS.into_iter().rev().map(|factor| factor * power).find(|from| *from <= min);
        Self { from: from.unwrap_or(power), to: max * 1.2 }
    }

    fn x(&self, figure: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (figure / self.from).ln() / (self.to / self.from).ln()
    }

    /// 1, 2 and 5 times each power of ten.
    fn ticks(&self) -> Vec<(f64, String)> {
        let mut ticks = Vec::new();
        let mut power = 1.0;
        while power <= self.to {
            let of_power = FACTORS.map(|factor| factor * power).into_iter();
            let shown = of_power.filter(|tick| (self.from * 0.99..=self.to).contains(tick));
            ticks.extend(shown.map(|tick| (tick, format!("{tick:.0}"))));
            power *= 10.0;
        }
        ticks
    }
}

/// An SVG under construction. Writing to its String cannot fail.
struct Svg(String);

impl Svg {
    fn text(&mut self, x: f64, y: f64, anchor: &str, size: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{text}</text>"
        );
    }

    fn line(&mut self, x1: f64, y1: f64, x2: f64, y2: f64, colour: &str, width: f64) {
        let _ = writeln!(
            self.0,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" \
             stroke-width=\"{width}\"/>"
        );
    }

    fn mark(&mut self, kind: Kind, x: f64, y: f64) {
        let colour = colour(kind);
        let _ = match kind {
            Kind::Keyway | Kind::Before => {
                writeln!(self.0, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\"/>")
            }
            Kind::Floor => writeln!(
                self.0,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            ),
            Kind::Kes => writeln!(
                self.0,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\" fill=\"{colour}\"/>",
                x - 4.5,
                y - 4.5
            ),
        };
    }

    /// The spread and the median of one program, as a line with a mark and as a number.
    fn figure(&mut self, row: &Row, kind: Kind, axis: &Axis, x: f64, y: f64) {
        let Some(spread) = row.spread(CPU) else { return };
        self.line(axis.x(spread.min), y, axis.x(spread.max), y, colour(kind), 2.0);
        self.mark(kind, axis.x(spread.median), y);
        self.text(x, y + 4.0, "end", "12", &short(spread.median));
    }
}

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Keyway | Kind::Before => "#2f81f7",
        Kind::Floor => "#818b98",
        Kind::Kes => "#c9822b",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plot_has_a_row_for_each_operation_with_the_medians() {
        let svg = svg(&crate::report::tests::report());
        assert_eq!(svg.matches("generate  (HTTP").count(), 2);
        assert_eq!(svg.matches(">25.0</text>").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn the_axis_covers_all_figures() {
        let axis = Axis::around([12.0, 9_000.0].into_iter());
        assert!((axis.from - 10.0).abs() < 1e-6, "{}", axis.from);
        assert!(axis.x(12.0) > LEFT && axis.x(9_000.0) < RIGHT);
        let labels: Vec<_> = axis.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["10", "20", "50", "100", "200", "500", "1000", "2000", "5000", "10000"]);
    }
}
