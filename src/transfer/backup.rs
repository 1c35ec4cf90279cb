//! All keys of a store in one encrypted file, and back.
//!
//! | module | holds |
//! |---|---|
//! | [`format`](mod@format) | the text inside: keys with check values; written and read |
//! | [`lock`] | who can open the file: age recipients, or a passphrase |
//! | [`file`](mod@file) | the file: written beside its place and then put there; opened and read |
//! | [`write`](mod@write) | from a store to a file |
//! | [`restore`](mod@restore) | from a file to a store |
//!
//! The encryption is age's (<https://age-encryption.org/v1>), so `age -d` opens a backup without this program, and what
//! it shows can be read and used by hand.
//!
//! # What always holds
//! - A backup is at its path whole and durable, or not at all.
//! - A file is read to its end, and every check value in it is right, before anything is written to a store.
//! - Nothing that a store has is overwritten.
//!
//! age proves that a file is as somebody made it. With a passphrase that is one who knows it; with recipients it may be
//! anyone, for recipients are public. So guard the file, and not for its secrecy alone.

pub mod file;
pub mod format;
pub mod lock;
pub mod restore;
pub mod write;
