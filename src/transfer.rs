//! Moves keys from one keystore to another, compares two keystores, and backs one up, without a running server.
//!
//! | module | holds |
//! |---|---|
//! | `keystore` | one of the two keystores: opening it, listing all of its keys, telling it apart from the other |
//! | `survey` | the state of one key in both keystores; read-only |
//! | `deliver` | writes one key to a store: creates or replaces it, reads it back and compares |
//! | [`migrate`](mod@migrate), [`verify`](mod@verify) | the commands: survey, act on the findings, report |
//! | `workers` | processes keys concurrently, up to a limit; decides when to stop |
//! | `retry` | which operations are retried, and how often |
//! | [`backup`] | saves all keys to one encrypted file, and restores them |
//! | [`progress`], [`report`] | the output during a run and at its end |
//!
//! Values are copied unchanged: every backend stores the same bytes (`crypto/stored.rs`), as KES does. They are decoded
//! only to check that they are valid keys.
//!
//! # Invariants
//! - A value in the target is deleted only with `--force`, and only while its replacement is stored in the target,
//!   durable and verified by reading it back (`deliver.rs`).
//! - Nothing is written until every key has been read from both keystores and no conflict or damage was found.
//! - A key counts as copied only after it was read back from the target and compared. All others are reported by name.
//! - However a migration ends, running the same command again completes it.
//!
//! Not here: config files (`config`) and the command line (`cli`).

pub mod backup;
mod deliver;
mod keystore;
pub mod migrate;
pub mod progress;
pub mod report;
mod retry;
mod survey;
pub mod verify;
mod workers;

pub(crate) use deliver::{Delivered, Undelivered, create};
pub use keystore::{Keystore, KeystoreError};
pub(crate) use survey::{Finding, check_target, checksum};
pub use workers::Workers;
