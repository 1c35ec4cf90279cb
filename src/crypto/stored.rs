//! The encoding of a key in a store. It must remain byte for byte what KES writes: operators switch to Keyway in place,
//! and back.
//!
//! Keys are written as base64 (RFC 4648 section 4, padded, one line) of the protobuf message `KeyVersion` below. They
//! are also read from the JSON object `{"bytes","algorithm","created_at","created_by"}` of older releases, which has no
//! HMAC secret. A value that begins with `{` is JSON. Line breaks anywhere and white space at either end are ignored,
//! because editors and `echo` add them. Unknown fields are ignored.
//!
//! Source: the vectors in `tests/vectors/kes.json`, created with KES. Not here: sealing of values (`backends`).

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message;
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::algorithm::Algorithm;
use super::key::Key;
use super::secret::Secret;

/// Maximum length of a stored value in bytes. KES writes about 200; only `created_by` has no fixed size.
const MAX_LEN: usize = 64 * 1024;

/// The number of HMAC-SHA-256 in the field `hash`.
const SHA256: u32 = 1;

/// What is wrong with a stored key. Contains nothing of the value except sizes and numbers of algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damaged {
    /// Empty, or only white space: possibly an interrupted write.
    #[error("it is empty")]
    Empty,
    /// Longer than any key: probably not a key at all.
    #[error("it has {0} bytes, but a key has at most {MAX_LEN}")]
    TooLong(usize),
    /// Neither base64 nor JSON.
    #[error("it is neither base64 nor JSON, or it is truncated")]
    Encoding,
    /// Base64 of something else.
    #[error("it is base64, but does not contain a key, or it is truncated")]
    Protobuf,
    /// JSON, but of something else.
    #[error("it begins like a key in JSON but is not one, or it is truncated")]
    Json,
    /// A key without secret bytes.
    #[error("it contains no key bytes")]
    NoKey,
    /// A secret of another size.
    #[error("its key has {0} bytes instead of {len}", len = Key::LEN)]
    KeySize(usize),
    /// An HMAC secret of another size.
    #[error("its HMAC key has {0} bytes instead of {len}", len = Key::LEN)]
    HmacKeySize(usize),
    /// A key for an unknown algorithm.
    #[error("its algorithm is neither AES256 nor ChaCha20")]
    Algorithm,
    /// An HMAC key for another hash function.
    #[error("its HMAC key is for hash function {0}, not for SHA-256")]
    Hash(u32),
}

impl Key {
    /// The key as a stored value, byte for byte as KES writes it.
    pub fn to_stored(&self) -> Zeroizing<Vec<u8>> {
        write(self)
    }

    /// The key in a stored value, in any encoding that KES has written.
    ///
    /// # Errors
    /// [`Damaged`] says what is wrong with the value, without revealing any of it.
    pub fn from_stored(value: &[u8]) -> Result<Self, Damaged> {
        read(value)
    }
}

fn write(key: &Key) -> Zeroizing<Vec<u8>> {
    let message = KeyVersion {
        key: Some(SecretKey { key: key.secret.as_bytes().to_vec(), algorithm: number(key.algorithm) }),
        hmac_key: key.hmac_secret.as_ref().map(|hmac| HmacKey { key: hmac.as_bytes().to_vec(), hash: SHA256 }),
        created_at: key.created_at.map(|time| Timestamp {
            seconds: time.unix_timestamp(),
            nanos: i32::try_from(time.nanosecond()).unwrap_or_default(), // below 10^9
        }),
        created_by: key.created_by.clone(),
    };
    let bytes = Zeroizing::new(message.encode_to_vec());
    Zeroizing::new(BASE64_STANDARD.encode(&*bytes).into_bytes())
}

fn read(value: &[u8]) -> Result<Key, Damaged> {
    if value.len() > MAX_LEN {
        return Err(Damaged::TooLong(value.len()));
    }
    match value.trim_ascii() {
        [] => Err(Damaged::Empty),
        json @ [b'{', ..] => read_json(json),
        text => read_protobuf(text),
    }
}

