//! A value of the tree at its place: its type, its entries or items, its text with `${NAME}` resolved. Everything that
//! is wrong goes to the [`Report`]; which keys there are is asked in `section.rs` and said in `sections.rs`.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::node::{Node, Value};
use super::report::{Report, Spot};

/// Looks up an environment variable.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The key of YAML 1.1 that copies the entries of other mappings.
const MERGE: &str = "<<";

/// A value in the tree and the way to it.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    report: &'a Report<'a>,
    env: Env<'a>,
    spot: Spot<'a>,
}

/// The text of a scalar after `${NAME}` is resolved.
pub(crate) struct Text {
    value: Zeroizing<String>,
    variable: Option<String>,
}

/// A problem that is already in the report.
pub(crate) struct Reported;

impl Text {
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.value
    }

    /// The text, which stays one that is wiped.
    pub(crate) fn into_value(self) -> Zeroizing<String> {
        self.value
    }

    /// Whether the value may be a secret: it comes from the environment, or looks like an API key.
    pub(crate) fn is_private(&self) -> bool {
        self.variable.is_some() || is_api_key(&self.value)
    }

    /// How a problem may name this value: as it was written, unless it is private.
    pub(crate) fn shown(&self) -> String {
        match &self.variable {
            Some(name) => format!("the value of ${{{name}}}"),
            None if self.is_private() => "an API key".to_owned(),
            None => format!("'{}'", self.as_str()),
        }
    }
}

/// Whether the text begins as the API keys of KES do. They are secrets and are easily mistaken for identities.
pub(crate) fn is_api_key(text: &str) -> bool {
    text.starts_with("kes:")
}

impl<'a> Field<'a> {
    /// The whole file.
    pub(crate) fn root(report: &'a Report<'a>, env: Env<'a>, node: &'a Node) -> Self {
        Self { report, env, spot: Spot { path: String::new(), node, at_key: false } }
    }

    /// The config cannot be used because of this value.
    pub(crate) fn error(&self, text: impl Into<String>) {
        self.report.error(&self.spot(), text);
    }

