//! The report of a run: how many keys had which outcome, and the names of those that need attention.

use std::collections::BTreeMap;
use std::fmt;

use backends::Name;
use serde::Serialize;

/// Names shown for each outcome; the JSON form has all of them.
const SHOWN: usize = 10;

/// The outcome for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Written, read back and compared; in a dry run, to be written.
    Copied,
    /// Already in the target, with the same value.
    AlreadyThere,
    /// The target has a different value, which was kept as requested.
    Kept,
    /// In the source, but not selected by the pattern.
    NotSelected,
    /// The different value in the target was replaced with that of the source.
    Replaced,
    /// Deleted from the source during the run.
    Gone,
    /// Created in the source after the backup had started.
    TooLate,
    /// Only in the target.
    OnlyInTarget,
    /// A temporary key left over from an interrupted replacement.
    LeftOver,
    /// The target has a different value.
    Differs,
    /// Not a valid key, or one that its store refuses to return.
    Damaged,
    /// A store operation failed.
    Failed,
    /// Not in the target.
    Missing,
    /// Not started.
    NotTried,
}

impl Outcome {
    const ALL: [Self; 14] = [
        Self::Copied,
        Self::AlreadyThere,
        Self::Kept,
        Self::NotSelected,
        Self::Replaced,
        Self::Gone,
        Self::TooLate,
        Self::OnlyInTarget,
        Self::LeftOver,
        Self::Differs,
        Self::Damaged,
        Self::Failed,
        Self::Missing,
        Self::NotTried,
    ];

    /// Whether a key of the source is missing from the target, or not as it should be.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Differs | Self::Damaged | Self::Failed | Self::Missing | Self::NotTried)
    }

    /// Whether the report lists the names.
    fn is_listed(self) -> bool {
        !matches!(self, Self::Copied | Self::AlreadyThere | Self::NotSelected | Self::NotTried)
    }
}

/// The outcomes of all keys.
#[derive(Debug, Default)]
pub struct Report {
    /// Labels that differ from the default ones; these outcomes are always shown.
    labels: BTreeMap<Outcome, &'static str>,
    counts: BTreeMap<Outcome, usize>,
    names: BTreeMap<Outcome, Vec<(Name, String)>>,
    /// Why the run ended early, if it did.
    pub cut_short: Option<String>,
}

/// The JSON form.
#[derive(Serialize)]
struct Json<'a> {
    complete: bool,
    cut_short: Option<&'a str>,
    counts: &'a BTreeMap<Outcome, usize>,
    names: BTreeMap<Outcome, BTreeMap<&'a str, &'a str>>,
}

impl Report {
    /// An empty report that always shows the counts of these outcomes, with the labels given.
    pub fn new(labels: &[(Outcome, &'static str)]) -> Self {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        Self { counts: labels.keys().map(|outcome| (*outcome, 0)).collect(), labels, ..Self::default() }
    }

    /// Adds a key; `reason` may be empty.
    pub fn add(&mut self, outcome: Outcome, name: &Name, reason: impl Into<String>) {
        *self.counts.entry(outcome).or_default() += 1;
        if outcome.is_listed() {
            self.names.entry(outcome).or_default().push((name.clone(), reason.into()));
        }
    }

    /// Adds keys with an outcome whose names are not listed.
    pub(crate) fn add_count(&mut self, outcome: Outcome, count: usize) {
        debug_assert!(!outcome.is_listed(), "{outcome:?} needs names");
        *self.counts.entry(outcome).or_default() += count;
    }

    /// The number of keys with this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.counts.get(&outcome).copied().unwrap_or_default()
    }

    /// Whether this key is listed with this outcome.
    pub(crate) fn contains(&self, outcome: Outcome, name: &Name) -> bool {
        self.names.get(&outcome).is_some_and(|list| list.iter().any(|(other, _)| other == name))
    }

    fn label(&self, outcome: Outcome) -> &'static str {
        self.labels.get(&outcome).copied().unwrap_or_else(|| default_label(outcome))
    }

    /// Whether every key of the source is in the target as it should be.
    pub fn is_complete(&self) -> bool {
        self.cut_short.is_none()
            && !Outcome::ALL.into_iter().any(|outcome| outcome.is_failure() && self.count(outcome) > 0)
    }

    /// What is wrong and what to do about it, in one line; `None` if the report is complete.
    pub fn problem(&self) -> Option<String> {
        if self.is_complete() {
            return None;
        }
        Some(self.cut_short.clone().unwrap_or_else(|| {
            let advice = Outcome::ALL.into_iter().filter(|outcome| self.count(*outcome) > 0).filter_map(advice);
            format!("some keys need attention; see the report above: {}", advice.collect::<Vec<_>>().join("; "))
        }))
    }

