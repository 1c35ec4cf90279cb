//! The text inside a backup. In an emergency it can be read and split with a text editor:
//!
//! ```text
//! keyway-backup 1
//! created 2026-01-31T12:00:00Z
//! key NAME LENGTH CHECK
//! VALUE
//! ...
//! end COUNT DIGEST
//! ```
//!
//! Lines end with a line feed. VALUE is LENGTH bytes, exactly as in the store, followed by a line feed. CHECK is the
//! SHA-256 of NAME, a zero byte and VALUE; DIGEST is the SHA-256 of all bytes before the `end` line; both in hex. Names
//! are in ascending byte order without duplicates. Nothing follows the `end` line.

use std::io::{self, BufRead, Read, Write};

use backends::{Name, Value};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::crypto::key::Key;
use crate::crypto::stored::Damaged;
use crate::transfer::checksum;
use crate::wire::hex;

/// The first line, up to the version.
const MAGIC: &str = "keyway-backup ";

/// The version that is written, and the only one that can be read.
const VERSION: &str = "1";

/// Maximum length of a line in bytes: a name, a length and a digest in hex.
const MAX_LINE: usize = 256;

/// Why a text is not an intact backup. Contains no part of the values.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file was decrypted, but contains something else.
    #[error("it was not created by keyway backup")]
    NotABackup,
    /// A later release created it.
    #[error(
        "it has format version {0}, but this release reads version {VERSION}; use the release that created it, or a \
         newer one"
    )]
    Version(String),
    /// A line is malformed or out of place.
    #[error("it is damaged after {0} keys")]
    Malformed(u64),
    /// The text ends before the `end` line.
    #[error("it is truncated after {0} keys")]
    Truncated(u64),
    /// A checksum does not match.
    #[error("the checksum of key '{0}' does not match")]
    Check(Name),
    /// A value is not a valid key.
    #[error("key '{0}' is damaged: {1}")]
    NotAKey(Name, Damaged),
    /// The count or the digest in the `end` line does not match.
    #[error("the key count or digest at its end does not match")]
    End,
    /// Reading or decrypting the file failed.
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// Writes the text of a backup.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    digest: Sha256,
    count: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the first lines.
    ///
    /// # Errors
    /// The output's.
    pub fn new(out: W, created: OffsetDateTime) -> io::Result<Self> {
        let mut writer = Self { out, digest: Sha256::new(), count: 0 };
        let created = created.format(&Rfc3339).map_err(io::Error::other)?;
        writer.put(format!("{MAGIC}{VERSION}\ncreated {created}\n").as_bytes())?;
        Ok(writer)
    }

    /// Adds a key. Names must be added in ascending byte order.
    ///
    /// # Errors
    /// The output's.
    pub fn add(&mut self, name: &Name, value: &Value) -> io::Result<()> {
        self.put(format!("key {name} {} {}\n", value.len(), hex(&checksum(name, value))).as_bytes())?;
        self.put(value.as_bytes())?;
        self.put(b"\n")?;
        self.count += 1;
        Ok(())
    }

    /// Writes the last line; returns the output and the number of keys.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        let end = format!("end {} {}\n", self.count, hex(&self.digest.finalize()));
        self.out.write_all(end.as_bytes())?;
        Ok((self.out, self.count))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Reads the text of a backup. It is known to be intact only once [`Reader::next_key`] has returned `None`.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    digest: Sha256,
    count: u64,
    last: Option<Name>,
    created: OffsetDateTime,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first lines.
    ///
    /// # Errors
    /// [`FormatError`]
    pub fn new(input: R) -> Result<Self, FormatError> {
        let mut reader =
            Self { input, digest: Sha256::new(), count: 0, last: None, created: OffsetDateTime::UNIX_EPOCH };
        let first = reader.line()?;
        let version = first.strip_prefix(MAGIC).ok_or(FormatError::NotABackup)?;
        if version != VERSION {
            return Err(FormatError::Version(version.escape_debug().to_string()));
        }
        let second = reader.line()?;
        let created = second.strip_prefix("created ").and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        reader.created = created.ok_or(FormatError::Malformed(0))?;
        reader.digest.update(format!("{first}\n{second}\n"));
        Ok(reader)
    }

    /// When the backup was created.
    pub fn created(&self) -> OffsetDateTime {
        self.created
    }

    /// The next key, with its checksum verified; `None` at the end, once count and digest are verified too.
    ///
    /// # Errors
    /// [`FormatError`]
    pub fn next_key(&mut self) -> Result<Option<(Name, Value)>, FormatError> {
        let malformed = FormatError::Malformed(self.count);
        let line = self.line()?;
        let fields: Vec<&str> = line.split(' ').collect();
        let (name, length, check) = match fields.as_slice() {
            ["key", name, length, check] => (Name::parse(name), length.parse::<usize>(), *check),
            ["end", count, digest] => return self.end(count, digest).map(|()| None),
            _ => return Err(malformed),
        };
        let (Ok(name), Ok(length)) = (name, length) else { return Err(malformed) };
        if length > Value::MAX_LEN || self.last.as_ref().is_some_and(|last| *last >= name) {
            return Err(malformed);
        }
        let mut bytes = Zeroizing::new(vec![0; length + 1]);
        self.input.read_exact(&mut bytes).map_err(|error| self.failure(error))?;
        self.digest.update(format!("{line}\n"));
        self.digest.update(&*bytes);
        if bytes.pop() != Some(b'\n') {
            return Err(malformed);
        }
        let value = Value::from(std::mem::take(&mut *bytes));
        if hex(&checksum(&name, &value)) != check {
            return Err(FormatError::Check(name));
        }
        if let Err(damage) = Key::from_stored(value.as_bytes()) {
            return Err(FormatError::NotAKey(name, damage));
        }
        self.count += 1;
        self.last = Some(name.clone());
        Ok(Some((name, value)))
    }

    fn end(&mut self, count: &str, digest: &str) -> Result<(), FormatError> {
        if count != self.count.to_string() || digest != hex(&self.digest.clone().finalize()) {
            return Err(FormatError::End);
        }
        match self.input.read(&mut [0; 1])? {
            0 => Ok(()),
            _ => Err(FormatError::Malformed(self.count)),
        }
    }

    /// The next line, without its line feed.
    fn line(&mut self) -> Result<String, FormatError> {
        let mut line = Vec::with_capacity(MAX_LINE);
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        (&mut self.input).take(limit).read_until(b'\n', &mut line).map_err(|error| self.failure(error))?;
        match (line.pop(), self.last.is_none() && self.count == 0) {
            (Some(b'\n'), _) => String::from_utf8(line).map_err(|_| FormatError::Malformed(self.count)),
            (None, _) => Err(FormatError::Truncated(self.count)),
            (Some(_), _) if line.len() + 1 < MAX_LINE => Err(FormatError::Truncated(self.count)),
            (Some(_), true) => Err(FormatError::NotABackup),
            (Some(_), false) => Err(FormatError::Malformed(self.count)),
        }
    }

    fn failure(&self, error: io::Error) -> FormatError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => FormatError::Truncated(self.count),
            _ => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::key::Algorithm;

    fn stored() -> Value {
        let key = Key::generate(Algorithm::Aes256, OffsetDateTime::UNIX_EPOCH, "someone").unwrap();
        Value::from(key.to_stored().to_vec())
    }

    fn backup(names: &[&str]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), OffsetDateTime::UNIX_EPOCH).unwrap();
        for name in names {
            writer.add(&Name::parse(name).unwrap(), &stored()).unwrap();
        }
        let (text, count) = writer.finish().unwrap();
        assert_eq!(count, names.len() as u64);
        text
    }

    fn read(text: &[u8]) -> Result<Vec<(Name, Value)>, FormatError> {
        let mut reader = Reader::new(text)?;
        let mut keys = Vec::new();
        while let Some(key) = reader.next_key()? {
            keys.push(key);
        }
        Ok(keys)
    }

    #[test]
    fn what_is_written_is_read() {
        for names in [&[][..], &["a"], &["0", "A", "a", "a-b", "a0"]] {
            let keys = read(&backup(names)).unwrap();
            assert_eq!(keys.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
        }
    }

    #[test]
    fn a_text_truncated_anywhere_is_rejected() {
        let text = backup(&["a", "b"]);
        for length in 0..text.len() {
            let error = read(&text[..length]).map(|_| ()).unwrap_err();
            assert!(matches!(error, FormatError::Truncated(_)), "{length}: {error}");
        }
    }

    #[test]
    fn every_changed_byte_is_detected() {
        let text = backup(&["a", "b"]);
        for at in 0..text.len() {
            for change in [1, 0x20, 0x80] {
                let mut changed = text.clone();
                changed[at] ^= change;
                assert!(read(&changed).is_err(), "byte {at} ^ {change:#x}");
            }
        }
    }

    #[test]
    fn keys_that_are_repeated_out_of_order_or_after_the_end_are_rejected() {
        let text = String::from_utf8(backup(&["a", "b"])).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let with = |order: &[usize]| order.iter().map(|line| lines[*line]).collect::<String>();
        assert!(read(with(&[0, 1, 2, 3, 4, 5, 6]).as_bytes()).is_ok());
        for order in [
            &[0, 1, 2, 3, 2, 3, 4, 5, 6][..],
            &[0, 1, 4, 5, 2, 3, 6],
            &[0, 1, 2, 3, 6],
            &[0, 1, 2, 5, 4, 3, 6],
            &[0, 1, 2, 3, 4, 5, 6, 2, 3],
            &[0, 1, 2, 3, 4, 5],
        ] {
            assert!(read(with(order).as_bytes()).is_err(), "{order:?}");
        }
    }

    #[test]
    fn other_texts_and_later_versions_have_errors_of_their_own() {
        assert!(matches!(read(b"hello\n"), Err(FormatError::NotABackup)));
        assert!(matches!(read(&[b'x'; 1000]), Err(FormatError::NotABackup)));
        let error = read(b"keyway-backup 2\n").map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_rejected_without_a_panic(
            start in "keyway-backup 1\ncreated 2026-01-31T12:00:00Z\n|",
            rest: Vec<u8>,
        ) {
            prop_assert!(read(&[start.as_bytes(), &rest].concat()).is_err());
        }
    }
}
