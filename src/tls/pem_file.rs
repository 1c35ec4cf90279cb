//! Files in PEM (RFC 7468), as text that became sections. What the sections are is for `private_key.rs` and
//! `certificates.rs` to say.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use pem::Pem;
use zeroize::Zeroizing;

/// Largest file that is read, in bytes. All CA certificates of a Linux system together are a quarter of it.
const MAX_LEN: u64 = 1024 * 1024;

/// What every section begins with (RFC 7468 section 3).
const BEGIN: &[u8] = b"-----BEGIN ";

/// First byte of DER: SEQUENCE (X.690 section 8.9), which keys, certificates and PKCS#12 all are.
const DER_SEQUENCE: u8 = 0x30;

/// Why a file has no PEM sections to look at. It holds nothing of the file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// Nothing has this name.
    #[error("no such file")]
    NotFound,
    /// A directory has this name.
    #[error("it is a directory: name the file in it")]
    Directory,
    /// The file mode or its owner keeps this user out.
    #[error("no permission to read it: give the user that runs this program read access")]
    Permission,
    /// Another error of the operating system.
    #[error("reading it failed: {0}")]
    Read(#[source] std::io::Error),
    /// More than 1 MiB.
    #[error("it is larger than 1 MiB, which no key or certificate is")]
    TooLarge,
    /// Nothing, or white space alone.
    #[error("it is empty")]
    Empty,
    /// Binary where PEM should be.
    #[error("it is binary (DER or PKCS#12), not PEM: convert it with openssl pkey, openssl x509 or openssl pkcs12")]
    Der,
    /// Some other text or bytes.
    #[error("it is not PEM: no line begins with -----BEGIN")]
    NotPem,
    /// It begins as PEM, and then a line is missing or wrong.
    #[error("its PEM is damaged or cut off: each -----BEGIN needs base64 and the same -----END after it")]
    Damaged,
}

/// Reads the sections of a file in their order, at least one. Text around the sections is ignored.
///
/// # Errors
/// [`FileProblem`] says why there are none. One damaged section makes the file damaged.
pub(super) fn read(file: &Path) -> Result<Vec<Pem>, FileProblem> {
    sections(&read_bytes(file)?)
}

/// The same for a text that was read already.
///
/// # Errors
/// As [`read`].
pub(super) fn sections(text: &[u8]) -> Result<Vec<Pem>, FileProblem> {
    let begins = text.windows(BEGIN.len()).filter(|window| *window == BEGIN).count();
    if begins == 0 {
        return Err(match text.trim_ascii() {
            [] => FileProblem::Empty,
            [DER_SEQUENCE, ..] => FileProblem::Der,
            _ => FileProblem::NotPem,
        });
    }
    // The error of the pem crate can quote a line of a private key: it is dropped.
    let sections = pem::parse_many(text).map_err(|_| FileProblem::Damaged)?;
    // The pem crate skips a last section without its end.
    if sections.len() == begins { Ok(sections) } else { Err(FileProblem::Damaged) }
}

fn read_bytes(file: &Path) -> Result<Zeroizing<Vec<u8>>, FileProblem> {
    let problem = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => FileProblem::NotFound,
        ErrorKind::IsADirectory => FileProblem::Directory,
        ErrorKind::PermissionDenied => FileProblem::Permission,
        _ => FileProblem::Read(error),
    };
    let open = File::open(file).map_err(problem)?;
    let len = open.metadata().map_err(problem)?.len().min(MAX_LEN);
    // Sized for the whole file: growing later would leave copies of a private key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or_default() + 1));
    open.take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(problem)?;
    if bytes.len() as u64 > MAX_LEN { Err(FileProblem::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: impl AsRef<[u8]>) -> Result<Vec<Pem>, FileProblem> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file.pem");
        std::fs::write(&file, text).unwrap();
        read(&file)
    }

    const SECTION: &str = "-----BEGIN THING-----\nAQID\n-----END THING-----\n";

    #[test]
    fn sections_come_in_order_whatever_stands_around_them() {
        let text = format!("Bag Attributes\n  friendlyName: x\n{SECTION}\n# note\r\n{}", SECTION.replace('\n', "\r\n"));
        let sections = read_text(text).unwrap();
        assert_eq!(sections.len(), 2);
        assert!(sections.iter().all(|section| section.tag() == "THING" && section.contents() == [1, 2, 3]));
    }

    #[test]
    fn a_file_without_sections_is_refused_by_its_reason() {
        assert!(matches!(read_text(""), Err(FileProblem::Empty)));
        assert!(matches!(read_text(" \n\n"), Err(FileProblem::Empty)));
        assert!(matches!(read_text([0x30, 0x82, 1, 2]), Err(FileProblem::Der)));
        assert!(matches!(read_text("hello"), Err(FileProblem::NotPem)));
        assert!(matches!(read_text([0xff; 100]), Err(FileProblem::NotPem)));
        assert!(matches!(read_text("-".repeat(1024 * 1024 + 1)), Err(FileProblem::TooLarge)));
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(read(directory.path()), Err(FileProblem::Directory)));
        assert!(matches!(read(&directory.path().join("none")), Err(FileProblem::NotFound)));
        assert!(matches!(read(Path::new("Cargo.toml/none")), Err(FileProblem::Read(_))));
    }

    #[test]
    fn a_section_cut_anywhere_is_damaged() {
        for len in BEGIN.len()..SECTION.len() - 1 {
            assert!(matches!(read_text(&SECTION[..len]), Err(FileProblem::Damaged)), "{len}");
            let second = format!("{SECTION}{}", &SECTION[..len]);
            assert!(matches!(read_text(second), Err(FileProblem::Damaged)), "{len}");
        }
    }
}
