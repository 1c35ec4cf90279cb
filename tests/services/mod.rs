//! Real services for tests, one file each: started on a free loopback port with fresh data, waited for, stopped by
//! process id when dropped. Included by the tests of `backends` and by those of the gateway.

#![allow(dead_code, unreachable_pub, reason = "shared by test binaries, each of which uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    reason = "a test that cannot have its service fails"
)]

use std::path::PathBuf;

pub mod aws;
pub mod eventually;
pub mod minio;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod proxy;
pub mod vault;

/// Where `./setup --tests` puts services that no distribution has.
pub fn tools() -> PathBuf {
    std::env::var_os("KEYWAY_TOOLS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/keyway"),
        PathBuf::from,
    )
}
