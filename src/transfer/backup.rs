//! Backs up all keys of a keystore to one encrypted file, and restores them.
//!
//! | module | holds |
//! |---|---|
//! | [`format`](mod@format) | the text inside the file: keys with checksums; writing and reading it |
//! | [`lock`] | what decrypts the file: age identities, or a passphrase |
//! | [`file`](mod@file) | the file itself: written to a temporary name, then renamed; opened and read |
//! | [`series`](mod@series) | several files in one directory, of which the newest are kept |
//! | [`write`](mod@write) | from a keystore to a file |
//! | [`restore`](mod@restore) | from a file to a keystore |
//!
//! The file is encrypted with age (<https://age-encryption.org/v1>), so `age -d` decrypts a backup without this
//! program, and its content can be read and used by hand.
//!
//! # Invariants
//! - A backup appears at its path complete and durable, or not at all. One on standard output that is not complete lacks
//!   its end, which `restore` and `age -d` detect.
//! - Before anything is written to a store, the file is read to its end and every checksum in it is verified.
//! - No key in a store is overwritten.
//!
//! age detects changes to a file, but not always its author: a file encrypted with a passphrase was created by someone
//! who knows the passphrase, but recipients are public, so anyone can encrypt a file to them. Protect backups against
//! replacement, not only against disclosure.

pub mod file;
pub mod format;
pub mod lock;
pub mod restore;
pub mod series;
pub mod write;
