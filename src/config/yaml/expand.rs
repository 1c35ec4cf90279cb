//! Values from outside of the config: `${NAME}` is the value of an environment variable, `${file:PATH}` the content of a
//! file, as container engines and systemd provide secrets.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::node::{Node, Value};

/// Looks up an environment variable.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What begins the name of a file between the braces.
const FILE: &str = "file:";

/// The maximum size of a file in bytes; values are passwords, tokens and keys.
const MAX_LEN: u64 = 1 << 16;

/// What is between `${` and `}`.
pub(super) fn variable(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}')
}

/// Where a value comes from.
pub(super) enum Source<'a> {
    /// An environment variable.
    Variable(&'a str),
    /// A file. A relative path is relative to the working directory, as all paths of the config.
    File(&'a Path),
}

impl<'a> Source<'a> {
    /// The source that is named between the braces.
    pub(super) fn of(name: &'a str) -> Self {
        name.strip_prefix(FILE).map_or(Self::Variable(name), |path| Self::File(Path::new(path)))
    }

    /// The value. Of a file, without the line break at its end.
    ///
    /// # Errors
    /// The problem, and what to do.
    pub(super) fn value(&self, env: Env<'_>) -> Result<Zeroizing<String>, String> {
        match self {
            Self::Variable(name) => {
                let is_valid = |c: char| c == '_' || c.is_ascii_alphanumeric();
                if name.is_empty() || !name.chars().all(is_valid) {
                    return Err("has no valid variable name between ${ and }; use letters, digits and _, as in \
                                ${NAME}, or ${file:PATH} for the content of a file"
                        .to_owned());
                }
                env(name).map(Zeroizing::new).ok_or_else(|| {
                    format!("the environment variable {name} is not set; set it, or replace ${{{name}}} with the value")
                })
            }
            Self::File(path) => {
                let problem = |problem: &str, todo: &str| format!("the file '{}' {problem}; {todo}", path.display());
                let bytes = read(path)
                    .map_err(|error| problem(&format!("cannot be read: {error}"), "check its path and permissions"))?;
                if bytes.len() as u64 > MAX_LEN {
                    return Err(problem("has more than 64 KiB", "use a file that contains only the value"));
                }
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| problem("is not valid UTF-8", "use a file that contains only the value, as text"))?;
                let line = text.strip_suffix('\n').unwrap_or(text);
                Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
            }
        }
    }
}

/// Reads a file, but not much more than the maximum size.
fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let capacity = usize::try_from(MAX_LEN + 1).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity)); // no copy stays behind when it grows
    File::open(path)?.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files whose contents are values in this tree.
pub(super) fn files(node: &Node) -> Vec<PathBuf> {
    match &node.value {
        Value::Null => Vec::new(),
        Value::Text(text) => match variable(text).map(Source::of) {
            Some(Source::File(path)) => vec![path.to_owned()],
            _ => Vec::new(),
        },
        Value::List(items) => items.iter().flat_map(files).collect(),
        Value::Map(entries) => entries.iter().flat_map(|(_, node)| files(node)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Result<String, String> {
        Source::of(name)
            .value(&|name| (name == "SET").then(|| "of the variable".to_owned()))
            .map(|value| value.to_string())
    }

    #[test]
    fn a_value_comes_from_a_variable_or_a_file_without_its_last_line_break() {
        assert_eq!(value("SET").unwrap(), "of the variable");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for (content, expected) in [
            ("s3cr3t", "s3cr3t"),
            ("s3cr3t\n", "s3cr3t"),
            ("s3cr3t\r\n", "s3cr3t"),
            ("two\nlines\n\n", "two\nlines\n"),
            ("", ""),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(value(&format!("file:{}", path.display())).unwrap(), expected);
        }
    }

    #[test]
    fn what_cannot_be_a_value_is_refused_with_the_reason_and_without_the_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let file = format!("file:{}", path.display());
        for (name, words) in [
            ("", "no valid variable name"),
            ("A-B", "no valid variable name"),
            ("UNSET", "the environment variable UNSET is not set"),
            (file.as_str(), "cannot be read"),
            ("file:", "cannot be read"),
            ("file:/", "cannot be read"),
        ] {
            let problem = value(name).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
        std::fs::write(&path, b"s3cr3t\xff").unwrap();
        assert!(
            value(&file).unwrap_err().ends_with("is not valid UTF-8; use a file that contains only the value, as text")
        );
        std::fs::write(&path, "x".repeat((1 << 16) + 1)).unwrap();
        assert!(value(&file).unwrap_err().contains("has more than 64 KiB"));
    }
}
