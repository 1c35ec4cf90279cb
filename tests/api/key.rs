//! `/v1/key/...`: one file per API, and what goes across them.

mod create;
mod damaged;
mod decrypt;
mod delete;
mod describe;
mod encrypt;
mod generate;
mod hmac;
mod import;
mod list;

use serde_json::Value;

use crate::support::Server;

/// Keys in every stored form with what was encrypted under them, all checked against KES.
const VECTORS: &str = include_str!("../vectors/kes.json");

fn vectors() -> Vec<Value> {
    serde_json::from_str(VECTORS).unwrap()
}

/// Puts a file where the fs store keeps the key of this name, as an operator or another program might.
fn put_file(server: &Server, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(server.dir.path().join("keys").join(name), content).unwrap();
}

/// A field of a vector, as text.
fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("no {field} in {vector}"))
}
