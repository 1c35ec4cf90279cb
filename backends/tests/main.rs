//! The backends as their callers see them: the conformance suite on each, and what is particular to one.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by a panic, in its helpers too, which clippy.toml does not reach"
)]

#[cfg(feature = "conformance")]
mod conformance;
mod fs;
mod sqlite;
mod support;
