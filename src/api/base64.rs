//! `[]byte` fields: standard padded base64 in JSON (RFC 4648 section 4), read straight into memory that is wiped.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use zeroize::Zeroizing;

/// Bytes from a base64 field. `null` and an absent field (with `#[serde(default)]`) are no bytes. Line breaks are
/// skipped, as KES's decoder skips them.
#[derive(Default)]
pub struct Bytes(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Base64)
    }
}

struct Base64;

impl Visitor<'_> for Base64 {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a base64 string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
        let bytes = if text.contains(['\r', '\n']) {
            STANDARD.decode(Zeroizing::new(text.replace(['\r', '\n'], "")).as_bytes())
        } else {
            STANDARD.decode(text)
        };
        bytes.map(|bytes| Bytes(Zeroizing::new(bytes))).map_err(|_| E::custom("not standard base64"))
    }

    fn visit_unit<E: Error>(self) -> Result<Bytes, E> {
        Ok(Bytes::default())
    }
}

/// Bytes as a base64 field.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_standard_padded_base64_is_read() {
        let read = |json: &str| serde_json::from_str::<Bytes>(json).map(|bytes| bytes.0.to_vec());
        assert_eq!(read(r#""aGVsbG8=""#).unwrap(), b"hello");
        assert_eq!(read(r#""aGVs\nbG8=""#).unwrap(), b"hello");
        assert_eq!(read("null").unwrap(), b"");
        for bad in [r#""aGVsbG8""#, r#""_-8=""#, "5", "[1]", "{}", r#""aGVsbG8= ""#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
