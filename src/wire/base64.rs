//! `[]byte` fields: standard padded base64 in JSON (RFC 4648 section 4), decoded directly into memory that is wiped.

use std::fmt;

use base64_simd::STANDARD;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::crypto::key::{Key, Wiped};

/// The bytes of a base64 field, with spare capacity for the [`Key::OVERHEAD`] of a message. `null` and an absent field
/// give no bytes. Line breaks are skipped, as by KES's decoder.
#[derive(Default)]
pub struct Bytes(pub Wiped);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(Base64)
    }
}

struct Base64;

impl<'de> Visitor<'de> for Base64 {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a base64 string")
    }

    fn visit_none<E: Error>(self) -> Result<Bytes, E> {
        Ok(Bytes::default())
    }

    // As bytes, because the base64 decoder validates them: a str would need an additional check for UTF-8.
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_bytes(self)
    }

    // Borrowed text has no escapes, so a line break in it would be an unescaped one, which JSON does not allow.
    fn visit_borrowed_bytes<E: Error>(self, text: &'de [u8]) -> Result<Bytes, E> {
        decode(text).map(Bytes).ok_or_else(|| E::custom("not standard base64"))
    }

    fn visit_bytes<E: Error>(self, text: &[u8]) -> Result<Bytes, E> {
        decode(text)
            .or_else(|| decode(&without_line_breaks(text)?))
            .map(Bytes)
            .ok_or_else(|| E::custom("not standard base64"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
        self.visit_bytes(text.as_bytes())
    }
}

fn decode(text: &[u8]) -> Option<Wiped> {
    let mut bytes = Wiped::with_capacity(text.len() / 4 * 3 + Key::OVERHEAD);
    STANDARD.decode_append(text, bytes.as_mut_vec()).ok()?;
    Some(bytes)
}

/// The text without its line breaks; `None` if it has none.
fn without_line_breaks(text: &[u8]) -> Option<Wiped> {
    memchr::memchr2(b'\r', b'\n', text)?;
    let mut plain = Wiped::from(text);
    plain.as_mut_vec().retain(|byte| !matches!(byte, b'\r' | b'\n'));
    Some(plain)
}

/// A JSON object of base64 fields: `{"NAME":"BASE64",...}`, written into a buffer of the exact size. Names must not
/// need escaping.
pub fn object(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let length: usize =
        fields.iter().map(|(name, bytes)| name.len() + STANDARD.encoded_length(bytes.len()) + r#""":"","#.len()).sum();
    let mut json = Vec::with_capacity(length + "{}".len());
    for (name, bytes) in fields {
        json.push(if json.is_empty() { b'{' } else { b',' });
        json.push(b'"');
        json.extend_from_slice(name.as_bytes());
        json.extend_from_slice(br#"":""#);
        STANDARD.encode_append(bytes, &mut json);
        json.push(b'"');
    }
    json.push(b'}');
    json
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn another_implementation_encodes_and_decodes_the_same(bytes: Vec<u8>) {
            let text = general_purpose::STANDARD.encode(&bytes);
            prop_assert_eq!(STANDARD.encode_to_string(&bytes), text.clone());
            let read: Bytes = serde_json::from_value(text.into()).unwrap();
            prop_assert_eq!(&*read.0, bytes);
        }

        #[test]
        fn another_implementation_rejects_the_same(text in "[A-Da-d0-3+/=_-]{0,12}") {
            let read: Result<Bytes, _> = serde_json::from_value(text.clone().into());
            prop_assert_eq!(read.map(|bytes| bytes.0.to_vec()).ok(), general_purpose::STANDARD.decode(text).ok());
        }
    }

    #[test]
    fn an_object_fits_the_reserved_capacity() {
        let object = object(&[("plaintext", b"hello"), ("ciphertext", b"")]);
        assert_eq!(object, br#"{"plaintext":"aGVsbG8=","ciphertext":""}"#);
        assert!(object.capacity() <= object.len() + 1, "{}", object.capacity());
    }

    #[test]
    fn only_standard_padded_base64_is_accepted() {
        let read = |json: &str| serde_json::from_str::<Bytes>(json).map(|bytes| bytes.0.to_vec());
        assert_eq!(read(r#""aGVsbG8=""#).unwrap(), b"hello");
        assert_eq!(read(r#""aGVs\nbG8=""#).unwrap(), b"hello");
        assert_eq!(read("null").unwrap(), b"");
        assert_eq!(read("\"aGVs\\r\\nbG8=\"").unwrap(), b"hello");
        for bad in
            ["\"aGVs\nbG8=\"", "\"aGVs\r\nbG8=\"", r#""aGVsbG8""#, r#""_-8=""#, "5", "[1]", "{}", r#""aGVsbG8= ""#]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