    /// The report as JSON, with all names.
    ///
    /// # Errors
    /// Never in practice: the report holds only texts and numbers.
    pub fn json(&self) -> serde_json::Result<String> {
        let mut names: BTreeMap<Outcome, BTreeMap<&str, &str>> = BTreeMap::new();
        for (outcome, list) in &self.names {
            let list = list.iter().map(|(name, reason)| (name.as_str(), reason.as_str()));
            names.entry(*outcome).or_default().extend(list);
        }
        let cut_short = self.cut_short.as_deref();
        serde_json::to_string(&Json { complete: self.is_complete(), cut_short, counts: &self.counts, names })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self
            .counts
            .iter()
            .filter(|(outcome, count)| **count > 0 || self.labels.contains_key(*outcome))
            .map(|(outcome, count)| (self.label(*outcome), *count))
            .collect();
        let width = lines.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
        for (label, count) in lines {
            writeln!(f, "  {label:width$}  {count:>8}")?;
        }
        for (outcome, list) in self.names.iter().filter(|(_, list)| !list.is_empty()) {
            writeln!(f, "{}:", self.label(*outcome))?;
            let mut list: Vec<_> = list.iter().collect();
            list.sort();
            for (name, reason) in list.iter().take(SHOWN) {
                let colon = if reason.is_empty() { "" } else { ": " };
                writeln!(f, "  {name}{colon}{reason}")?;
            }
            if list.len() > SHOWN {
                writeln!(f, "  ... and {} more (--json lists all)", list.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

fn default_label(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Copied => "copied",
        Outcome::AlreadyThere => "already present",
        Outcome::Kept => "kept, different in the target",
        Outcome::NotSelected => "left out by the pattern",
        Outcome::Replaced => "replaced",
        Outcome::Gone => "deleted from the source in the meantime",
        Outcome::TooLate => "created in the meantime, not in the backup",
        Outcome::OnlyInTarget => "only in the target",
        Outcome::LeftOver => "left over from an interrupted --force",
        Outcome::Differs => "different in the target",
        Outcome::Damaged => "damaged",
        Outcome::Failed => "failed",
        Outcome::Missing => "missing from the target",
        Outcome::NotTried => "not tried",
    }
}

/// What to do about keys with a failure.
fn advice(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Differs => Some("compare the different keys, then keep one value of each"),
        Outcome::Damaged => Some("repair or delete the damaged keys"),
        Outcome::Failed => Some("check the keystore, then run the command again for the failed keys"),
        Outcome::Missing => Some("copy the missing keys with `keyway migrate`"),
        Outcome::NotTried => Some("run the command again for the keys that were not tried"),
        Outcome::Copied
        | Outcome::AlreadyThere
        | Outcome::Kept
        | Outcome::NotSelected
        | Outcome::Replaced
        | Outcome::Gone
        | Outcome::TooLate
        | Outcome::OnlyInTarget
        | Outcome::LeftOver => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_single_failed_key_makes_a_report_incomplete() {
        for outcome in Outcome::ALL {
            let mut report = Report::new(&[]);
            report.add(Outcome::Copied, &name("other"), "");
            report.add(outcome, &name("k"), "reason");
            assert_eq!(report.is_complete(), !outcome.is_failure(), "{outcome:?}");
            assert_eq!(advice(outcome).is_some(), outcome.is_failure(), "{outcome:?}");
            assert_eq!(report.problem().is_some(), outcome.is_failure(), "{outcome:?}");
        }
        let cut_short = Report { cut_short: Some("stopped".into()), ..Report::default() };
        assert!(!cut_short.is_complete());
    }

    #[test]
    fn text_shows_the_first_names_and_json_has_all_of_them() {
        let mut report = Report::new(&[(Outcome::Copied, "copied"), (Outcome::Failed, "failed")]);
        for number in (0..25).rev() {
            report.add(Outcome::Failed, &name(&format!("key-{number:02}")), "unavailable");
        }
        let text = report.to_string();
        assert!(text.starts_with("  copied         0\n  failed        25\nfailed:\n  key-00: unavailable\n"), "{text}");
        assert!(text.ends_with("  key-09: unavailable\n  ... and 15 more (--json lists all)\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["counts"]["failed"], 25);
        assert_eq!(json["names"]["failed"].as_object().unwrap().len(), 25);
        assert_eq!(json["complete"], false);
    }
}
