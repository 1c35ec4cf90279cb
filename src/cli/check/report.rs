//! The problems that a check has found, and how they are printed.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::cli::terminal::output::Output;
use crate::cli::{exit, print_problem};
use crate::config::{Config, ConfigError, Problem};

/// The problems of a config.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// The kind of the keystore, and how long it took to answer; only with `--connect`.
    pub(super) answer: Option<(&'static str, Duration)>,
}

/// The result as JSON.
#[derive(Debug, Serialize)]
struct Json<'a> {
    file: String,
    ok: bool,
    problems: Vec<JsonProblem<'a>>,
    /// Only if the keystore was asked and has answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    keystore: Option<JsonAnswer>,
}

#[derive(Debug, Serialize)]
struct JsonProblem<'a> {
    severity: &'static str,
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    key: Option<&'a str>,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct JsonAnswer {
    kind: &'static str,
    answered_in_ms: u128,
}

impl Report {
    /// Adds all problems of a config that cannot be used.
    pub(super) fn add(&mut self, errors: &ConfigError) {
        self.errors.extend_from_slice(errors.problems());
        self.warnings.extend_from_slice(errors.warnings());
    }

    /// Adds an error of the setting with this key path.
    pub(super) fn error(&mut self, config: &Config, key: &str, text: &str) {
        self.errors.push(config.source.problem(key, text));
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, config: &Config, key: &str, text: &str) {
        self.warnings.push(config.source.problem(key, text));
    }

    /// `--strict`
    pub(super) fn make_warnings_errors(&mut self) {
        self.errors.append(&mut self.warnings);
    }

    /// Whether a server could use the config.
    fn is_ok(&self) -> bool {
        self.errors.is_empty()
    }

    /// The exit code of the command.
    pub(super) fn exit_code(&self) -> ExitCode {
        if self.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) }
    }

    /// Prints one line per problem on standard error, the errors last, and on standard output that there is no error.
    pub(super) fn print(&mut self, name: &Path) -> io::Result<()> {
        for (severity, problems) in [("warning", &mut self.warnings), ("error", &mut self.errors)] {
            Problem::sort(problems);
            for problem in problems.iter() {
                print_problem(severity, &problem.to_string());
            }
        }
        let mut output = io::stdout().lock();
        match (self.is_ok(), self.answer) {
            (false, _) => Ok(()),
            (true, None) => writeln!(output, "{}: ok", name.display()),
            (true, Some((kind, time))) => {
                let time = time.as_millis();
                writeln!(output, "{}: ok; the keystore ({kind}) answered in {time} ms", name.display())
            }
        }
    }

    /// Prints one JSON object on standard output.
    pub(super) fn print_json(&self, name: &Path) -> io::Result<()> {
        let errors = self.errors.iter().map(|problem| ("error", problem));
        let mut problems: Vec<_> = errors.chain(self.warnings.iter().map(|problem| ("warning", problem))).collect();
        problems.sort_by_key(|(_, problem)| problem.position().unwrap_or((usize::MAX, 0)));
        Output::new(true).json(&Json {
            file: name.display().to_string(),
            ok: self.is_ok(),
            problems: problems.into_iter().map(|(severity, problem)| JsonProblem::of(severity, problem)).collect(),
            keystore: self.answer.map(|(kind, time)| JsonAnswer { kind, answered_in_ms: time.as_millis() }),
        })
    }
}

impl<'a> JsonProblem<'a> {
    fn of(severity: &'static str, problem: &'a Problem) -> Self {
        let (line, column) = problem.position().unzip();
        let file = problem.file().display().to_string();
        Self { severity, file, line, column, key: problem.key(), message: problem.message() }
    }
}
