//! The ciphertext formats: one is written, three are read.
//!
//! | format | first byte | layout |
//! |---|---|---|
//! | written | any | AEAD output, then iv (16), then nonce (12) |
//! | JSON | `{` | `{"aead","iv","nonce","bytes"}`, the last three in base64 |
//! | MessagePack | 0x95 | array of 5: algorithm, key ID, iv, nonce, AEAD output |
//!
//! AEAD output is the encrypted message followed by its tag (16). The written format may begin with any byte, so a
//! ciphertext that looks like another format but does not parse as one is in the written format. Parsing by accident is
//! harmless: the ciphertext would have to contain its own length and the name of an algorithm, and its tag is verified
//! in any case.
//!
//! Source: the vectors in `tests/vectors/kes.json`, created with KES. Not here: ciphers and keys.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::algorithm::Algorithm;

/// Length in bytes of the iv, from which the subkey of a message is derived.
pub(super) const IV_LEN: usize = 16;
/// Length in bytes of the nonce (RFC 5116 section 5.2, RFC 8439 section 2.8).
pub(super) const NONCE_LEN: usize = 12;
/// Length in bytes of the authentication tag (the same sections).
const TAG_LEN: usize = 16;
/// The number of bytes that a written ciphertext is longer than its plaintext: 44.
pub(super) const OVERHEAD: usize = TAG_LEN + IV_LEN + NONCE_LEN;

/// First byte of the JSON format.
const JSON: u8 = b'{';
/// First byte of the MessagePack format: an array of 5 ("fixarray" in the MessagePack specification).
const ARRAY_OF_5: u8 = 0x95;

/// The parts of a ciphertext.
pub(super) struct Ciphertext {
    /// The algorithm named by the format; the written format names none.
    pub(super) algorithm: Option<Algorithm>,
    /// The AEAD output: the encrypted message and its tag, at least 16 bytes.
    pub(super) sealed: Sealed,
    /// The iv from which the subkey is derived.
    pub(super) iv: [u8; IV_LEN],
    /// The nonce for the subkey.
    pub(super) nonce: [u8; NONCE_LEN],
}

/// Where the AEAD's output is.
pub(super) enum Sealed {
    /// In this range of the ciphertext.
    Within(Range<usize>),
    /// Decoded from the ciphertext.
    Apart(Vec<u8>),
}

/// Writes the written format: appends iv and nonce to `sealed`.
pub(super) fn write(mut sealed: Vec<u8>, iv: &[u8; IV_LEN], nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    sealed.extend_from_slice(iv);
    sealed.extend_from_slice(nonce);
    sealed
}

impl Ciphertext {
    /// Parses a ciphertext of any format; `None` if it is too short. Nothing is authenticated yet.
    ///
    /// Allocates only for the JSON format, and not more than the length of the text.
    pub(super) fn parse(ciphertext: &[u8]) -> Option<Self> {
        let named = match *ciphertext.first()? {
            JSON => Self::json(ciphertext),
            ARRAY_OF_5 => Self::message_pack(ciphertext),
            _ => None,
        };
        named.or_else(|| Self::written(ciphertext))
    }

    fn written(ciphertext: &[u8]) -> Option<Self> {
        let (rest, nonce) = ciphertext.split_last_chunk::<NONCE_LEN>()?;
        let (sealed, iv) = rest.split_last_chunk::<IV_LEN>()?;
        Self::from_parts(None, Sealed::Within(0..sealed.len()), iv, nonce)
    }

    fn json(ciphertext: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Json<'a> {
            #[serde(borrow)]
            aead: Cow<'a, str>,
            #[serde(borrow)]
            iv: Cow<'a, str>,
            #[serde(borrow)]
            nonce: Cow<'a, str>,
            #[serde(borrow)]
            bytes: Cow<'a, str>,
        }
        let json: Json<'_> = serde_json::from_slice(ciphertext).ok()?;
        let algorithm = match &*json.aead {
            "AES-256-GCM-HMAC-SHA-256" | "AES-256-GCM" => Algorithm::Aes256,
            "ChaCha20Poly1305" => Algorithm::ChaCha20,
            _ => return None,
        };
        let decode = |text: &str| BASE64_STANDARD.decode(text).ok();
        let (iv, nonce, sealed) = (decode(&json.iv)?, decode(&json.nonce)?, decode(&json.bytes)?);
        Self::from_parts(Some(algorithm), Sealed::Apart(sealed), &iv, &nonce)
    }

    fn message_pack<'a>(ciphertext: &'a [u8]) -> Option<Self> {
        // Everything is borrowed: a wrong length field in the input causes an error, never an allocation.
        type Array<'a> = (&'a str, &'a str, &'a [u8], &'a [u8], &'a [u8]);
        let (algorithm, _key_id, iv, nonce, sealed): Array<'a> = rmp_serde::from_slice(ciphertext).ok()?;
        // rmp-serde ignores trailing bytes. The last value must end where the ciphertext ends, or bytes could be
        // appended to a ciphertext without being detected by its tag.
        if sealed.as_ptr_range().end != ciphertext.as_ptr_range().end {
            return None;
        }
        let sealed = Sealed::Within(ciphertext.len() - sealed.len()..ciphertext.len());
        Self::from_parts(Some(Algorithm::parse(algorithm)?), sealed, iv, nonce)
    }

    /// Checks the lengths.
    fn from_parts(algorithm: Option<Algorithm>, sealed: Sealed, iv: &[u8], nonce: &[u8]) -> Option<Self> {
        if sealed.len() < TAG_LEN {
            return None;
        }
        Some(Self { algorithm, sealed, iv: iv.try_into().ok()?, nonce: nonce.try_into().ok()? })
    }
}

