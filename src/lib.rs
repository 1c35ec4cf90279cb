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
//! | [`limits`] | lets it in, if not too many are under way |
//! | [`api`] | `api/key/generate.rs` parses name and body: the URL is the path |
//! | [`keys`] | returns the decoded key, from the cache or from a backend, if that is well |
//! | `backends` | the crate next door: one trait, one file per store |
//! | [`crypto`] | seals a fresh data key: pure functions |
//! | [`error`] | where any failure becomes a status and a message |
//! | [`audit`], [`metrics`], [`log`] | what leaves the process about the request, through [`stream`]s that never wait |
//!
//! Around it: [`cli`] has one file per command, [`client`] asks servers for those that need one, [`config`] reads YAML
//! strictly, [`state`] is what a running server holds, [`reload`] makes it of a config and swaps it whole when a file that
//! [`watch`] looks at has changed, [`probe`] answers probes over plain HTTP, [`systemd`] is told of all that, [`process`] is
//! what the server asks of the system, [`api_key`] is the text form of a client's key.
//! Beside it: [`transfer`] moves keys between stores and compares them, [`backup`] puts them into a file and back; no
//! server runs.
//!
//! # What always holds
//! - A key that was answered with 200 is durable; no key is ever overwritten. (`backends`, the contract of `Store`)
//! - "key does not exist" is said only when the store is certain, or was less than 1 s ago. (`keys`, `backends`)
//! - No answer without proof that the client holds its key. (`tls`)
//! - The path that routes, rules and names see is one string, decoded once. (`record`)
//! - Key material is in no log line, no error, no `Debug` output. (`crypto`, `backends::Value`)
//! - All configuration is read and checked before anything is bound or swapped. (`cli/server.rs`, `reload`)
//! - No key is used for longer than `any` and `offline` say, nor after its delete. (`keys/cached.rs`, `keys/mutations.rs`)
//! - Everything that clients can make grow has a bound, every wait has an end. (`limits`, `server`, `keys/load.rs`)

pub mod access;
pub mod api;
pub mod api_key;
pub mod audit;
pub mod backup;
pub mod cli;
pub mod client;
pub mod config;
pub mod crypto;
pub mod error;
mod hex;
pub mod identity;
pub mod keys;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod policy;
pub mod probe;
pub mod process;
pub mod record;
pub mod reload;
pub mod router;
pub mod server;
pub mod state;
pub mod stream;
pub mod systemd;
pub mod tls;
pub mod transfer;
pub mod watch;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that the program was built from, where the build was told (`KEYWAY_COMMIT`).
pub const COMMIT: &str = match option_env!("KEYWAY_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
