//! Keyway and the programs that speak with it: the official Go SDK, and MinIO itself.
//!
//! The clients are Go programs, in the module `tests/interop`; the files here start what they speak with.

mod go;
mod sdk;
