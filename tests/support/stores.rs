//! The YAML of stores in real services, each under a name of its own (schema or prefix), so that tests share nothing.

use std::net::SocketAddr;

use crate::services::postgres::{ADMIN, PASSWORD};
use crate::services::vault::{Program, Server};

/// Which engine of Vault, and whether values are sealed by transit.
#[derive(Clone, Copy, Debug)]
pub enum Kv {
    V1,
    V2,
    V2Transit,
}

/// A table in PostgreSQL.
pub fn postgres(address: SocketAddr, schema: &str) -> String {
    let (host, port) = (address.ip(), address.port());
    format!(
        "postgres:\n  host: {host}\n  port: {port}\n  database: postgres\n  user: {ADMIN}\n  password: {PASSWORD}\n\
         \x20 sslmode: disable\n  schema: {schema}\n"
    )
}

/// A server with both KV engines and a transit key.
pub async fn start(program: Program) -> Server {
    let server = Server::start(program).await;
    server.enable_kv("kv1", 1).await;
    server.enable_kv("kv2", 2).await;
    server.enable_transit("transit", "keyway");
    server
}

/// A folder in Vault, by `AppRole`; `url` leads to the server, perhaps through a proxy.
pub fn vault(server: &Server, url: &str, kv: Kv, prefix: &str) -> String {
    let all = "path \"kv1/*\" {capabilities=[\"create\",\"read\",\"update\",\"delete\",\"list\"]}\n\
               path \"kv2/*\" {capabilities=[\"create\",\"read\",\"update\",\"delete\",\"list\"]}\n\
               path \"transit/*\" {capabilities=[\"create\",\"read\",\"update\"]}\n";
    server.policy("keyway", all);
    let (id, secret) = server.approle("keyway", "keyway", "1h", "4h");
    let (engine, version) = match kv {
        Kv::V1 => ("kv1", "v1"),
        Kv::V2 | Kv::V2Transit => ("kv2", "v2"),
    };
    let transit = if matches!(kv, Kv::V2Transit) { "  transit:\n    key: keyway\n" } else { "" };
    format!(
        "vault:\n  endpoint: {url}\n  engine: {engine}\n  version: {version}\n  prefix: {prefix}\n\
         \x20 approle:\n    id: {id}\n    secret: {secret}\n{transit}"
    )
}

/// Secrets in AWS.
pub fn aws(endpoint: &str, prefix: &str) -> String {
    format!(
        "aws:\n  secretsmanager:\n    endpoint: {endpoint}\n    region: us-east-1\n    prefix: {prefix}/\n\
         \x20   credentials:\n      accesskey: AKIAEXAMPLE\n      secretkey: example\n"
    )
}
