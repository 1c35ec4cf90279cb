//! Reads PEM files (RFC 7468) as lists of sections. `private_key.rs` and `certificates.rs` interpret them.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use pem::Pem;
use zeroize::Zeroizing;

/// Maximum size of a file in bytes. All CA certificates of a Linux system together have a quarter of it.
const MAX_LEN: u64 = 1024 * 1024;

/// The start of every section (RFC 7468 section 3).
const BEGIN: &[u8] = b"-----BEGIN ";

/// First byte of DER: SEQUENCE (X.690 section 8.9), as in keys, certificates and PKCS#12.
const DER_SEQUENCE: u8 = 0x30;

/// Why a file has no usable PEM sections. Contains nothing of the file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// The file does not exist.
    #[error("no such file")]
    NotFound,
    /// The path is a directory.
    #[error("is a directory; specify a file")]
    Directory,
    /// The file permissions deny access.
    #[error("permission denied; the user that runs this program needs read access")]
    Permission,
    /// Another error of the operating system.
    #[error("cannot read the file: {0}")]
    Read(#[source] std::io::Error),
    /// More than 1 MiB.
    #[error("larger than 1 MiB, which is too large for a key or certificate")]
    TooLarge,
    /// No content except white space.
    #[error("the file is empty")]
    Empty,
    /// Binary instead of PEM.
    #[error("binary (DER or PKCS#12) instead of PEM; convert it with openssl pkey, openssl x509 or openssl pkcs12")]
    Der,
    /// Other content.
    #[error("not PEM: no line begins with -----BEGIN")]
    NotPem,
    /// PEM with a missing or invalid line.
    #[error("damaged or cut off: each -----BEGIN line needs base64 data and a matching -----END line")]
    Damaged,
}

/// Reads the sections of a file in order, at least one. Text around the sections is ignored.
///
/// # Errors
/// [`FileProblem`]. One damaged section makes the file damaged.
pub fn read(file: &Path) -> Result<Vec<Pem>, FileProblem> {
    sections(&read_bytes(file)?)
}

/// The same for the content of a file.
///
/// # Errors
/// As [`read`].
pub fn sections(text: &[u8]) -> Result<Vec<Pem>, FileProblem> {
    let begins = text.windows(BEGIN.len()).filter(|window| *window == BEGIN).count();
    if begins == 0 {
        return Err(match text.trim_ascii() {
            [] => FileProblem::Empty,
            [DER_SEQUENCE, ..] => FileProblem::Der,
            _ => FileProblem::NotPem,
        });
    }
    // The error of the pem crate is dropped because it can quote a line of a private key.
    let sections = pem::parse_many(text).map_err(|_| FileProblem::Damaged)?;
    // The pem crate skips a last section without an end.
    if sections.len() == begins { Ok(sections) } else { Err(FileProblem::Damaged) }
}

/// Reads a whole file of at most 1 MiB into memory that is wiped.
///
/// # Errors
/// [`FileProblem`], if it cannot be read or is too large.
pub fn read_bytes(file: &Path) -> Result<Zeroizing<Vec<u8>>, FileProblem> {
    let problem = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => FileProblem::NotFound,
        ErrorKind::IsADirectory => FileProblem::Directory,
        ErrorKind::PermissionDenied => FileProblem::Permission,
        _ => FileProblem::Read(error),
    };
    let open = File::open(file).map_err(problem)?;
    let len = open.metadata().map_err(problem)?.len().min(MAX_LEN);
    // Allocated for the whole file: reallocation would leave copies of a private key behind.
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
    fn sections_are_read_in_order_and_other_text_is_ignored() {
        let text = format!("Bag Attributes\n  friendlyName: x\n{SECTION}\n# note\r\n{}", SECTION.replace('\n', "\r\n"));
        let sections = read_text(text).unwrap();
        assert_eq!(sections.len(), 2);
        assert!(sections.iter().all(|section| section.tag() == "THING" && section.contents() == [1, 2, 3]));
    }

    #[test]
    fn a_file_without_sections_has_a_specific_error() {
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
    fn a_section_cut_off_anywhere_is_damaged() {
        for len in BEGIN.len()..SECTION.len() - 1 {
            assert!(matches!(read_text(&SECTION[..len]), Err(FileProblem::Damaged)), "{len}");
            let second = format!("{SECTION}{}", &SECTION[..len]);
            assert!(matches!(read_text(second), Err(FileProblem::Damaged)), "{len}");
        }
    }
}
