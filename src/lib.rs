//! Keyway: a KES-compatible key management gateway.
//!
//! # The map
//! The walk of `PUT /v1/key/generate/my-key`. Calls only go downward (`tests/layers.rs` lists which room uses which):
//!
//! | room | what it does with the request |
//! |---|---|
//! | [`server`] | accepts the connection, finds the row of [`routes`], decides about access, reads the body, records the outcome |
//! | [`tls`] | the server's certificates; from the client's certificate to an [`identity`] |
//! | [`api`] | `api/key/generate.rs` parses name and body: the URL is the path; `api/error.rs` turns failures into statuses |
//! | [`state`] | what a running server holds, swapped whole on reload; the limits |
//! | [`keys`] | returns the decoded key, from the cache or from a backend that is up |
//! | `backends` | the crate next door: one trait, one file per store |
//! | [`crypto`] | encrypts a new data key: pure functions |
//! | [`policy`], [`config`] | the rules that the decision reads; the YAML that they come from |
//! | [`telemetry`] | log, audit events and metrics, through streams that never wait for a reader |
//!
//! Beside it: [`cli`] has one file per command, [`client`] sends requests to servers, [`transfer`] moves keys between
//! stores and backups without a server, [`wire`] is what servers and clients write alike, [`glob`] patterns for names, [`process`]
//! what the server asks of the operating system.
//!
//! # What always holds
//! - A key that was answered with 200 is durable; no key is ever overwritten. (`backends`, the contract of `Store`)
//! - "key does not exist" is answered only when the store is certain, or was less than 1 s ago. (`keys`, `backends`)
//! - No answer without proof that the client holds its key. (`tls`)
//! - The path that rules and names see is one string, decoded once. (`routes`, `server/record.rs`)
//! - Key material is in no log line, no error, no `Debug` output. (`crypto`, `backends::Value`)
//! - All configuration is read and checked before anything is bound or swapped. (`cli/server.rs`, `server/reload.rs`)
//! - No key is used for longer than `any` and `offline` say, nor after its delete. (`keys/cached.rs`, `keys/mutations.rs`)
//! - Everything that clients can make grow has a bound, every wait has an end. (`state/limits.rs`, `server`, `keys/load.rs`)

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod crypto;
pub mod glob;
pub mod identity;
pub mod keys;
pub mod policy;
pub mod process;
pub mod routes;
pub mod server;
pub mod state;
pub mod telemetry;
pub mod tls;
pub mod transfer;
pub mod wire;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that the program was built from, where the build was told (`KEYWAY_COMMIT`).
pub const COMMIT: &str = match option_env!("KEYWAY_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
