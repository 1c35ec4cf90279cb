//! Log levels on the scale of Go's `log/slog`: DEBUG -4, INFO 0, WARN 4, ERROR 8, and steps between them.

use std::str::FromStr;

/// From which level on a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing is written.
    Off,
    /// This level and all above it are written.
    At(i32),
}

/// A text that is no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no log level; write on, off, or one of DEBUG, INFO, WARN, ERROR, perhaps with a step such as ERROR+2")]
pub struct InvalidLevel;

/// Names and places on the scale (`log/slog`, constants `LevelDebug` to `LevelError`).
const NAMES: [(&str, i32); 4] = [("DEBUG", -4), ("INFO", 0), ("WARN", 4), ("ERROR", 8)];

impl Level {
    /// What `on` means: INFO.
    pub const ON: Self = Self::At(0);

    /// Whether an event of this level is written.
    pub fn shows(self, level: tracing::Level) -> bool {
        let place = match level {
            tracing::Level::ERROR => 8,
            tracing::Level::WARN => 4,
            tracing::Level::INFO => 0,
            tracing::Level::DEBUG => -4,
            tracing::Level::TRACE => -8,
        };
        matches!(self, Self::At(threshold) if threshold <= place)
    }
}

impl FromStr for Level {
    type Err = InvalidLevel;

    fn from_str(text: &str) -> Result<Self, InvalidLevel> {
        match text.to_ascii_lowercase().as_str() {
            "on" => return Ok(Self::ON),
            "off" => return Ok(Self::Off),
            _ => {}
        }
        let end = text.find(['+', '-']).unwrap_or(text.len());
        let (name, step) = text.split_at_checked(end).ok_or(InvalidLevel)?;
        let (_, place) = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).ok_or(InvalidLevel)?;
        let step: i32 = if step.is_empty() { 0 } else { step.parse().map_err(|_| InvalidLevel)? };
        place.checked_add(step).map(Self::At).ok_or(InvalidLevel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_in_slog_and_on_is_info() {
        for (text, level) in [
            ("on", Level::At(0)),
            ("off", Level::Off),
            ("OFF", Level::Off),
            ("DEBUG", Level::At(-4)),
            ("info", Level::At(0)),
            ("Warn", Level::At(4)),
            ("ERROR+2", Level::At(10)),
            ("INFO-1", Level::At(-1)),
        ] {
            assert_eq!(text.parse(), Ok(level), "{text}");
        }
        for text in ["", "true", "WARNING", "ERROR+", "ERROR++1", "+2", "INFO 1", "INFO+9999999999", "ERROR+2147483647"]
        {
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
