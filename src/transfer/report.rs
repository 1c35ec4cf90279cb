//! What became of the keys: counts of all, and the names of those that somebody should look at.

use std::collections::BTreeMap;
use std::fmt;

use backends::Name;
use serde::Serialize;

/// Names shown of each kind; the JSON form has them all.
const SHOWN: usize = 10;

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Written, read back and compared; in a dry run: to be written.
    Copied,
    /// There with the same value.
    AlreadyThere,
    /// The target kept another value, as it was told to.
    Kept,
    /// The target's other value was given up for the source's.
    Replaced,
    /// Deleted from the source while this ran.
    Gone,
    /// Created in the source after a backup had begun.
    TooLate,
    /// In the target alone.
    OnlyInTarget,
    /// A left-over of an interrupted replacement.
    LeftOver,
    /// Another value is in the target.
    Differs,
    /// Something that is no key, or that its store does not hand out.
    Damaged,
    /// A store failed.
    Failed,
    /// Not in the target.
    Missing,
    /// Not begun.
    NotTried,
}

impl Outcome {
    const ALL: [Self; 13] = [
        Self::Copied,
        Self::AlreadyThere,
        Self::Kept,
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

    /// Whether a key of the source is not in the target as it should be.
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::Differs | Self::Damaged | Self::Failed | Self::Missing | Self::NotTried)
    }

    /// Whether somebody should know the names.
    fn is_told(self) -> bool {
        !matches!(self, Self::Copied | Self::AlreadyThere | Self::NotTried)
    }
}

/// What became of all keys.
#[derive(Debug, Default)]
pub struct Report {
    /// The words for each fate, where they are not the usual ones.
    words: BTreeMap<Outcome, &'static str>,
    counts: BTreeMap<Outcome, usize>,
    names: BTreeMap<Outcome, Vec<(Name, String)>>,
    /// Why it ended before its end.
    pub cut_short: Option<String>,
}

/// The form for machines.
#[derive(Serialize)]
struct Json<'a> {
    complete: bool,
    cut_short: Option<&'a str>,
    counts: &'a BTreeMap<Outcome, usize>,
    names: BTreeMap<Outcome, BTreeMap<&'a str, &'a str>>,
}

impl Report {
    /// A report that always tells these counts, in the words given.
    pub fn new(words: &[(Outcome, &'static str)]) -> Self {
        let words: BTreeMap<_, _> = words.iter().copied().collect();
        Self { counts: words.keys().map(|fate| (*fate, 0)).collect(), words, ..Self::default() }
    }

    /// Adds a key; `reason` may be empty.
    pub fn add(&mut self, fate: Outcome, name: &Name, reason: impl Into<String>) {
        *self.counts.entry(fate).or_default() += 1;
        if fate.is_told() {
            self.names.entry(fate).or_default().push((name.clone(), reason.into()));
        }
    }

    /// How many keys have this fate.
    pub fn count(&self, fate: Outcome) -> usize {
        self.counts.get(&fate).copied().unwrap_or_default()
    }

    /// Whether this key was added with this fate.
    pub(crate) fn tells(&self, fate: Outcome, name: &Name) -> bool {
        self.names.get(&fate).is_some_and(|list| list.iter().any(|(other, _)| other == name))
    }

    /// Whether every key of the source is in the target as it should be.
    pub fn is_complete(&self) -> bool {
        self.cut_short.is_none() && !Outcome::ALL.into_iter().any(|fate| fate.is_trouble() && self.count(fate) > 0)
    }

    /// The form for machines: all names.
    ///
    /// # Errors
    /// None that can be: these are texts and numbers.
    pub fn json(&self) -> serde_json::Result<String> {
        let mut names: BTreeMap<Outcome, BTreeMap<&str, &str>> = BTreeMap::new();
        for (fate, list) in &self.names {
            let list = list.iter().map(|(name, reason)| (name.as_str(), reason.as_str()));
            names.entry(*fate).or_default().extend(list);
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
            .filter(|(fate, count)| **count > 0 || self.words.contains_key(*fate))
            .map(|(fate, count)| (self.words.get(fate).copied().unwrap_or_else(|| usual(*fate)), *count))
            .collect();
        let width = lines.iter().map(|(words, _)| words.len()).max().unwrap_or_default();
        for (words, count) in lines {
            writeln!(f, "  {words:width$}  {count:>8}")?;
        }
        for (fate, list) in self.names.iter().filter(|(_, list)| !list.is_empty()) {
            writeln!(f, "{}:", self.words.get(fate).copied().unwrap_or_else(|| usual(*fate)))?;
            let mut list: Vec<_> = list.iter().collect();
            list.sort();
            for (name, reason) in list.iter().take(SHOWN) {
                let colon = if reason.is_empty() { "" } else { ": " };
                writeln!(f, "  {name}{colon}{reason}")?;
            }
            if list.len() > SHOWN {
                writeln!(f, "  ... and {} more (--json names all)", list.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

fn usual(fate: Outcome) -> &'static str {
    match fate {
        Outcome::Copied => "copied",
        Outcome::AlreadyThere => "already there",
        Outcome::Kept => "kept, with another value in the target",
        Outcome::Replaced => "replaced",
        Outcome::Gone => "deleted from the source meanwhile",
        Outcome::TooLate => "created meanwhile, and not in the backup",
        Outcome::OnlyInTarget => "only in the target",
        Outcome::LeftOver => "left-overs of an interrupted --force in the target",
        Outcome::Differs => "different in the target",
        Outcome::Damaged => "damaged",
        Outcome::Failed => "failed",
        Outcome::Missing => "missing in the target",
        Outcome::NotTried => "not tried",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_single_key_that_is_not_there_makes_it_incomplete() {
        for fate in Outcome::ALL {
            let mut report = Report::new(&[]);
            report.add(Outcome::Copied, &name("other"), "");
            report.add(fate, &name("k"), "why");
            assert_eq!(report.is_complete(), !fate.is_trouble(), "{fate:?}");
        }
        let cut_short = Report { cut_short: Some("stopped".into()), ..Report::default() };
        assert!(!cut_short.is_complete());
    }

    #[test]
    fn the_first_names_are_shown_and_json_has_them_all() {
        let mut report = Report::new(&[(Outcome::Copied, "copied"), (Outcome::Failed, "failed")]);
        for number in (0..25).rev() {
            report.add(Outcome::Failed, &name(&format!("key-{number:02}")), "away");
        }
        let text = report.to_string();
        assert!(text.starts_with("  copied         0\n  failed        25\nfailed:\n  key-00: away\n"), "{text}");
        assert!(text.ends_with("  key-09: away\n  ... and 15 more (--json names all)\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["counts"]["failed"], 25);
        assert_eq!(json["names"]["failed"].as_object().unwrap().len(), 25);
        assert_eq!(json["complete"], false);
    }
}
