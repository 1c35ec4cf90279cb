//! Keys move from store to store under a MinIO that runs on, and every object that was ever written stays readable.

use std::fs;

use super::gateway::{Gateway, run};
use crate::services::minio::Minio;
use crate::services::postgres::Postgres;
use crate::services::vault::Program;
use crate::support::heavy;
use crate::support::program;
use crate::support::server::unique;
use crate::support::stores::{self, Kv};

/// Moves all keys from the store of one gateway to that of another.
fn migrate(from: &Gateway, to: &Gateway) {
    let config = |gateway: &Gateway| gateway.server.dir.path().join("config.yml").display().to_string();
    let ended = program::run(["migrate", "--from", &config(from), "--to", &config(to)]);
    assert_eq!(ended.code, Some(0), "keyway migrate: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_readable_after_their_keys_moved_from_fs_to_postgres_to_openbao() {
    let _turn = heavy();
    let mut postgres = Postgres::start();
    let openbao = stores::start(Program::OpenBao).await;
    let first = Gateway::on("fs: {path: @dir@/keys}").await;
    let second = first.twin(&stores::postgres(postgres.address(), &unique())).await;
    let third = first.twin(&stores::vault(&openbao, &openbao.url(), Kv::V2Transit, &unique())).await;
    let minio = Minio::start(&first.kms());
    // MinIO knows one address, as it would know a name, which leads to another gateway after a move.
    let switch = |to: &Gateway| {
        first.proxy.lead_to(to.server.address);
        first.proxy.cut_all();
    };
    let list = |bucket: &str| minio.directory().join(bucket).with_extension("json").display().to_string();
    let write = async |bucket: &str| {
        let settings = [("KEYWAY_BUCKET", bucket), ("KEYWAY_OBJECTS", &list(bucket))];
        run("TestObjectsOfAllKindsAreWritten", &[&minio], &settings).await;
    };
    let read = async |bucket: &str, when: &str| {
        let settings = [("KEYWAY_OBJECTS", list(bucket)), ("KEYWAY_WHEN", format!("of {bucket}, {when}"))];
        let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        run("TestObjectsAreReadable", &[&minio], &settings).await;
    };

    write("on-fs").await;
    migrate(&first, &second);
    switch(&second);
    fs::remove_dir_all(first.server.dir.path().join("keys")).unwrap();
    read("on-fs", "after the move from fs to postgres").await;
    write("on-postgres").await;

    migrate(&second, &third);
    switch(&third);
    postgres.stop();
    for bucket in ["on-fs", "on-postgres"] {
        read(bucket, "after the move from postgres to OpenBao").await;
    }
    write("on-openbao").await;
    third.calls.print("after two moves");
    for code in [400, 404] {
        assert_eq!(second.calls.count("/v1/key/decrypt/", code), 0, "postgres has every key");
        assert_eq!(third.calls.count("/v1/key/decrypt/", code), 0, "OpenBao has every key");
    }
}
