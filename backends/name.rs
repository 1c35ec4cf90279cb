//! The names that keys may have. They are checked once, where they enter the program; a store never gets another text.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of a key: 1 to [`Name::MAX_LEN`] of `0-9 A-Z a-z _ -`, with `-` neither first nor last, and not just `_`.
///
/// This is the rule of the KES HTTP API. So a name is never a path, a hidden file, a wildcard or an escape sequence in
/// any store. Names are ordered by their bytes: `-` < digits < upper case < `_` < lower case. A clone is cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A text that is not a valid [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is empty, too long or contains invalid characters")]
pub struct InvalidName(String);

impl Name {
    /// The maximum number of characters in a name. Source: the KES HTTP API.
    pub const MAX_LEN: usize = 80;

    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] when the text breaks the rule of [`Name`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if Self::is_valid(text) { Ok(Self(text.into())) } else { Err(InvalidName(text.to_owned())) }
    }

    /// Whether [`Name::parse`] would accept this text.
    pub fn is_valid(text: &str) -> bool {
        !text.is_empty() && text != "_" && !text.ends_with('-') && is_valid_prefix(text)
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a [`Name`] can begin with this text, which may also be empty, end in `-` or be just `_`.
pub fn is_valid_prefix(text: &str) -> bool {
    text.len() <= Name::MAX_LEN && !text.starts_with('-') && text.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule_of_kes() {
        let longest = "k".repeat(Name::MAX_LEN);
        for good in ["a", "0", "A", "__", "_a", "a_", "a-b", "a--b", "_-_", "my-key-7", longest.as_str()] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        let too_long = "k".repeat(Name::MAX_LEN + 1);
        let bad = [
            "",
            "_",
            "-",
            "-a",
            "a-",
            ".",
            "..",
            ".a",
            "a.b",
            "a/b",
            "a b",
            "a\0",
            "ü",
            "a*",
            "a\n",
            too_long.as_str(),
        ];
        for bad in bad {
            assert!(!Name::is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn an_invalid_name_is_reported_in_the_words_of_the_api() {
        let error = Name::parse("a/b").unwrap_err();
        assert_eq!(error.to_string(), "'a/b' is empty, too long or contains invalid characters");
    }

    #[test]
    fn a_prefix_may_be_empty_and_end_in_a_dash() {
        for good in ["", "a", "a-", "_", "app-7", &"k".repeat(80)] {
            assert!(is_valid_prefix(good), "{good:?}");
        }
        for bad in ["-", "-a", "a*", "a/", "ü", &"k".repeat(81)] {
            assert!(!is_valid_prefix(bad), "{bad:?}");
        }
    }

    #[test]
    fn names_are_ordered_by_their_bytes() {
        let mut names = ["a", "Z", "_a", "0", "a-b", "a0", "A", "a_b", "ab"].map(|text| Name::parse(text).unwrap());
        names.sort();
        assert_eq!(names.map(|name| name.to_string()), ["0", "A", "Z", "_a", "a", "a-b", "a0", "a_b", "ab"]);
    }
}
