//! A value of the tree with its position: its type, its entries or items, its text with `${NAME}` and `${file:PATH}`
//! expanded (`expand.rs`). Problems go to the [`Report`]. `section.rs` checks which keys are present, and `sections.rs` defines them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use zeroize::Zeroizing;

pub(crate) use super::expand::Env;
use super::expand::{self, Source, variable};
use super::node::{Node, Value};
use super::report::{Report, Spot};

/// The merge key of YAML 1.1, which copies the entries of other mappings.
const MERGE: &str = "<<";

/// A value in the tree, with its path and position.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    report: &'a Report<'a>,
    env: Env<'a>,
    spot: Spot<'a>,
}

/// The text of a scalar after `${NAME}` or `${file:PATH}` is expanded.
pub(crate) struct Text {
    value: Zeroizing<String>,
    /// What is between the braces.
    variable: Option<String>,
}

/// The problem is already in the report.
pub(crate) struct Reported;

impl Text {
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.value
    }

    /// The text, still in memory that is wiped.
    pub(crate) fn into_value(self) -> Zeroizing<String> {
        self.value
    }

    /// Whether the value may be a secret: it comes from the environment or a file, or looks like an API key.
    pub(crate) fn is_private(&self) -> bool {
        self.variable.is_some() || is_api_key(&self.value)
    }

    /// How error messages show this value: as written, unless it may be a secret.
    pub(crate) fn shown(&self) -> String {
        match &self.variable {
            Some(name) => format!("the value of ${{{name}}}"),
            None if self.is_private() => "an API key".to_owned(),
            None => format!("'{}'", self.as_str()),
        }
    }
}

/// Whether the text begins like a KES API key. These are secrets, and easily mistaken for identities.
pub(crate) fn is_api_key(text: &str) -> bool {
    text.starts_with("kes:")
}

impl<'a> Field<'a> {
    /// The root of the file.
    pub(crate) fn root(report: &'a Report<'a>, env: Env<'a>, node: &'a Node) -> Self {
        Self { report, env, spot: Spot { path: String::new(), node, at_key: false } }
    }

    /// Reports an error at this value.
    pub(crate) fn error(&self, text: impl Into<String>) {
        self.report.error(&self.spot(), text);
    }

