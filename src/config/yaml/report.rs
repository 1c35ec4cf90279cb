//! What is wrong with a config, and where: one line for each problem, in the order of the file.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use super::locate::{Position, locate};
use super::node::Node;

/// Problems whose position is looked up; each look-up reads the text again. Later ones have only their key path.
const MAX_LOCATED: usize = 50;

/// Something about a config file that must or should be changed.
///
/// `Display` is one line, `FILE:LINE:COLUMN: KEY.PATH: WHAT IS WRONG; WHAT TO DO`. It never holds the value of a
/// secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    file: PathBuf,
    position: Option<Position>,
    path: String,
    text: String,
}

/// A config that works, but perhaps not as it was meant.
pub type Warning = Problem;

/// A config file that cannot be used, with everything that is wrong with it. `Display` is one line per problem.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// The error of a file of which no tree could be made.
    pub(crate) fn unreadable(file: &Path, position: Option<Position>, text: String) -> Self {
        Self { problems: vec![Problem { file: file.to_owned(), position, path: String::new(), text }] }
    }

    /// The problems, in the order of the file. There is at least one.
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

/// Collects problems while a config is read.
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

    /// The config cannot be used. `text` says what is wrong and what to do.
    pub(crate) fn error(&self, spot: &Spot<'_>, text: impl Into<String>) {
        self.errors.borrow_mut().push(self.problem(spot, &text.into()));
    }

    /// The config can be used.
    pub(crate) fn warn(&self, spot: &Spot<'_>, text: impl Into<String>) {
        self.warnings.borrow_mut().push(self.problem(spot, &text.into()));
    }

    /// How many errors there are so far.
    pub(crate) fn errors(&self) -> usize {
        self.errors.borrow().len()
    }

    /// ` (line 7)`, for texts that speak of a second place.
    pub(crate) fn line(&self, spot: &Spot<'_>) -> String {
        self.position(spot).map(|(line, _)| format!(" (line {line})")).unwrap_or_default()
    }

    /// The warnings, or the error when there is one or `found` is nothing.
    pub(crate) fn finish<T>(self, found: Option<T>) -> Result<(T, Vec<Warning>), ConfigError> {
        let in_order = |problems: RefCell<Vec<Problem>>| {
            let mut problems = problems.into_inner();
            problems.sort_by_key(|problem| problem.position.unwrap_or((usize::MAX, 0)));
            problems.dedup(); // a mapping that is used by alias is read more than once
            problems
        };
        match found {
            Some(found) if self.errors.borrow().is_empty() => Ok((found, in_order(self.warnings))),
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

/// The text with control characters, such as the line breaks of a quoted key, escaped.
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

/// A place in the config: what its key path is called, and where its text stands.
#[derive(Clone)]
pub(crate) struct Spot<'a> {
    /// `cache.expiry.any`; empty for the whole file.
    pub(crate) path: String,
    pub(crate) node: &'a Node,
    /// Whether to point at the key of the node and not at the node itself.
    pub(crate) at_key: bool,
}
