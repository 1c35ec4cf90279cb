//! The errors and warnings of a config with their positions: one line each, in the order of the file.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use super::locate::{Position, Positions, locate};
use super::node::Node;

/// The number of problems whose position is determined, which parses the text again for each. Further ones have only
/// their key path.
const MAX_LOCATED: usize = 50;

/// An error or a warning about a config file.
///
/// `Display` is one line, `FILE:LINE:COLUMN: KEY.PATH: PROBLEM; WHAT TO DO`. It never contains the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    file: PathBuf,
    position: Option<Position>,
    path: String,
    text: String,
}

/// A setting that is valid but probably not intended.
pub type Warning = Problem;

impl Problem {
    /// A problem of the setting with this key path; an empty one is the whole file.
    pub(crate) fn new(file: &Path, position: Option<Position>, path: &str, text: &str) -> Self {
        Self { file: file.to_owned(), position, path: one_line(path), text: one_line(text) }
    }

    /// The config file. Empty for settings that are not from a file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Line and column of the setting, both counted from 1, if they are known.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.position
    }

    /// The key path of the setting, such as `tls.cert`; `None` for the whole file.
    pub fn key(&self) -> Option<&str> {
        (!self.path.is_empty()).then_some(self.path.as_str())
    }

    /// The problem and what to do.
    pub fn message(&self) -> &str {
        &self.text
    }

    /// Sorts problems in the order of the file; those without a position come last.
    pub fn sort(problems: &mut [Self]) {
        problems.sort_by_key(|problem| problem.position.unwrap_or((usize::MAX, 0)));
    }
}

/// All errors of a config file that cannot be used. `Display` is one line per error.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl ConfigError {
    /// The error of a file that cannot be read or parsed.
    pub(crate) fn unreadable(file: &Path, position: Option<Position>, text: String) -> Self {
        let problem = Problem { file: file.to_owned(), position, path: String::new(), text };
        Self { problems: vec![problem], warnings: Vec::new() }
    }

    /// These errors, at least one, and the warnings that were found with them.
    pub(crate) fn new(mut problems: Vec<Problem>, mut warnings: Vec<Warning>) -> Self {
        Problem::sort(&mut problems);
        Problem::sort(&mut warnings);
        Self { problems, warnings }
    }

    /// The errors, at least one, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The warnings that were found as well, in the order of the file.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::with_capacity(3);
        let file = self.file.display();
        match self.position {
            Some((line, column)) => parts.push(format!("{file}:{line}:{column}")),
            None if self.file.as_os_str().is_empty() => {}
            None => parts.push(file.to_string()),
        }
        parts.extend(self.key().map(str::to_owned));
        parts.push(self.text.clone());
        f.write_str(&parts.join(": "))
    }
}

/// Collects errors and warnings while a config is read.
pub(crate) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    located: RefCell<usize>,
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Warning>>,
    notes: RefCell<Vec<Note>>,
}

/// A setting whose position is wanted: its key path, its node, and whether the position is that of its key.
type Note = (String, Vec<usize>, bool);

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            located: RefCell::default(),
            errors: RefCell::default(),
            warnings: RefCell::default(),
            notes: RefCell::default(),
        }
    }

    /// Adds an error. `text` contains the problem and what to do.
    pub(crate) fn error(&self, spot: &Spot<'_>, text: impl Into<String>) {
        self.errors.borrow_mut().push(self.problem(spot, &text.into()));
    }

    /// Adds a warning.
    pub(crate) fn warn(&self, spot: &Spot<'_>, text: impl Into<String>) {
        self.warnings.borrow_mut().push(self.problem(spot, &text.into()));
    }

    /// Makes the position of a setting available after the file is read, see [`Report::finish`].
    pub(crate) fn note(&self, spot: &Spot<'_>) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < MAX_LOCATED {
            notes.push((spot.path.clone(), spot.node.at.clone(), spot.at_key));
        }
    }

    /// The number of errors so far.
    pub(crate) fn errors(&self) -> usize {
        self.errors.borrow().len()
    }

    /// ` (line 7)`, for messages that refer to a second position.
    pub(crate) fn line(&self, spot: &Spot<'_>) -> String {
        self.position(spot).map(|(line, _)| format!(" (line {line})")).unwrap_or_default()
    }

    /// The value with the warnings and the positions of the noted settings, or the errors if there are any or `value`
    /// is `None`.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Warning>, Positions), ConfigError> {
        let in_order = |problems: RefCell<Vec<Problem>>| {
            let mut problems = problems.into_inner();
            Problem::sort(&mut problems);
            problems.dedup(); // an aliased mapping is read more than once
            problems
        };
        let (errors, warnings) = (in_order(self.errors), in_order(self.warnings));
        match value {
            Some(value) if errors.is_empty() => {
                let located = |(path, at, at_key): Note| Some((path, locate(self.text, &at, at_key)?));
                Ok((value, warnings, self.notes.into_inner().into_iter().filter_map(located).collect()))
            }
            _ => Err(ConfigError { problems: errors, warnings }),
        }
    }

    fn problem(&self, spot: &Spot<'_>, text: &str) -> Problem {
        Problem::new(self.file, self.position(spot), &spot.path, text)
    }

    fn position(&self, spot: &Spot<'_>) -> Option<Position> {
        let mut located = self.located.borrow_mut();
        if *located == MAX_LOCATED {
            return None;
        }
        *located += 1;
        locate(self.text, &spot.node.at, spot.at_key)
    }
}

/// Escapes control characters, such as line breaks in a quoted key.
fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

/// A position in the config: its key path and its node.
#[derive(Clone)]
pub(crate) struct Spot<'a> {
    /// Such as `cache.expiry.any`; empty for the whole file.
    pub(crate) path: String,
    pub(crate) node: &'a Node,
    /// Whether it is the position of the node's key instead of the node itself.
    pub(crate) at_key: bool,
}
