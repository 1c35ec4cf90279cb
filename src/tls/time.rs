//! Times in certificates, as messages show them.

use time::OffsetDateTime;

/// A time in seconds since 1970, as in `2026-11-28 17:04 UTC`.
pub fn utc(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(
        |_| "an unknown time".to_owned(),
        |time| format!("{} {:02}:{:02} UTC", time.date(), time.hour(), time.minute()),
    )
}

/// The current time in seconds since 1970.
pub fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_to_the_minute() {
        assert_eq!(utc(1_580_688_000), "2020-02-03 00:00 UTC");
        assert_eq!(utc(i64::MAX), "an unknown time");
    }
}
