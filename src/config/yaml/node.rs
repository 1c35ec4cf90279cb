//! YAML text as a tree in which every scalar keeps its original text.
//!
//! `serde_yaml` turns `0012` and `1.10` into numbers if any type is requested, and `~` into a text if a text is
//! requested. Therefore the text is parsed twice: first for the shape of the tree, then for the texts of its scalars.
//! The meaning of the keys is defined elsewhere.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::locate::{Position, locate_second_document, position};

/// A value and its path.
pub(crate) struct Node {
    /// Index of the entry or item at each level, from the root; see [`super::locate`].
    pub(crate) at: Vec<usize>,
    pub(crate) value: Value,
}

/// The kinds of values.
pub(crate) enum Value {
    /// No value, `~` or `null`.
    Null,
    /// Any other scalar. It may be a secret.
    Text(Zeroizing<String>),
    List(Vec<Node>),
    /// In the order of the file, duplicate keys included.
    Map(Vec<(String, Node)>),
}

/// Why a text cannot be parsed: the position, and the problem with what to do. Contains nothing of the text.
#[derive(Debug)]
pub(crate) struct ParseError(pub(crate) Option<Position>, pub(crate) String);

/// Parses a single document.
///
/// # Errors
/// [`ParseError`] if the text is not valid YAML, contains several documents, or has tags or non-scalar keys.
pub(crate) fn read(text: &str) -> Result<Node, ParseError> {
    let document = || serde_yaml::Deserializer::from_str(text);
    let mut root = Shape(Vec::new()).deserialize(document()).map_err(|error| explain(text, &error))?;
    Fill(&mut root).deserialize(document()).map_err(|error| explain(text, &error))?;
    Ok(root)
}

/// Replaces the messages of `serde_yaml` that would quote the text.
fn explain(text: &str, error: &serde_yaml::Error) -> ParseError {
    let message = error.to_string();
    let explained = if message.contains("invalid type") || message.contains("invalid value") {
        "YAML tags ('!...') and non-scalar keys are not supported; remove the tag, or use a plain key".to_owned()
    } else if message.contains("more than one document") {
        let second = locate_second_document(text);
        let explained =
            "a second YAML document starts here; the config must be a single document, without a '---' in it";
        return ParseError(second, explained.into());
    } else {
        format!(
            "not valid YAML: {message}; \
             indent with spaces, and quote values that contain ': ' or begin with a special character"
        )
    };
    ParseError(position(error.location()), explained)
}

/// Parses everything except the texts of scalars.
struct Shape(Vec<usize>);

impl Shape {
    fn node(self, value: Value) -> Node {
        Node { at: self.0, value }
    }

    fn child(&self, index: usize) -> Self {
        Self(self.0.iter().copied().chain([index]).collect())
    }

    fn scalar(self) -> Node {
        self.node(Value::Text(Zeroizing::default()))
    }
}

impl<'de> DeserializeSeed<'de> for Shape {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(self.scalar())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(self.scalar())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(self.scalar())
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(self.scalar())
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(self.scalar())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(self.scalar())
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(self.scalar())
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(self.node(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(self.node(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.child(list.len()))? {
            list.push(item);
        }
        Ok(self.node(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            map.push((key, entries.next_value_seed(self.child(map.len()))?));
        }
        Ok(self.node(Value::Map(map)))
    }
}

/// Parses a key as its original text.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain key")
    }

    fn visit_str<E>(self, key: &str) -> Result<String, E> {
        Ok(key.to_owned())
    }
}

/// Adds the texts of the scalars to a tree that [`Shape`] has created.
struct Fill<'a>(&'a mut Node);

impl<'de> DeserializeSeed<'de> for Fill<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.0.value {
            Value::Null => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            Value::Text(_) => deserializer.deserialize_str(self),
            Value::List(_) => deserializer.deserialize_seq(self),
            Value::Map(_) => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Fill<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was read before")
    }

    fn visit_str<E: Error>(self, written: &str) -> Result<(), E> {
        if let Value::Text(text) = &mut self.0.value {
            written.clone_into(text);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if let Value::List(list) = &mut self.0.value {
            for item in list {
                items.next_element_seed(Fill(item))?;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        if let Value::Map(map) = &mut self.0.value {
            for (_, value) in map {
                entries.next_key::<IgnoredAny>()?;
                entries.next_value_seed(Fill(value))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".to_owned(),
            Value::Text(text) => format!("'{}'", text.as_str()),
            Value::List(list) => format!("[{}]", list.iter().map(written).collect::<Vec<_>>().join(" ")),
            Value::Map(map) => {
                let entries = map.iter().map(|(key, value)| format!("{key}={}", written(value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn scalars_keep_their_original_text() {
        for (text, tree) in [
            ("a: 0012", "{a='0012'}"),
            ("a: 1.10", "{a='1.10'}"),
            ("a: 0x10", "{a='0x10'}"),
            ("a: 340282366920938463463374607431768211455", "{a='340282366920938463463374607431768211455'}"),
            ("a: -170141183460469231731687303715884105728", "{a='-170141183460469231731687303715884105728'}"),
            ("a: TRUE", "{a='TRUE'}"),
            ("a: on", "{a='on'}"),
            ("a: .inf", "{a='.inf'}"),
            ("a: \"x\\ty\"", "{a='x\ty'}"),
            ("a: |\n  x\n  y\n", "{a='x\ny\n'}"),
            ("a: !!str 12", "{a='12'}"),
        ] {
            assert_eq!(written(&read(text).unwrap()), tree, "{text}");
        }
    }

    #[test]
    fn a_missing_value_and_a_tilde_are_null_but_quoted_text_is_not() {
        assert_eq!(written(&read("a:\nb: ~\nc: null\nd: '~'\ne: ''\n").unwrap()), "{a=null b=null c=null d='~' e=''}");
        assert_eq!(written(&read("").unwrap()), "null");
        assert_eq!(written(&read("# nothing\n").unwrap()), "null");
        assert_eq!(written(&read("---\n...\n").unwrap()), "null");
    }

    #[test]
    fn aliases_are_expanded_and_duplicates_are_kept() {
        let text = "a: &x {k: [1, ~, {v: 02}]}\nb: *x\n1: &y 3\na: *y\n";
        assert_eq!(written(&read(text).unwrap()), "{a={k=['1' null {v='02'}]} b={k=['1' null {v='02'}]} 1='3' a='3'}");
    }

    #[test]
    fn invalid_and_unsupported_yaml_is_rejected_without_quoting_it() {
        for (text, position, word) in [
            ("a: !tag secret", Some((1, 4)), "tag"),
            ("!tag {a: secret}", Some((1, 1)), "tag"),
            ("a: !!int secret", Some((1, 4)), "tag"),
            ("{[secret]: b}", Some((1, 2)), "key"),
            ("a: [secret", Some((2, 1)), "not valid YAML"),
            ("a: secret\n b: secret", Some((2, 3)), "not valid YAML"),
            ("a: @secret", Some((1, 4)), "not valid YAML"),
            ("a: secret\n---\nc: d", Some((3, 1)), "second"),
            ("a: &secret [*secret]", Some((1, 4)), "recursion"),
            ("a: *secret", Some((1, 4)), "anchor"),
        ] {
            let ParseError(found, message) = read(text).err().unwrap();
            assert_eq!(found, position, "{text}: {message}");
            assert!(message.contains(word) && !message.contains("secret"), "{text}: {message}");
        }
    }
}
