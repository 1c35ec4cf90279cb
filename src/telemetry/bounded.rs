//! Text of clients in lines of the log and in audit events, bounded in length.

use std::borrow::Cow;

/// The maximum size of a path or a reason in a line, in bytes as escaped by JSON.
pub const MAX_TEXT: usize = 1 << 10;

/// Bytes that JSON makes of one, at most.
const LONGEST_ESCAPE: usize = 6;

/// The text, or its beginning if it has more than `max` bytes in JSON; then a mark says how long it is. Without a copy
/// if it is short enough.
pub fn bounded(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max / LONGEST_ESCAPE {
        return Cow::Borrowed(text); // most are
    }
    let mut size = 0;
    for (at, char) in text.char_indices() {
        size += match char {
            '"' | '\\' => 2,
            _ if char.is_control() => LONGEST_ESCAPE,
            _ => char.len_utf8(),
        };
        if size > max {
            let (start, _) = text.split_at(at);
            return Cow::Owned(format!("{start}... ({} bytes)", text.len()));
        }
    }
    Cow::Borrowed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters_and_marked() {
        assert_eq!(bounded(&"a".repeat(MAX_TEXT), MAX_TEXT), "a".repeat(MAX_TEXT));
        let long = "ü".repeat(MAX_TEXT);
        assert_eq!(bounded(&long, MAX_TEXT), format!("{}... (2048 bytes)", "ü".repeat(MAX_TEXT / 2)));
        assert_eq!(
            bounded(&format!("a{long}"), MAX_TEXT),
            format!("a{}... (2049 bytes)", "ü".repeat(MAX_TEXT / 2 - 1))
        );
    }

    #[test]
    fn escapes_count() {
        for text in ["\0", "\"", "\\", "\n", "\u{7f}"] {
            let json = serde_json::to_string(&bounded(&text.repeat(5_000), MAX_TEXT)).unwrap();
            assert!(json.len() < MAX_TEXT + 40, "{text:?}: {}", json.len());
        }
    }
}
