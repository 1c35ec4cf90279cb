//! A mapping of which all keys are known: what is unknown in it, and what it lacks.

use std::collections::BTreeMap;

use super::field::{Field, Text};

/// A mapping of which all keys are known.
pub(crate) struct Section<'a> {
    this: Field<'a>,
    fields: BTreeMap<&'a str, Field<'a>>,
}

impl<'a> Section<'a> {
    /// The mapping at `this`, whose keys must all be among `known`.
    pub(crate) fn new(this: Field<'a>, known: &[&str]) -> Self {
        let mut fields = BTreeMap::new();
        for (key, field) in this.entries() {
            if known.contains(&key) {
                fields.insert(key, field);
            } else {
                field.error_at_key(unknown("unknown key", key, known));
            }
        }
        Self { this, fields }
    }

    /// The value of a key; nothing when it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Field<'a>> {
        self.fields.get(key).filter(|field| !field.is_null())
    }

    /// Whether a key is absent or empty.
    pub(crate) fn lacks(&self, key: &str) -> bool {
        self.get(key).is_none_or(Field::is_empty)
    }

    /// The value of a key, even if it is null.
    pub(crate) fn get_or_null(&self, key: &str) -> Option<&Field<'a>> {
        self.fields.get(key)
    }

    /// What `read` makes of the value of a key; nothing when it is absent or empty.
    pub(crate) fn parse<T>(&self, key: &str, read: impl FnOnce(&Text) -> Result<T, String>) -> Option<T> {
        self.get(key)?.parse(read)
    }

    /// As [`Section::parse`], but to be absent or empty is an error.
    pub(crate) fn parse_required<T>(
        &self,
        key: &str,
        todo: &str,
        read: impl FnOnce(&Text) -> Result<T, String>,
    ) -> Option<T> {
        let Some(field) = self.fields.get(key) else {
            self.missing(key, todo);
            return None;
        };
        field.parse_required(todo, read)
    }

    /// The section of a key; when it is absent or null, an empty section.
    pub(crate) fn section(&self, key: &str, known: &[&str]) -> Option<Section<'a>> {
        Some(Self::new(self.fields.get(key)?.clone(), known))
    }

    /// Reports that a key is absent.
    pub(crate) fn missing(&self, path: &str, todo: &str) {
        self.this.missing(path, todo);
    }
}

/// `unknown key; did you mean 'expiry'? known here: expiry`.
pub(crate) fn unknown(what: &str, key: &str, known: &[&str]) -> String {
    let similar = |name: &&&str| strsim::jaro_winkler(key, name);
    let nearest = known.iter().max_by(|a, b| similar(a).total_cmp(&similar(b))).filter(|name| similar(name) >= 0.75);
    let guess = nearest.map(|name| format!("did you mean '{name}'? ")).unwrap_or_default();
    match known {
        [] => format!("{what}; remove it, nothing is known here"),
        _ => format!("{what}; {guess}known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_word_is_told_the_nearest_known_one_and_all_of_them() {
        let known = ["any", "unused", "offline"];
        assert_eq!(
            unknown("unknown key", "ofline", &known),
            "unknown key; did you mean 'offline'? known here: any, unused, offline"
        );
        assert_eq!(unknown("unknown key", "zzz", &known), "unknown key; known here: any, unused, offline");
        assert_eq!(unknown("unknown key", "path", &[]), "unknown key; remove it, nothing is known here");
    }
}
