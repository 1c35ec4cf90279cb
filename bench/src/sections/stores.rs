//! The keystores. PostgreSQL and OpenBao are started here if they are installed.

use std::path::{Path, PathBuf};

use crate::program::Setup;
use crate::run::say;
use crate::services::postgres::{ADMIN, PASSWORD, Postgres};
use crate::services::vault::{Program as VaultProgram, Server as Vault};

/// A keystore that exists until this is dropped.
#[derive(Debug)]
pub(crate) struct Keystore {
    /// Its name in tables.
    pub(crate) name: &'static str,
    /// The setup of a server that uses it.
    pub(crate) setup: Setup,
    /// Whether KES supports it.
    pub(crate) is_of_kes: bool,
    #[expect(dead_code, reason = "only kept alive")]
    service: Option<Service>,
}

#[derive(Debug)]
#[expect(dead_code, reason = "only kept alive")]
enum Service {
    Postgres(Postgres),
    OpenBao(Vault),
}

/// Files and the embedded database.
pub(crate) fn local() -> Vec<Keystore> {
    vec![
        Keystore { name: "fs", setup: Setup::fs(), is_of_kes: true, service: None },
        Keystore { name: "sqlite", setup: Setup::sqlite(), is_of_kes: false, service: None },
    ]
}

/// A PostgreSQL server started for this run, with its data in the temporary directory.
pub(crate) fn postgres() -> Option<Keystore> {
    if !Path::new("/usr/lib/postgresql").is_dir() {
        say("skipping postgres: not installed (run ./setup --tests)");
        return None;
    }
    let service = Postgres::start();
    let keystore = format!(
        "postgres:\n    host: 127.0.0.1\n    port: {}\n    database: postgres\n    user: {ADMIN}\n    \
         password: {PASSWORD}\n    sslmode: disable",
        service.port()
    );
    let service = Some(Service::Postgres(service));
    Some(Keystore { name: "postgres", setup: Setup::on(&keystore), is_of_kes: false, service })
}

/// An `OpenBao` server with a KV v2 engine.
pub(crate) fn openbao() -> anyhow::Result<Option<Keystore>> {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/keyway");
    let tools = std::env::var_os("KEYWAY_TOOLS").map_or_else(home, PathBuf::from);
    if !tools.join("python").is_dir() {
        say("skipping openbao: not installed (run ./setup --tests)");
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let service = runtime.block_on(async {
        let service = Vault::start(VaultProgram::OpenBao).await;
        service.enable_kv("kv", 2).await;
        service
    });
    service.policy("bench", "path \"kv/*\" {capabilities=[\"create\",\"read\",\"update\",\"delete\",\"list\"]}");
    let (id, secret) = service.approle("bench", "bench", "1h", "4h");
    let keystore = format!(
        "vault:\n    endpoint: {}\n    engine: kv\n    version: v2\n    approle:\n      id: {id}\n      \
         secret: {secret}",
        service.url()
    );
    let service = Some(Service::OpenBao(service));
    Ok(Some(Keystore { name: "openbao", setup: Setup::on(&keystore), is_of_kes: true, service }))
}