    /// Reports a warning at this value.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.report.warn(&self.spot(), text);
    }

    /// Reports a warning at the key of this value.
    pub(crate) fn warn_at_key(&self, text: impl Into<String>) {
        self.report.warn(&self.spot, text);
    }

    /// Reports an error at the key of this value.
    pub(crate) fn error_at_key(&self, text: impl Into<String>) {
        self.report.error(&self.spot, text);
    }

    /// Reports that a key is missing from this mapping. `path` is relative to it. Does nothing if this is not a
    /// mapping, which is already reported.
    pub(crate) fn missing(&self, path: &str, todo: &str) {
        if matches!(self.spot.node.value, Value::Map(_) | Value::Null) {
            let spot = self.child(path, self.spot.node).spot;
            self.report.error(&Spot { at_key: self.spot.at_key, ..spot }, format!("is missing; {todo}"));
        }
    }

    /// The files whose contents are values in this tree.
    pub(crate) fn included_files(&self) -> Vec<PathBuf> {
        expand::files(self.spot.node)
    }

    /// Makes the position of this value, and of everything in it except items of lists, available after the file is
    /// read.
    pub(crate) fn note(&self) {
        if self.errors() > 0 {
            return; // positions are then not needed, and reading a mapping again would report its errors again
        }
        self.report.note(&self.spot());
        if self.is_mapping() {
            for (_, field) in self.entries() {
                field.note();
            }
        }
    }

    /// The number of errors in the file so far.
    pub(crate) fn errors(&self) -> usize {
        self.report.errors()
    }

    /// Replaces the quoted values of environment variables that this value uses with `${NAME}`.
    pub(crate) fn redact(&self, message: String) -> String {
        redact(self.spot.node, self.env, message)
    }

    /// The key path.
    pub(crate) fn path(&self) -> &str {
        &self.spot.path
    }

    /// ` (line 7)`, for messages that refer to a second position.
    pub(crate) fn line(&self) -> String {
        self.report.line(&self.spot())
    }

    /// Whether the value is null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.spot.node.value, Value::Null)
    }

    /// Whether the value is null or an empty text.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.spot.node.value {
            Value::Null => true,
            Value::Text(text) => match variable(text) {
                Some(name) => Source::of(name).value(self.env).is_ok_and(|value| value.is_empty()),
                None => text.is_empty(),
            },
            Value::List(_) | Value::Map(_) => false,
        }
    }

    /// Whether the value is a mapping, which may be empty.
    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self.spot.node.value, Value::Map(_))
    }

    /// Whether the value is a scalar other than null.
    pub(crate) fn is_scalar(&self) -> bool {
        matches!(self.spot.node.value, Value::Text(_))
    }

    /// The position for messages: a scalar itself, or the key of any other value.
    fn spot(&self) -> Spot<'a> {
        let scalar = matches!(self.spot.node.value, Value::Text(_));
        Spot { at_key: self.spot.at_key && !scalar, ..self.spot.clone() }
    }

    fn child(&self, name: &str, node: &'a Node) -> Self {
        let parent = &self.spot.path;
        let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
        Self { spot: Spot { path, node, at_key: true }, ..self.clone() }
    }

    /// The text of a scalar; `None` if it is empty.
    pub(crate) fn text(&self) -> Result<Option<Text>, Reported> {
        let text = match &self.spot.node.value {
            Value::Null => return Ok(None),
            Value::Text(text) => text,
            other => {
                self.error(format!(
                    "expected a single value, found {}; write the value on the same line as its key",
                    kind(other)
                ));
                return Err(Reported);
            }
        };
        let Some(name) = variable(text) else {
            return Ok(Some(Text { value: text.clone(), variable: None }).filter(|text| !text.value.is_empty()));
        };
        let value = Source::of(name).value(self.env).map_err(|problem| {
            self.error(problem);
            Reported
        })?;
        Ok(Some(Text { value, variable: Some(name.to_owned()) }).filter(|text| !text.value.is_empty()))
    }

    /// Parses the text with `read`, which returns the problem and what to do; `None` if the text is empty.
    pub(crate) fn parse<T>(&self, read: impl FnOnce(&Text) -> Result<T, String>) -> Option<T> {
        let text = self.text().ok()??;
        if text.variable.is_none() && text.value.contains("${") {
            self.error(
                "contains a ${NAME} that is not the whole value, and is therefore not expanded; \
                 put the whole value into the variable or file",
            );
            return None;
        }
        read(&text).map_err(|problem| self.error(problem)).ok()
    }

    /// As [`Field::parse`], but an empty value is an error.
    pub(crate) fn parse_required<T>(&self, todo: &str, read: impl FnOnce(&Text) -> Result<T, String>) -> Option<T> {
        if self.text().ok()?.is_none() {
            self.error(format!("is empty; {todo}"));
            return None;
        }
        self.parse(read)
    }

    /// The items of a list; empty if the value is null.
    pub(crate) fn items(&self) -> Vec<Field<'a>> {
        match &self.spot.node.value {
            Value::Null => Vec::new(),
            Value::List(items) => {
                let path = |index| format!("{}[{index}]", self.spot.path);
                let spots = items.iter().enumerate().map(|(i, node)| Spot { path: path(i), node, at_key: false });
                spots.map(|spot| Self { spot, ..self.clone() }).collect()
            }
            other => {
                self.error(format!(
                    "expected a list, found {}; write each item on its own line after '- '",
                    kind(other)
                ));
                Vec::new()
            }
        }
    }

    /// The entries of a mapping; empty if the value is null. Reports duplicate keys and applies merges (`<<`).
    pub(crate) fn entries(&self) -> Vec<(&'a str, Field<'a>)> {
        let map = match &self.spot.node.value {
            Value::Null => return Vec::new(),
            Value::Map(map) => map,
            other => {
                self.error(format!("expected a mapping, found {}; write indented 'KEY: VALUE' lines", kind(other)));
                return Vec::new();
            }
        };
        let mut seen: BTreeMap<&'a str, Spot<'a>> = BTreeMap::new();
        let mut entries = Vec::with_capacity(map.len());
        for (key, node) in map {
            let field = self.child(key, node);
            if let Some(first) = seen.get(key.as_str()) {
                let line = self.report.line(first);
                field.error_at_key(format!("duplicate key, already set{line}; remove one of the two"));
            } else {
                seen.insert(key, field.spot.clone());
                entries.push((key.as_str(), field));
            }
        }
        if let Some(index) = entries.iter().position(|(key, _)| *key == MERGE) {
            let (_, merged) = entries.remove(index);
            for (key, field) in merged.merged(self) {
                if !seen.contains_key(key) {
                    seen.insert(key, field.spot.clone());
                    entries.push((key, field));
                }
            }
        }
        entries
    }

    /// The entries that the value of a `<<` adds to `target`; of entries with the same key, the first counts.
    fn merged(&self, target: &Self) -> Vec<(&'a str, Field<'a>)> {
        let sources = match &self.spot.node.value {
            Value::List(_) => self.items(),
            _ => vec![self.clone()],
        };
        let adopt = |(key, field): (&'a str, Field<'a>)| (key, target.child(key, field.spot.node));
        sources.iter().flat_map(Field::entries).map(adopt).collect()
    }
}

fn redact(node: &Node, env: Env<'_>, message: String) -> String {
    match &node.value {
        Value::Null => message,
        Value::List(items) => items.iter().fold(message, |message, item| redact(item, env, message)),
        Value::Map(entries) => entries.iter().fold(message, |message, (_, node)| redact(node, env, message)),
        Value::Text(text) => {
            let Some(name) = variable(text) else { return message };
            let Ok(value) = Source::of(name).value(env) else { return message };
            // Unchanged, escaped, and without the slashes around paths.
            let forms = [value.as_str(), value.trim_matches('/')];
            forms.into_iter().fold(message, |message, form| {
                let message = message.replace(&format!("'{form}'"), &format!("${{{name}}}"));
                message.replace(&format!("'{}'", form.escape_debug()), &format!("${{{name}}}"))
            })
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Text(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}
