//! A mapping with a fixed set of keys: reports unknown and missing ones.

use std::collections::BTreeMap;

use super::field::{Field, Text};
use crate::config::history::{OldKey, old_key};

/// A mapping with a fixed set of keys.
pub(crate) struct Section<'a> {
    this: Field<'a>,
    fields: BTreeMap<&'a str, Field<'a>>,
    /// Keys of older KES releases, which have no effect.
    old: Vec<(&'static OldKey, Field<'a>)>,
}

impl<'a> Section<'a> {
    /// The mapping `this`. Reports keys that are not in `known`.
    pub(crate) fn new(this: Field<'a>, known: &[&str]) -> Self {
        let mut fields = BTreeMap::new();
        let mut old = Vec::new();
        for (key, field) in this.entries() {
            if known.contains(&key) {
                fields.insert(key, field);
            } else if let Some(key) = old_key(this.path(), key) {
                field.warn_at_key(key.advice());
                old.push((key, field));
            } else {
                field.error_at_key(unknown("unknown key", key, known));
            }
        }
        Self { this, fields, old }
    }

    /// The value of a key; `None` if it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Field<'a>> {
        self.fields.get(key).filter(|field| !field.is_null())
    }

    /// Whether a key is absent or empty.
    pub(crate) fn lacks(&self, key: &str) -> bool {
        self.get(key).is_none_or(Field::is_empty)
    }

    /// The value of a key, which may be null.
    pub(crate) fn get_or_null(&self, key: &str) -> Option<&Field<'a>> {
        self.fields.get(key)
    }

    /// Parses the value of a key with `read`; `None` if it is absent or empty.
    pub(crate) fn parse<T>(&self, key: &str, read: impl FnOnce(&Text) -> Result<T, String>) -> Option<T> {
        self.get(key)?.parse(read)
    }

    /// As [`Section::parse`], but an absent or empty value is an error.
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

    /// The section of a key; empty if the value is null, and `None` if the key is absent.
    pub(crate) fn section(&self, key: &str, known: &[&str]) -> Option<Section<'a>> {
        Some(Self::new(self.fields.get(key)?.clone(), known))
    }

    /// Reports a missing key. If the file has it under an old name, that is what to do about it.
    pub(crate) fn missing(&self, path: &str, todo: &str) {
        match self.old.iter().find(|(key, _)| key.new_name() == Some(path)) {
            Some((_, old)) => {
                self.this.missing(path, &format!("set it to the value of {}{}, its old name", old.path(), old.line()));
            }
            None => self.this.missing(path, todo),
        }
    }
}

/// `unknown key; did you mean 'expiry'? valid here: expiry`.
pub(crate) fn unknown(what: &str, key: &str, known: &[&str]) -> String {
    let similar = |name: &&&str| strsim::jaro_winkler(key, name);
    let nearest = known.iter().max_by(|a, b| similar(a).total_cmp(&similar(b))).filter(|name| similar(name) >= 0.75);
    let guess = nearest.map(|name| format!("did you mean '{name}'? ")).unwrap_or_default();
    match known {
        [] => format!("{what}; remove it, this section has no keys"),
        _ => format!("{what}; {guess}valid here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_for_an_unknown_key_suggests_the_most_similar_one_and_lists_all() {
        let known = ["any", "unused", "offline"];
        assert_eq!(
            unknown("unknown key", "ofline", &known),
            "unknown key; did you mean 'offline'? valid here: any, unused, offline"
        );
        assert_eq!(unknown("unknown key", "zzz", &known), "unknown key; valid here: any, unused, offline");
        assert_eq!(unknown("unknown key", "path", &[]), "unknown key; remove it, this section has no keys");
    }
}
