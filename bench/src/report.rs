//! All figures of a run: what the JSON holds, and what table and plot are made of.

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::program::Kind;
use crate::sample::{CPU, Sample};

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Where it ran.
    pub(crate) machine: Machine,
    /// How long each measurement took, in seconds.
    pub(crate) seconds: f64,
    /// How often each was made.
    pub(crate) rounds: usize,
    /// The figures, in the order in which they were first taken.
    pub(crate) rows: Vec<Row>,
}

/// One thing that was measured, for one program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Which part of the bench.
    pub(crate) section: String,
    /// What was asked.
    pub(crate) case: String,
    /// How: `HTTP/1.1`, `HTTP/2`.
    pub(crate) protocol: String,
    /// Of whom.
    pub(crate) program: String,
    /// The figures of each round.
    pub(crate) samples: Vec<Sample>,
}

/// Smallest, middle and largest of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The smallest.
    pub(crate) min: f64,
    /// The middle one, or the mean of the middle two.
    pub(crate) median: f64,
    /// The largest.
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
        // Programs stand together under what they were asked, always in one order.
        let is_before = |row: &Row| row.is_at(place) && Kind::of_name(&row.program) < Kind::of_name(program);
        let first = self.rows.iter().position(|row| row.is_at(place)).unwrap_or(self.rows.len());
        let at = self.rows.iter().rposition(is_before).map_or(first, |last| last + 1);
        self.rows.insert(at, row);
    }

    /// What another program did under the same.
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

    /// How many times the CPU time of `other` this takes, round by round: what else the machine does changes from one
    /// round to the next, and hits both alike.
    pub(crate) fn times(&self, other: &Self) -> Option<Spread> {
        let pairs = self.samples.iter().zip(&other.samples);
        Spread::of(pairs.filter_map(|(own, other)| Some(own.get(CPU)? / other.get(CPU)?)))
    }
}

impl Spread {
    /// The spread of these, unless there are none.
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
    fn rounds_of_one_case_come_together_and_programs_stand_side_by_side() {
        let report = report();
        let rows: Vec<_> = report.rows.iter().map(|row| (row.protocol.as_str(), row.program.as_str())).collect();
        assert_eq!(rows, [("HTTP/1.1", "keyway"), ("HTTP/1.1", "floor"), ("HTTP/2", "keyway"), ("HTTP/2", "floor")]);
        assert_eq!(report.rows[0].spread(CPU), Some(Spread { min: 20.0, median: 25.0, max: 30.0 }));
        let floor = report.other(&report.rows[0], Kind::Floor).unwrap();
        assert_eq!(report.rows[0].times(floor), Some(Spread { min: 2.0, median: 2.5, max: 3.0 }));
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[test]
    fn a_report_is_the_same_after_a_way_through_json() {
        let text = serde_json::to_string(&report()).unwrap();
        let again: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}
