//! The backends through their public interface: the conformance suite on each, and what is specific to one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic, in its helpers too, which clippy.toml does not reach"
)]

#[path = "../../tests/services/mod.rs"]
mod services;

#[cfg(all(feature = "aws", feature = "conformance"))]
mod aws;
#[cfg(all(feature = "sqlite", feature = "conformance"))]
mod conformance;
mod fs;
#[cfg(all(feature = "postgres", feature = "conformance"))]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod support;
#[cfg(all(feature = "vault", feature = "conformance"))]
mod vault;