    /// The value is doubtful.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.report.warn(&self.spot(), text);
    }

    /// The config cannot be used because of the key of this value.
    pub(crate) fn error_at_key(&self, text: impl Into<String>) {
        self.report.error(&self.spot, text);
    }

    /// Reports that a mapping lacks a key. `path` is that of the key, from here. Says nothing when this is no mapping,
    /// which is reported already.
    pub(crate) fn missing(&self, path: &str, todo: &str) {
        if matches!(self.spot.node.value, Value::Map(_) | Value::Null) {
            let spot = self.child(path, self.spot.node).spot;
            self.report.error(&Spot { at_key: self.spot.at_key, ..spot }, format!("is missing; {todo}"));
        }
    }

    /// How many errors the whole file has so far.
    pub(crate) fn errors(&self) -> usize {
        self.report.errors()
    }

    /// `said` with `${NAME}` wherever it quotes the value of an environment variable that is used in here.
    pub(crate) fn without_values(&self, said: String) -> String {
        let env = |name: &str| (self.env)(name).map(Zeroizing::new);
        hide(self.spot.node, &env, said)
    }

    /// The key path.
    pub(crate) fn path(&self) -> &str {
        &self.spot.path
    }

    /// ` (line 7)`, for problems that speak of a second place.
    pub(crate) fn line(&self) -> String {
        self.report.line(&self.spot())
    }

    /// Whether nothing stands there.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.spot.node.value, Value::Null)
    }

    /// Whether nothing stands there, or a text that is empty.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.spot.node.value {
            Value::Null => true,
            Value::Text(text) => match variable(text) {
                Some(name) => (self.env)(name).map(Zeroizing::new).is_some_and(|value| value.is_empty()),
                None => text.is_empty(),
            },
            Value::List(_) | Value::Map(_) => false,
        }
    }

    /// Whether it has the type of a mapping, perhaps without anything in it.
    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self.spot.node.value, Value::Map(_))
    }

    /// Whether it is a single value.
    pub(crate) fn is_scalar(&self) -> bool {
        matches!(self.spot.node.value, Value::Text(_))
    }

    /// Problems point at a scalar itself, and at the key of everything else.
    fn spot(&self) -> Spot<'a> {
        let scalar = matches!(self.spot.node.value, Value::Text(_));
        Spot { at_key: self.spot.at_key && !scalar, ..self.spot.clone() }
    }

    fn child(&self, name: &str, node: &'a Node) -> Self {
        let parent = &self.spot.path;
        let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
        Self { spot: Spot { path, node, at_key: true }, ..self.clone() }
    }

    /// The text of a scalar; nothing when it is empty.
    pub(crate) fn text(&self) -> Result<Option<Text>, Reported> {
        let text = match &self.spot.node.value {
            Value::Null => return Ok(None),
            Value::Text(text) => text,
            other => {
                self.error(format!("expected a single value, found {}; write it on the line of its key", kind(other)));
                return Err(Reported);
            }
        };
        let Some(name) = variable(text) else {
            return Ok(Some(Text { value: text.clone(), variable: None }).filter(|text| !text.value.is_empty()));
        };
        let sound = |c: char| c == '_' || c.is_ascii_alphanumeric();
        if name.is_empty() || !name.chars().all(sound) {
            self.error(
                "holds no variable name between ${ and }; write ${NAME}, of letters, digits and _, as the whole value",
            );
            return Err(Reported);
        }
        let Some(value) = (self.env)(name) else {
            self.error(format!(
                "the environment variable {name} is not set; set it, or write the value in place of ${{{name}}}"
            ));
            return Err(Reported);
        };
        Ok(Some(Text { value: value.into(), variable: Some(name.to_owned()) }).filter(|text| !text.value.is_empty()))
    }

    /// What `read` makes of the text; nothing when it is empty. `read` says what is wrong and what to do.
    pub(crate) fn parse<T>(&self, read: impl FnOnce(&Text) -> Result<T, String>) -> Option<T> {
        let text = self.text().ok()??;
        if text.variable.is_none() && text.value.contains("${") {
            self.error(
                "holds a ${NAME} that is not the whole value, and so is not replaced; \
                 put the whole value into the variable",
            );
            return None;
        }
        read(&text).map_err(|problem| self.error(problem)).ok()
    }

    /// As [`Field::parse`], but to be empty is an error too.
    pub(crate) fn parse_required<T>(&self, todo: &str, read: impl FnOnce(&Text) -> Result<T, String>) -> Option<T> {
        if self.text().ok()?.is_none() {
            self.error(format!("is empty; {todo}"));
            return None;
        }
        self.parse(read)
    }

    /// The items of a list; none when it is empty.
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
                    "expected a list, found {}; write each item on a line of its own after '- '",
                    kind(other)
                ));
                Vec::new()
            }
        }
    }

    /// The entries of a mapping; none when it is empty. Duplicates are reported, merges (`<<`) are done.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Field<'a>)> {
        let map = match &self.spot.node.value {
            Value::Null => return Vec::new(),
            Value::Map(map) => map,
            other => {
                self.error(format!(
                    "expected keys with values, found {}; write 'KEY: VALUE' lines, indented",
                    kind(other)
                ));
                return Vec::new();
            }
        };
        let mut seen: BTreeMap<&'a str, Spot<'a>> = BTreeMap::new();
        let mut entries = Vec::with_capacity(map.len());
        for (key, node) in map {
            let field = self.child(key, node);
            if let Some(first) = seen.get(key.as_str()) {
                let line = self.report.line(first);
                field.error_at_key(format!("duplicate key, it has a value already{line}; remove one of the two"));
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

    /// The entries that the value of a `<<` lends to `target`; the first of a name counts.
    fn merged(&self, target: &Self) -> Vec<(&'a str, Field<'a>)> {
        let lenders = match &self.spot.node.value {
            Value::List(_) => self.items(),
            _ => vec![self.clone()],
        };
        let adopt = |(key, field): (&'a str, Field<'a>)| (key, target.child(key, field.spot.node));
        lenders.iter().flat_map(Field::entries).map(adopt).collect()
    }
}

/// `NAME` of `${NAME}`.
fn variable(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}')
}

fn hide(node: &Node, env: &dyn Fn(&str) -> Option<Zeroizing<String>>, said: String) -> String {
    match &node.value {
        Value::Null => said,
        Value::List(items) => items.iter().fold(said, |said, item| hide(item, env, said)),
        Value::Map(entries) => entries.iter().fold(said, |said, (_, node)| hide(node, env, said)),
        Value::Text(text) => {
            let Some((name, value)) = variable(text).and_then(|name| Some((name, env(name)?))) else { return said };
            // As it is, escaped, and without the slashes that surround paths.
            let forms = [value.as_str(), value.trim_matches('/')];
            forms.into_iter().fold(said, |said, form| {
                let said = said.replace(&format!("'{form}'"), &format!("${{{name}}}"));
                said.replace(&format!("'{}'", form.escape_debug()), &format!("${{{name}}}"))
            })
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Text(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "keys with values",
    }
}
