//! All figures of a run: the content of the JSON file, and the source of table and plot.

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::program::Kind;
use crate::sample::{CPU, Sample};

/// The figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The machine that it ran on.
    pub(crate) machine: Machine,
    /// The duration of each measurement in seconds.
    pub(crate) seconds: f64,
    /// The number of rounds.
    pub(crate) rounds: usize,
    /// The figures, in the order in which they were first measured.
    pub(crate) rows: Vec<Row>,
}

/// One case, for one program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The section of the benchmark.
    pub(crate) section: String,
    /// The case.
    pub(crate) case: String,
    /// The protocol: `HTTP/1.1` or `HTTP/2`.
    pub(crate) protocol: String,
    /// The program.
    pub(crate) program: String,
    /// The figures of each round.
    pub(crate) samples: Vec<Sample>,
}

/// Minimum, median and maximum of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The minimum.
    pub(crate) min: f64,
    /// The middle figure, or the mean of the middle two.
    pub(crate) median: f64,
    /// The maximum.
    pub(crate) max: f64,
}

/// Where a figure belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// See [`Row::section`].
    pub(crate) section: &'a str,
    /// See [`Row::case`].
    pub(crate) case: &'a str,
    /// See [`Row::protocol`].
    pub(crate) protocol: &'a str,
}

impl Report {
    /// Adds the figures of one round.
    pub(crate) fn add(&mut self, place: Place<'_>, program: Kind, sample: Sample) {
        let program = program.name();
        let is_same = |row: &&mut Row| row.is_at(place) && row.program == program;
        if let Some(row) = self.rows.iter_mut().find(is_same) {
            row.samples.push(sample);
            return;
        }
        let row = Row {
            section: place.section.to_owned(),
            case: place.case.to_owned(),
            protocol: place.protocol.to_owned(),
            program: program.to_owned(),
            samples: vec![sample],
        };
        // The programs of a case are adjacent, always in the same order.
        let is_before = |row: &Row| row.is_at(place) && Kind::of_name(&row.program) < Kind::of_name(program);
        let first = self.rows.iter().position(|row| row.is_at(place)).unwrap_or(self.rows.len());
        let at = self.rows.iter().rposition(is_before).map_or(first, |last| last + 1);
        self.rows.insert(at, row);
    }

    /// The figures of another program for the same case.
    pub(crate) fn other(&self, row: &Row, program: Kind) -> Option<&Row> {
        self.rows.iter().find(|other| other.is_at(row.place()) && other.program == program.name())
    }
}

impl Row {
    /// Where it belongs.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { section: &self.section, case: &self.case, protocol: &self.protocol }
    }

    fn is_at(&self, place: Place<'_>) -> bool {
        self.section == place.section && self.case == place.case && self.protocol == place.protocol
    }

    /// One figure over all rounds.
    pub(crate) fn spread(&self, figure: &str) -> Option<Spread> {
        Spread::of(self.samples.iter().filter_map(|sample| sample.get(figure).copied()))
    }

    /// The ratio of CPU time to that of `other`, calculated for each round: other activity on the machine changes
    /// between rounds, and affects both programs alike.
    pub(crate) fn times(&self, other: &Self) -> Option<Spread> {
        let pairs = self.samples.iter().zip(&other.samples);
        Spread::of(pairs.filter_map(|(own, other)| Some(own.get(CPU)? / other.get(CPU)?)))
    }
}

impl Spread {
    /// The spread of these figures; `None` if there are none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<_> = figures.into_iter().filter(|figure| figure.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.get((sorted.len() - 1) / 2)? + sorted.get(sorted.len() / 2)?;
        Some(Self { min, median: middle / 2.0, max })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report with one case, in which Keyway takes 20 and 30 us, and the floor 10.
    pub(crate) fn report() -> Report {
        let machine = Machine {
            cpu: "a processor".to_owned(),
            cores: 2,
            placement: String::new(),
            memory_mib: 1,
            kernel: "Linux 1".to_owned(),
            rustc: String::new(),
            load_average: "0.00".to_owned(),
            commit: "abc".to_owned(),
            programs: vec!["keyway: 0.1.0".to_owned()],
        };
        let mut report = Report { machine, seconds: 1.0, rounds: 2, rows: Vec::new() };
        for (cpu, floor) in [(20.0, 10.0), (30.0, 10.0)] {
            for (case, protocol) in [("generate", "HTTP/1.1"), ("generate", "HTTP/2")] {
                let place = Place { section: crate::sections::SIDE_BY_SIDE, case, protocol };
                report.add(place, Kind::Floor, Sample::from([(CPU.to_owned(), floor)]));
                report.add(place, Kind::Keyway, Sample::from([(CPU.to_owned(), cpu)]));
            }
        }
        report
    }

    #[test]
    fn rounds_of_a_case_are_grouped_and_programs_are_adjacent() {
        let report = report();
        let rows: Vec<_> = report.rows.iter().map(|row| (row.protocol.as_str(), row.program.as_str())).collect();
        assert_eq!(rows, [("HTTP/1.1", "keyway"), ("HTTP/1.1", "floor"), ("HTTP/2", "keyway"), ("HTTP/2", "floor")]);
        assert_eq!(report.rows[0].spread(CPU), Some(Spread { min: 20.0, median: 25.0, max: 30.0 }));
        let floor = report.other(&report.rows[0], Kind::Floor).unwrap();
        assert_eq!(report.rows[0].times(floor), Some(Spread { min: 2.0, median: 2.5, max: 3.0 }));
    }

    #[test]
    fn the_median_is_the_middle_figure() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[test]
    fn a_report_survives_a_round_trip_through_json() {
        let text = serde_json::to_string(&report()).unwrap();
        let again: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}