impl Sealed {
    fn len(&self) -> usize {
        match self {
            Self::Within(part) => part.len(),
            Self::Apart(bytes) => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(algorithm: &str, iv: usize, nonce: usize, sealed: usize) -> Vec<u8> {
        let text = |text: &str| [&[0xa0 + u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let bytes = |len: usize| [&[0xc4, u8::try_from(len).unwrap()], [1].repeat(len).as_slice()].concat();
        [vec![ARRAY_OF_5], text(algorithm), text(""), bytes(iv), bytes(nonce), bytes(sealed)].concat()
    }

    #[test]
    fn fewer_than_44_bytes_are_not_a_ciphertext() {
        for first in [0, JSON, ARRAY_OF_5] {
            for len in 0..100 {
                let mut bytes = vec![0; len];
                bytes.iter_mut().take(1).for_each(|byte| *byte = first);
                assert_eq!(Ciphertext::parse(&bytes).is_some(), len >= 44, "{first} {len}");
            }
        }
    }

    #[test]
    fn a_written_ciphertext_may_begin_like_another_format() {
        for first in [JSON, ARRAY_OF_5] {
            let written = write([vec![first], vec![9; 31]].concat(), &[1; 16], &[2; 12]);
            let parsed = Ciphertext::parse(&written).unwrap();
            assert_eq!(parsed.algorithm, None);
            assert_eq!((parsed.sealed.len(), parsed.iv, parsed.nonce), (32, [1; 16], [2; 12]));
        }
    }

    #[test]
    fn message_pack_is_parsed_only_with_correct_lengths_and_without_trailing_bytes() {
        let is_named = |bytes: &[u8]| Ciphertext::parse(bytes).is_some_and(|parsed| parsed.algorithm.is_some());
        let whole = named("AES256", 16, 12, 16);
        assert!(is_named(&whole));
        assert!(!is_named(&[whole, vec![0]].concat()));
        for (algorithm, iv, nonce, sealed) in
            [("AES", 16, 12, 16), ("AES256", 15, 12, 16), ("AES256", 16, 24, 16), ("AES256", 16, 12, 15)]
        {
            assert!(!is_named(&named(algorithm, iv, nonce, sealed)), "{algorithm} {iv} {nonce} {sealed}");
        }
    }

    #[test]
    fn a_wrong_length_field_means_the_written_format() {
        // str 32, bin 32 and array 32 with lengths of 4 GiB.
        for marker in [0xdb, 0xc6, 0xdd] {
            let lie = [vec![ARRAY_OF_5, marker, 0xff, 0xff, 0xff, 0xff], vec![0x95; 60]].concat();
            assert_eq!(Ciphertext::parse(&lie).unwrap().algorithm, None);
        }
    }

    #[test]
    fn json_with_an_unknown_aead_or_a_wrong_length_is_not_the_json_format() {
        let json = |aead: &str, iv: usize| {
            let text = BASE64_STANDARD.encode(vec![1; iv]);
            format!(
                r#"{{"aead":"{aead}","iv":"{text}","nonce":"AQEBAQEBAQEBAQEB","bytes":"AQEBAQEBAQEBAQEBAQEBAQ=="}}"#
            )
        };
        let algorithm = |text: String| Ciphertext::parse(text.as_bytes()).unwrap().algorithm;
        assert_eq!(algorithm(json("AES-256-GCM", 16)), Some(Algorithm::Aes256));
        assert_eq!(algorithm(json("ChaCha20Poly1305", 16)), Some(Algorithm::ChaCha20));
        assert_eq!(algorithm(json("AES256", 16)), None);
        assert_eq!(algorithm(json("AES-256-GCM", 17)), None);
    }
}
