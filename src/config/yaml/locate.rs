//! Finds the position of a node in the text. `serde_yaml` reports only the positions of errors, so the text is parsed
//! again up to the node, where the parser fails on purpose.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A line and a column, both counted from 1.
pub(crate) type Position = (usize, usize);

/// The positions of settings, by their key paths.
pub(crate) type Positions = BTreeMap<String, Position>;

/// The position of the node with the path `at`, or of the key that belongs to it. An alias has the position of its
/// anchor.
pub(crate) fn locate(text: &str, at: &[usize], key: bool) -> Option<Position> {
    position(Seek { at, key }.deserialize(serde_yaml::Deserializer::from_str(text)).err()?.location())
}

/// The position of the second document in the text.
pub(crate) fn locate_second_document(text: &str) -> Option<Position> {
    let second = serde_yaml::Deserializer::from_str(text).nth(1)?;
    position(Stop.deserialize(second).err()?.location())
}

/// The position in an error of `serde_yaml`.
pub(crate) fn position(location: Option<serde_yaml::Location>) -> Option<Position> {
    location.map(|location| (location.line(), location.column()))
}

/// Walks to the node with this path and stops there.
struct Seek<'a> {
    at: &'a [usize],
    key: bool,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.at.is_empty() { Stop.deserialize(deserializer) } else { deserializer.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a mapping")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((index, at)) = self.at.split_first() else { return Ok(()) };
        for _ in 0..*index {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Seek { at, key: self.key }).map(drop)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((index, at)) = self.at.split_first() else { return Ok(()) };
        for _ in 0..*index {
            entries.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if self.key && at.is_empty() {
            return entries.next_key_seed(Stop).map(drop);
        }
        if entries.next_key::<IgnoredAny>()?.is_some() {
            entries.next_value_seed(Seek { at, key: self.key })?;
        }
        Ok(())
    }
}

/// Fails on any input.
struct Stop;

impl<'de> DeserializeSeed<'de> for Stop {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Stop {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the end of the search")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# head\na: 1\nb:\n  - x\n  - {y: z}\nc: &c\n  d:\nc: *c\n";

    #[test]
    fn keys_and_values_are_found() {
        for (at, key, position) in [
            (&[][..], false, (2, 1)),
            (&[0], true, (2, 1)),
            (&[0], false, (2, 4)),
            (&[1], true, (3, 1)),
            (&[1, 0], false, (4, 5)),
            (&[1, 1, 0], true, (5, 6)),
            (&[1, 1, 0], false, (5, 9)),
            (&[2, 0], true, (7, 3)),
            (&[3], true, (8, 1)),
            (&[3, 0], true, (7, 3)),
        ] {
            assert_eq!(locate(TEXT, at, key), Some(position), "{at:?} {key}");
        }
    }

    #[test]
    fn the_second_document_is_found() {
        assert_eq!(locate_second_document("a: b\n---\nc: d\n"), Some((3, 1)));
        assert_eq!(locate_second_document("a: b\n"), None);
    }
}
