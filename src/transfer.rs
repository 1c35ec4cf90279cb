//! Moving keys from one store to another, and comparing two, without a server in between.
//!
//! | module | holds |
//! |---|---|
//! | `keystore` | one keystore of the two: opened, listed to its end, told apart from the other |
//! | [`glob`] | which keys are meant |
//! | `survey` | what a key is on both sides; reads, and never writes |
//! | `deliver` | one key into a store: created or replaced, read back, compared |
//! | [`migrate`](mod@migrate), [`verify`](mod@verify) | the commands: a survey, what follows from it, a report |
//! | `workers` | many keys at a time, a bounded number of them; when to give up |
//! | `retry` | what is tried again, and how often |
//! | [`backup`] | all keys in one encrypted file, and back |
//! | [`progress`], [`report`] | what people see while it runs, and in the end |
//!
//! Values are copied as they are: every backend holds the same bytes (`crypto/stored.rs`), as KES does. They are
//! decoded first, but only to find out whether they are keys.
//!
//! # What always holds
//! - A value of the target is given up only with `--force`, and only while its successor is in the target, durable and
//!   read back (`deliver.rs`).
//! - Nothing is written before every key was read on both sides and nothing was found that is to be refused.
//! - A key counts as copied when it was read back from the target and compared. All that is not is told by name.
//! - Whatever ends a migration, the same command again completes it.
//!
//! Not here: reading config files (`config`), the command line (`cli`).

pub mod backup;
mod deliver;
pub mod glob;
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
pub(crate) use survey::{Finding, digest, look_for};
pub use workers::Workers;
