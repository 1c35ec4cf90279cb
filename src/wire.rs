//! Encodings shared by servers and clients: hex, base64 in JSON, timestamps, the token that continues a listing.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub mod base64;

/// Separates the prefix from the last name in the token that continues a listing. No name may contain it, and it needs
/// no escaping in a URL (RFC 3986 section 2.3).
pub const CONTINUE: char = '~';

/// Lower-case hex, two digits per byte.
pub fn hex<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> String {
    bytes.into_iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// A time as RFC 3339 text. `None` becomes the first instant of year 1, which is the zero time of KES clients.
pub fn timestamp(time: Option<OffsetDateTime>) -> String {
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned())
}
