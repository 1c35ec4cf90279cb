//! Keyway: a KES-compatible key management gateway.
//!
//! # The map
//! The walk of `PUT /v1/key/generate/my-key`; calls only go downward:
//!
//! | room | what it does with the request |
//! |---|---|
//! | [`server`] | accepts the connection, shakes hands in a task of its own, keeps time-outs and limits |
//! | [`tls`] | the server's certificates; from the client's certificate to an [`identity`] |
//! | [`record`] | counts the request from its head on, and records once what became of it |
//! | [`router`] | finds the row of the one route table, bounds the time, reads the body |
//! | [`access`] | asks [`policy`] whether the client may |
//! | [`api`] | `api/key/generate.rs` parses name and body: the URL is the path |
//! | [`keys`] | returns the decoded key, from the cache or from a backend |
//! | `backends` | the crate next door: one trait, one file per store |
//! | [`crypto`] | seals a fresh data key: pure functions |
//! | [`error`] | where any failure becomes a status and a message |
//! | [`audit`], [`metrics`], [`log`] | what leaves the process about the request, through [`stream`]s that never wait |
//!
//! Around it: [`cli`] has one file per command, [`client`] is what those that ask a server ask it with, [`config`] reads YAML strictly, [`state`] is what a running server
//! holds, [`process`] is what it asks of the system, [`api_key`] is the text form of a client's key.
//!
//! # What always holds
//! - A key that was answered with 200 is durable; no key is ever overwritten. (`backends`, the contract of `Store`)
//! - "key does not exist" is said only when the store is certain. (`keys`, `backends`)
//! - No answer without proof that the client holds its key. (`tls`)
//! - The path that routes, rules and names see is one string, decoded once. (`record`)
//! - Key material is in no log line, no error, no `Debug` output. (`crypto`, `backends::Value`)
//! - All configuration is read and checked before anything is bound. (`cli/server.rs`)

pub mod access;
pub mod api;
pub mod api_key;
pub mod audit;
pub mod cli;
pub mod client;
pub mod config;
pub mod crypto;
pub mod error;
pub mod identity;
pub mod keys;
pub mod log;
pub mod metrics;
pub mod policy;
pub mod process;
pub mod record;
pub mod router;
pub mod server;
pub mod state;
pub mod stream;
pub mod tls;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that the program was built from, where the build was told (`KEYWAY_COMMIT`).
pub const COMMIT: &str = match option_env!("KEYWAY_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
