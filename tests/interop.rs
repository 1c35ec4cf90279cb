//! Keyway and the programs that speak with it: the official Go SDK, and MinIO itself.
//!
//! The clients are Go programs, in the module `tests/interop`; the files here start what they speak with.

mod calls;
mod gateway;
mod go;
mod migration;
mod minio;
mod sdk;

use std::fs;
use std::path::Path;

/// A key as KES stores it, see `tests/vectors/kes.json`.
fn stored_key(form: &str) -> String {
    let vectors = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/kes.json")).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&vectors).unwrap();
    vectors[0]["stored"][form].as_str().unwrap().to_owned()
}
