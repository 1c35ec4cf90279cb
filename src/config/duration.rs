//! Durations in Go's format (`time.ParseDuration`, `Duration.String`): `10s`, `1h30m`, `1.5ms`; `5m` prints as `5m0s`.
//!
//! Used by config files and clients of KES.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest duration in Go, an `i64` of nanoseconds: about 292 years.
const MAX_NANOS: u64 = i64::MAX as u64;

/// Units in nanoseconds, from the longest to the shortest. Micro may be written as U+00B5, U+03BC or `u`.
const UNITS: [(&str, u64); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ns", 1),
];

/// A duration that is parsed and printed as in Go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

/// Why a text is not a valid duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Not a sequence of numbers with units.
    #[error("is not a valid duration; use numbers with units, such as 10s, 5m or 1h30m")]
    Malformed,
    /// A number without a unit.
    #[error("has no unit; add ns, us, ms, s, m or h after each number, as in 10s")]
    NoUnit,
    /// A unit that Go does not have, such as `d`.
    #[error("has an unknown unit; use ns, us, ms, s, m or h (a day is 24h)")]
    UnknownUnit,
    /// Less than zero.
    #[error("is negative; use 0 or more")]
    Negative,
    /// More than 292 years.
    #[error("is too long; the maximum is 2562047h")]
    TooLong,
}

impl FromStr for GoDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let mut nanos = 0_u64;
        if unsigned != "0" {
            if unsigned.is_empty() {
                return Err(InvalidDuration::Malformed);
            }
            let mut rest = unsigned;
            while !rest.is_empty() {
                let (part, after) = leading_part(rest)?;
                nanos = nanos.checked_add(part).filter(|sum| *sum <= MAX_NANOS).ok_or(InvalidDuration::TooLong)?;
                rest = after;
            }
        }
        if text.starts_with('-') && nanos > 0 {
            return Err(InvalidDuration::Negative);
        }
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), u64::from(self.0.subsec_nanos()));
        if seconds == 0 {
            return match nanos {
                0 => f.write_str("0s"),
                1..1_000 => write!(f, "{nanos}ns"),
                1_000..1_000_000 => write!(f, "{}µs", Decimal(nanos, 1_000)),
                _ => write!(f, "{}ms", Decimal(nanos, 1_000_000)),
            };
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if seconds >= 60 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}", seconds % 60)?;
        write!(f, "{}s", Fraction(nanos, 1_000_000_000))
    }
}

/// The first number and unit in `text` as nanoseconds, and the remaining text.
fn leading_part(text: &str) -> Result<(u64, &str), InvalidDuration> {
    let (whole, rest) = leading_digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), leading_digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err(InvalidDuration::Malformed);
    }
    let unit_end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(unit_end).unwrap_or((rest, ""));
    if unit.is_empty() {
        return Err(InvalidDuration::NoUnit);
    }
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(InvalidDuration::UnknownUnit)?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| InvalidDuration::TooLong)? };
    let whole = whole.checked_mul(*unit).ok_or(InvalidDuration::TooLong)?;
    // 13 digits are enough for the nanoseconds of an hour; the product stays below 2^86.
    let mut scale = 1_u128;
    let mut numerator = 0_u128;
    for digit in fraction.bytes().take(13) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    let part = u64::try_from(numerator * u128::from(*unit) / scale).map_err(|_| InvalidDuration::TooLong)?;
    Ok((whole.checked_add(part).ok_or(InvalidDuration::TooLong)?, rest))
}

fn leading_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// `.0 / .1`, where `.1` is a power of ten, without trailing zeros.
struct Decimal(u64, u64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0 / self.1, Fraction(self.0 % self.1, self.1))
    }
}

/// The fraction after the whole number: `.5` for (500, 1000), nothing for (0, 1000).
struct Fraction(u64, u64);

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return Ok(());
        }
        let width = self.1.ilog10() as usize;
        let digits = format!("{:0width$}", self.0);
        write!(f, ".{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_parsed_and_printed_as_in_go() {
        for (text, nanos, printed) in [
            ("0", 0, "0s"),
            ("-0s", 0, "0s"),
            ("+5m", 300_000_000_000, "5m0s"),
            ("5m0s", 300_000_000_000, "5m0s"),
            ("10s", 10_000_000_000, "10s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("1.5h", 5_400_000_000_000, "1h30m0s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1h0m0.5s", 3_600_500_000_000, "1h0m0.5s"),
            ("300ms", 300_000_000, "300ms"),
            ("1500us", 1_500_000, "1.5ms"),
            ("1µs", 1_000, "1µs"),
            ("1\u{3bc}s", 1_000, "1µs"),
            ("1100ns", 1_100, "1.1µs"),
            (".5s", 500_000_000, "500ms"),
            ("1.s", 1_000_000_000, "1s"),
            ("30m1h", 5_400_000_000_000, "1h30m0s"),
            ("0.0000000001s", 0, "0s"),
            ("2562047h47m16.854775807s", MAX_NANOS, "2562047h47m16.854775807s"),
        ] {
            let duration: GoDuration = text.parse().unwrap();
            assert_eq!(duration.0, Duration::from_nanos(nanos), "{text}");
            assert_eq!(duration.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn durations_that_go_rejects_and_negative_ones_are_rejected() {
        use InvalidDuration::{Malformed, Negative, NoUnit, TooLong, UnknownUnit};
        for (text, error) in [
            ("", Malformed),
            ("-", Malformed),
            ("s", Malformed),
            (".s", Malformed),
            ("ten", Malformed),
            ("1s s", UnknownUnit),
            ("--1s", Malformed),
            ("10", NoUnit),
            ("1h30", NoUnit),
            ("1d", UnknownUnit),
            ("10S", UnknownUnit),
            ("10 s", UnknownUnit),
            ("1m-5s", UnknownUnit),
            ("-5s", Negative),
            ("2562048h", TooLong),
            ("99999999999999999999h", TooLong),
            ("2562047h47m16.854775808s", TooLong),
        ] {
            assert_eq!(text.parse::<GoDuration>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_round_trips(nanos in 0..=MAX_NANOS) {
            let duration = GoDuration(Duration::from_nanos(nanos));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-+0-9.hmsuµn ]{0,24}") {
            let _ = text.parse::<GoDuration>();
        }
    }
}
