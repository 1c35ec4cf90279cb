//! The errors and warnings of a config with their positions: one line each, in the order of the file.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use super::locate::{Position, locate};
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

/// All errors of a config file that cannot be used. `Display` is one line per error.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// The error of a file that cannot be read or parsed.
    pub(crate) fn unreadable(file: &Path, position: Option<Position>, text: String) -> Self {
        Self { problems: vec![Problem { file: file.to_owned(), position, path: String::new(), text }] }
    }

    /// The errors, at least one, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " {}", self.text)
    }
}

/// Collects errors and warnings while a config is read.
pub(crate) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    located: RefCell<usize>,
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Warning>>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, located: RefCell::default(), errors: RefCell::default(), warnings: RefCell::default() }
    }

    /// Adds an error. `text` contains the problem and what to do.
    pub(crate) fn error(&self, spot: &Spot<'_>, text: impl Into<String>) {
        self.errors.borrow_mut().push(self.problem(spot, &text.into()));
    }

    /// Adds a warning.
    pub(crate) fn warn(&self, spot: &Spot<'_>, text: impl Into<String>) {
        self.warnings.borrow_mut().push(self.problem(spot, &text.into()));
    }

    /// The number of errors so far.
    pub(crate) fn errors(&self) -> usize {
        self.errors.borrow().len()
    }

    /// ` (line 7)`, for messages that refer to a second position.
    pub(crate) fn line(&self, spot: &Spot<'_>) -> String {
        self.position(spot).map(|(line, _)| format!(" (line {line})")).unwrap_or_default()
    }

    /// The value with the warnings, or the errors if there are any or `value` is `None`.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Warning>), ConfigError> {
        let in_order = |problems: RefCell<Vec<Problem>>| {
            let mut problems = problems.into_inner();
            problems.sort_by_key(|problem| problem.position.unwrap_or((usize::MAX, 0)));
            problems.dedup(); // an aliased mapping is read more than once
            problems
        };
        match value {
            Some(value) if self.errors.borrow().is_empty() => Ok((value, in_order(self.warnings))),
            _ => Err(ConfigError { problems: in_order(self.errors) }),
        }
    }

    fn problem(&self, spot: &Spot<'_>, text: &str) -> Problem {
        let position = self.position(spot);
        Problem { file: self.file.to_owned(), position, path: one_line(&spot.path), text: one_line(text) }
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
