//! What servers and clients write alike: hex, base64 in JSON, times, the token that continues a listing.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub mod base64;

/// Between the prefix and the last name in the token that continues a listing. No name may hold it, and it needs no
/// escape in a URL (RFC 3986 section 2.3).
pub const CONTINUE: char = '~';

/// Two lower-case hex digits a byte.
pub fn hex<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> String {
    bytes.into_iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// A time on the wire: RFC 3339. A key without one gets the year 1, the zero time of KES's clients.
pub fn timestamp(time: Option<OffsetDateTime>) -> String {
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned())
}
