//! Log levels on the scale of Go's `log/slog`: DEBUG -4, INFO 0, WARN 4, ERROR 8, and values in between.

use std::str::FromStr;

/// The lowest level that a log shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The log shows nothing.
    Off,
    /// The log shows this level and higher ones.
    At(i32),
}

/// A text that is not a valid level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a valid log level; use on, off, DEBUG, INFO, WARN or ERROR, optionally with an offset as in ERROR+2")]
pub struct InvalidLevel;

/// Level names and their values (`log/slog`, constants `LevelDebug` to `LevelError`).
const NAMES: [(&str, i32); 4] = [("DEBUG", -4), ("INFO", 0), ("WARN", 4), ("ERROR", 8)];

impl Level {
    /// The level of `on`: INFO.
    pub const ON: Self = Self::At(0);

    /// Whether the log shows an event of this level.
    pub fn shows(self, level: tracing::Level) -> bool {
        let value = match level {
            tracing::Level::ERROR => 8,
            tracing::Level::WARN => 4,
            tracing::Level::INFO => 0,
            tracing::Level::DEBUG => -4,
            tracing::Level::TRACE => -8,
        };
        matches!(self, Self::At(threshold) if threshold <= value)
    }
}

impl FromStr for Level {
    type Err = InvalidLevel;

    fn from_str(text: &str) -> Result<Self, InvalidLevel> {
        match text.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" => return Ok(Self::ON),
            "off" | "false" | "no" => return Ok(Self::Off),
            _ => {}
        }
        // A number is a level of slog, as KES reads it.
        if let Ok(value) = text.parse() {
            return Ok(Self::At(value));
        }
        let end = text.find(['+', '-']).unwrap_or(text.len());
        let (name, offset) = text.split_at_checked(end).ok_or(InvalidLevel)?;
        let (_, value) = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).ok_or(InvalidLevel)?;
        let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().map_err(|_| InvalidLevel)? };
        value.checked_add(offset).map(Self::At).ok_or(InvalidLevel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_parsed_as_in_slog_and_on_is_info() {
        for (text, level) in [
            ("on", Level::At(0)),
            ("off", Level::Off),
            ("OFF", Level::Off),
            ("DEBUG", Level::At(-4)),
            ("info", Level::At(0)),
            ("Warn", Level::At(4)),
            ("ERROR+2", Level::At(10)),
            ("INFO-1", Level::At(-1)),
            ("4", Level::At(4)),
            ("-4", Level::At(-4)),
            ("true", Level::ON),
            ("false", Level::Off),
        ] {
            assert_eq!(text.parse(), Ok(level), "{text}");
        }
        for text in ["", "WARNING", "ERROR+", "ERROR++1", "INFO 1", "INFO+9999999999", "ERROR+2147483647"] {
            assert_eq!(text.parse::<Level>(), Err(InvalidLevel), "{text}");
        }
    }

    #[test]
    fn a_threshold_shows_its_level_and_all_above() {
        assert!(Level::ON.shows(tracing::Level::INFO));
        assert!(Level::At(5).shows(tracing::Level::ERROR));
        assert!(!Level::At(5).shows(tracing::Level::WARN));
        assert!(!Level::At(9).shows(tracing::Level::ERROR));
        assert!(!Level::Off.shows(tracing::Level::ERROR));
    }
}
