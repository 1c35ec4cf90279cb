//! Which engine is mounted, and whether it keeps what is stored in it.

use serde_json::Value as Json;
use tracing::warn;

use crate::vault::auth::Connection;
use crate::vault::client::get;
use crate::vault::config::{KvVersion, Place};
use crate::vault::error::Failure;
use crate::{Name, StoreError};

/// The engine of the start: a read with the paths of v2 from an engine of v1 finds nothing, and so does a read from an
/// empty engine that was mounted in place of ours. A key that is created there is lost with the next restore.
#[derive(Debug)]
pub(super) struct Mount {
    /// `None` if our policy does not allow to read it; then a 404 has to be taken as certain.
    uuid: Option<String>,
    /// Whether the policy allows to read the settings of the engine (KV v2).
    reads_settings: bool,
}

impl Mount {
    /// Reads the mount for the first time. If it turns out that the engine has version 1 although version 2 is
    /// configured, the keys are looked for where KES puts them then.
    pub(super) async fn find(connection: &mut Connection) -> Result<Self, StoreError> {
        let place = &connection.place;
        let data = match connection.read_without_login(&mount_path(place)).await {
            Ok(data) => Some(data),
            Err(failure) if failure.code().is_some_and(|code| code < 500 && code != 429) => None,
            Err(failure) => return Err(connection.explain(failure, "read the type of the engine").await),
        };
        if let Some(data) = &data {
            check_version(connection, data)?;
        }
        let deletes_after = deletes_after(connection).await;
        if let Ok(Some(after)) = &deletes_after {
            warn!("{}", deletion(&connection.place, after));
        }
        Ok(Self { uuid: data.as_ref().and_then(uuid), reads_settings: deletes_after.is_ok() })
    }

    /// Makes sure that it is still the engine of the start, before something is reported as not found, and before and
    /// after something is created.
    pub(super) async fn check(&self, connection: &Connection) -> Result<(), StoreError> {
        let Some(expected) = &self.uuid else { return Ok(()) };
        let path = mount_path(&connection.place);
        let read = connection.read(async |session| get(&session.keys, path.clone()).await);
        let data = match read.await {
            Ok(mut response) => response.get_mut("data").map(Json::take).unwrap_or_default(),
            // It was read at the start.
            Err(failure) if failure.is_denied() => {
                return Err(StoreError::unavailable(format!(
                    "{}: cannot verify that the engine has not been replaced: {}; it was disabled or moved since \
                     startup, or the token's policy no longer allows to read '{path}'; restore what it was, or restart \
                     the server if this was intended",
                    connection.place,
                    failure.text()
                )));
            }
            Err(failure) => {
                return Err(connection.explain(failure, "verify that the engine has not been replaced").await);
            }
        };
        if uuid(&data).as_ref() == Some(expected) && is_v2(&data) == (connection.place.version == KvVersion::V2) {
            return Ok(());
        }
        Err(StoreError::unavailable(format!(
            "{}: the engine was replaced or changed since startup; restore the old one, or restart the server if \
             this was intended",
            connection.place
        )))
    }

    /// Makes sure that the engine does not delete what is about to be created, if our policy allows to read that.
    pub(super) async fn check_keeps(&self, connection: &Connection, name: &Name) -> Result<(), StoreError> {
        if !self.reads_settings {
            return Ok(());
        }
        match deletes_after(connection).await {
            Ok(Some(after)) => Err(StoreError::unavailable(format!(
                "cannot create the key '{name}': {}",
                deletion(&connection.place, &after)
            ))),
            // What the answer to the write says decides then.
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

/// Compares the version of the engine with the configured one.
fn check_version(connection: &mut Connection, data: &Json) -> Result<(), StoreError> {
    let place = &connection.place;
    let kind = data.get("type").and_then(Json::as_str).unwrap_or_default();
    if !matches!(kind, "kv" | "generic") {
        return Err(StoreError::unavailable(format!(
            "{place}: the engine has the type '{kind}' and is not a KV engine; configure another one"
        )));
    }
    match (place.version, is_v2(data)) {
        (KvVersion::V1, true) => {
            return Err(StoreError::unavailable(format!("{place}: the engine is KV v2; set version: v2")));
        }
        (KvVersion::V2, false) => {
            connection.place.on_v1();
            let (place, engine, prefix) = (&connection.place, &connection.place.engine, &connection.place.prefix);
            warn!(
                "{place}: version: v2 is configured, but the engine is KV v1; keys are read and created in its folder \
                 '{engine}/{prefix}', as by KES with this config. Set version: v1 and prefix: {prefix}, which \
                 leads to the same keys; without that prefix, they would not be found"
            );
        }
        (KvVersion::V1, false) | (KvVersion::V2, true) => {}
    }
    Ok(())
}

/// After what time the engine deletes every version of a value by itself; `None` if it does not.
/// Source: <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#configure-the-kv-engine>, where 0 is the
/// default and a negative time forbids it for single keys as well.
async fn deletes_after(connection: &Connection) -> Result<Option<String>, Failure> {
    if connection.place.version == KvVersion::V1 {
        return Ok(None);
    }
    let settings = connection.read_without_login(&format!("{}/config", connection.place.engine)).await?;
    let after = settings.get("delete_version_after").and_then(Json::as_str).unwrap_or_default();
    let is_off = after.starts_with('-') || !after.contains(|digit: char| digit.is_ascii_digit() && digit != '0');
    Ok((!is_off).then(|| after.to_owned()))
}

/// That the engine deletes keys, and what to do.
fn deletion(place: &Place, after: &str) -> String {
    format!(
        "{place}: the engine DELETES EVERY KEY {after} after it was created (delete_version_after), and data encrypted \
         under it becomes unreadable; turn that off with `vault write {engine}/config delete_version_after=0s`, then \
         keep existing keys with `vault kv undelete -mount={engine} -versions=1 {path}`",
        engine = place.engine,
        path = place.path("NAME")
    )
}

/// The path of the metadata of the mount. Source: `vault kv` itself reads it to choose its paths.
fn mount_path(place: &Place) -> String {
    format!("sys/internal/ui/mounts/{}", place.engine)
}

fn is_v2(data: &Json) -> bool {
    data.pointer("/options/version").and_then(Json::as_str) == Some("2")
}

fn uuid(data: &Json) -> Option<String> {
    data.get("uuid").and_then(Json::as_str).map(str::to_owned)
}
