//! The specification: every file here mirrors a room of the source, every test is a sentence about a real server.
//!
//! Servers are the program itself, started as a child process on a free port with a directory of its own.

#![expect(unreachable_pub, reason = "a test program exports nothing; `pub` says what support offers")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic, in its helpers too, which clippy.toml does not reach"
)]

mod services;
mod support;

// Tests begin in the order of their names, and this one lasts longer than any other.
#[path = "soak/mod.rs"]
mod a_soak;

mod api;
mod cli;
mod crash;
mod gateways;
mod interop;
mod keys;
mod layers;
mod readme;
mod server;
mod state;
mod tls;
mod wire;
