//! Patterns that select keys: `app*`, `*-2024`, `tenant-?`, a single name, or `*` for all.

use std::fmt;
use std::str::FromStr;

/// A pattern for names, the same in every command: `*` matches any number of characters, `?` exactly one. A pattern
/// without either matches only that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

/// Why a text is not a valid [`Glob`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGlob {
    /// More likely an unset shell variable than a request for all keys.
    #[error("the pattern is empty; use * for all names")]
    Empty,
    /// No name can match it.
    #[error(
        "'{0}' is not a valid key pattern; use 0-9 A-Z a-z _ -, * for any number of characters and ? for exactly one"
    )]
    Invalid(String),
}

impl Glob {
    /// The pattern that matches every name.
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// The literal prefix that all matching names share.
    pub fn prefix(&self) -> &str {
        self.0.split(['*', '?']).next().unwrap_or_default()
    }

    /// Whether only one name can match.
    pub fn is_exact(&self) -> bool {
        self.prefix() == self.0
    }

    /// Whether `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }
}

impl FromStr for Glob {
    type Err = InvalidGlob;

    fn from_str(text: &str) -> Result<Self, InvalidGlob> {
        let pattern = Self(text.to_owned());
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-*?".contains(&byte);
        if text.is_empty() {
            return Err(InvalidGlob::Empty);
        }
        if !text.bytes().all(is_allowed) || !backends::is_valid_prefix(pattern.prefix()) {
            return Err(InvalidGlob::Invalid(text.to_owned()));
        }
        Ok(pattern)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Linear in practice: on a mismatch, only the last `*` backtracks, by one byte.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), name.get(from)) {
            (Some(b'*'), _) => {
                star = Some((at, from));
                at += 1;
            }
            (Some(b'?'), Some(_)) => (at, from) = (at + 1, from + 1),
            (Some(wanted), Some(found)) if wanted == found => (at, from) = (at + 1, from + 1),
            (None, None) => return true,
            _ => match &mut star {
                Some((star, taken)) if *taken < name.len() => {
                    *taken += 1;
                    (at, from) = (*star + 1, *taken);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_characters_and_a_question_mark_exactly_one() {
        for (pattern, prefix, matching, others) in [
            ("*", "", &["a", "z-9"][..], &[][..]),
            ("app", "app", &["app"], &["app1", "ap", "xapp"]),
            ("app*", "app", &["app", "app-1"], &["ap", "xapp"]),
            ("*-old", "", &["a-old", "b-old-old"], &["old", "a-old-"]),
            ("a*b*c", "a", &["abc", "aXbXc", "abcbc"], &["ab", "acb", "abcd"]),
            ("k-?", "k-", &["k-1", "k-x"], &["k-", "k-12"]),
            ("?*?", "", &["ab", "abc"], &["a"]),
            ("**", "", &["a"], &[]),
        ] {
            let pattern: Glob = pattern.parse().unwrap();
            assert_eq!(pattern.prefix(), prefix, "{pattern}");
            assert_eq!(pattern.is_exact(), !pattern.0.contains(['*', '?']), "{pattern}");
            for name in matching {
                assert!(pattern.matches(name), "{pattern} {name}");
            }
            for name in others {
                assert!(!pattern.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn a_pattern_that_cannot_match_any_name_is_rejected() {
        for text in ["", "a/b", "a.b", "[ab]", "-a*", "ü*", "a b", &format!("{}*", "k".repeat(81))] {
            assert!(text.parse::<Glob>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_with_many_stars_is_matched_quickly() {
        let pattern = format!("{}x", "*a".repeat(30));
        assert!(!matches(pattern.as_bytes(), "a".repeat(80).as_bytes()));
    }
}