fn read_protobuf(text: &[u8]) -> Result<Key, Damaged> {
    let mut line = Zeroizing::new(Vec::with_capacity(text.len()));
    line.extend(text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(line.len())]);
    let len = BASE64_STANDARD.decode_slice(&*line, &mut bytes).map_err(|_| Damaged::Encoding)?;
    bytes.truncate(len);
    let message = KeyVersion::decode(bytes.as_slice()).map_err(|_| Damaged::Protobuf)?;

    let key = message.key.as_ref().ok_or(Damaged::NoKey)?;
    Ok(Key {
        algorithm: algorithm(key.algorithm).ok_or(Damaged::Algorithm)?,
        names_algorithm: true,
        secret: secret(&key.key)?,
        hmac_secret: message.hmac_key.as_ref().map(hmac_secret).transpose()?,
        created_at: message.created_at.as_ref().and_then(created_at),
        created_by: message.created_by.clone(),
    })
}

fn read_json(text: &[u8]) -> Result<Key, Damaged> {
    #[derive(Deserialize)]
    struct Json<'a> {
        #[serde(borrow, default)] // borrowed, so that no copy is left behind
        bytes: Cow<'a, str>,
        algorithm: Option<String>,
        created_at: Option<String>,
        created_by: Option<String>,
    }
    // The error of serde_json may quote the value, so it is dropped.
    let json: Json<'_> = serde_json::from_slice(text).map_err(|_| Damaged::Json)?;
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(json.bytes.len())]);
    let len = BASE64_STANDARD.decode_slice(&*json.bytes, &mut bytes).map_err(|_| Damaged::Json)?;
    bytes.truncate(len);
    let given = |text: &String| !text.is_empty();
    let named = json.algorithm.filter(given);
    Ok(Key {
        names_algorithm: named.is_some(),
        algorithm: match named {
            None => Algorithm::Aes256,
            Some(name) => Algorithm::parse(&name).ok_or(Damaged::Algorithm)?,
        },
        secret: secret(&bytes)?,
        hmac_secret: None,
        created_at: json.created_at.and_then(|text| rfc3339(&text)),
        created_by: json.created_by.unwrap_or_default(),
    })
}

fn secret(bytes: &[u8]) -> Result<Secret, Damaged> {
    if bytes.is_empty() {
        return Err(Damaged::NoKey);
    }
    Secret::copy_of(bytes).ok_or(Damaged::KeySize(bytes.len()))
}

fn hmac_secret(key: &HmacKey) -> Result<Secret, Damaged> {
    if key.hash != SHA256 {
        return Err(Damaged::Hash(key.hash));
    }
    Secret::copy_of(&key.key).ok_or(Damaged::HmacKeySize(key.key.len()))
}

/// `None` for a time that no calendar has: the key is as good without it.
fn created_at(time: &Timestamp) -> Option<OffsetDateTime> {
    let nanos = u32::try_from(time.nanos).ok()?;
    OffsetDateTime::from_unix_timestamp(time.seconds).ok()?.replace_nanosecond(nanos).ok()
}

/// The time in UTC, whatever the offset in the text; `None` if that is before the year -9999 or after 9999.
fn rfc3339(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)
}

fn number(algorithm: Algorithm) -> u32 {
    match algorithm {
        Algorithm::Aes256 => 1,
        Algorithm::ChaCha20 => 2,
    }
}

fn algorithm(number_read: u32) -> Option<Algorithm> {
    [Algorithm::Aes256, Algorithm::ChaCha20].into_iter().find(|algorithm| number(*algorithm) == number_read)
}

/// The message that KES stores. None of these messages has `Debug`, which would print the key.
#[derive(Message)]
#[prost(skip_debug)]
struct KeyVersion {
    #[prost(message, optional, tag = "1")]
    key: Option<SecretKey>,
    #[prost(message, optional, tag = "2")]
    hmac_key: Option<HmacKey>,
    #[prost(message, optional, tag = "3")]
    created_at: Option<Timestamp>,
    #[prost(string, tag = "4")]
    created_by: String,
}

#[derive(Message, Zeroize, ZeroizeOnDrop)]
#[prost(skip_debug)]
struct SecretKey {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    /// 1 is AES256, 2 is ChaCha20.
    #[prost(uint32, tag = "2")]
    algorithm: u32,
}

#[derive(Message, Zeroize, ZeroizeOnDrop)]
#[prost(skip_debug)]
struct HmacKey {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    /// 1 is SHA-256.
    #[prost(uint32, tag = "2")]
    hash: u32,
}

/// `google.protobuf.Timestamp`: the time since 1970-01-01T00:00:00Z.
#[derive(Message)]
#[prost(skip_debug)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    /// 0 to 999,999,999, before 1970 as well.
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests;
