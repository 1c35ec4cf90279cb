//! The KV engine, version 1 and version 2 alike: read, write, remove and list one path.
//!
//! The format is that of KES: an object with one field that has the name of the key. A value that is not UTF-8, which
//! neither KES nor Keyway creates but a store must support, is an object `{"base64": ...}` in place of the text.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use vaultrs::api::kv2::requests::{ReadSecretRequest, SetSecretRequestOptions};
use vaultrs::api::kv2::responses::SecretVersionMetadata;
use vaultrs::{api, kv1, kv2};
use zeroize::{Zeroize, Zeroizing};

use crate::vault::auth::Connection;
use crate::vault::client::quiet;
use crate::vault::config::{KvVersion, Place};
use crate::vault::error::{Failure, Version};
use crate::{Name, Value};

/// The folder, within that of the keys, with the claims of `claim.rs`.
pub(super) const CLAIMS: &str = ".keyway/claims";

/// What is under a path.
#[derive(PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, according to the engine; see `vault/mount.rs` for when that is certain.
    Missing,
    /// A text or bytes under the name of the key.
    Value(Stored),
    /// Something that is not a value, and why.
    Foreign(&'static str),
    /// A newest version that is deleted (KV v2).
    Deleted(u64),
    /// A newest version that is destroyed (KV v2).
    Destroyed(u64),
}

/// When Vault will delete a version of a value by itself (KV v2).
/// Source: `deletion_time` in <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version>
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deletion {
    version: u64,
    /// As Vault writes it, RFC 3339.
    time: String,
}

impl Deletion {
    /// That of a version that can be read, so that its time is in the future.
    fn of(version: SecretVersionMetadata) -> Option<Self> {
        let SecretVersionMetadata { version, deletion_time: time, .. } = version;
        (!time.is_empty()).then_some(Self { version, time })
    }

    /// What will happen to a key, and how to prevent it.
    pub(super) fn text(&self, place: &Place, name: &Name) -> String {
        let (engine, path, Self { version, time }) = (&place.engine, place.path(name.as_str()), self);
        format!(
            "{place} WILL DELETE the key '{name}' at {time}, because the engine or the key has a delete_version_after; \
             turn that off with `vault write {engine}/config delete_version_after=0s` and `vault kv metadata put \
             -mount={engine} -delete-version-after=0s {path}`, then keep the key with `vault kv undelete \
             -mount={engine} -versions={version} {path}`"
        )
    }
}

/// A value as KV stores it. Wiped on drop, except for the copies inside of the requests and responses of vaultrs.
#[derive(PartialEq, Eq)]
pub(super) enum Stored {
    Text(Zeroizing<String>),
    Bytes(Zeroizing<Vec<u8>>),
}

impl Stored {
    pub(super) fn of(value: &Value) -> Self {
        match str::from_utf8(value.as_bytes()) {
            Ok(text) => Self::Text(Zeroizing::new(text.to_owned())),
            Err(_) => Self::Bytes(Zeroizing::new(value.as_bytes().to_vec())),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Text(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => json!({"base64": STANDARD.encode(bytes)}),
        }
    }

    /// Finds the field of that name, also where an engine of version 1 took a request for version 2 as it is, as from
    /// KES with the wrong `version`: `{"data": {NAME: ...}, "options": ...}`.
    fn find(mut data: Json, name: &str) -> Found {
        let is_nested = data.get("data").is_some_and(|inner| inner.get(name).is_some());
        let fields = if is_nested { data.get_mut("data") } else { Some(&mut data) };
        let field = fields.and_then(|fields| fields.get_mut(name)).map(Json::take);
        wipe(&mut data);
        match field {
            Some(Json::String(text)) => Found::Value(Self::Text(Zeroizing::new(text))),
            Some(mut other) => {
                let bytes = other.get("base64").and_then(Json::as_str).and_then(|text| STANDARD.decode(text).ok());
                wipe(&mut other);
                match bytes {
                    Some(bytes) => Found::Value(Self::Bytes(Zeroizing::new(bytes))),
                    None => Found::Foreign("its field of that name is not text"),
                }
            }
            None => Found::Foreign("it has no field of that name"),
        }
    }
}

/// Overwrites the texts in a JSON value.
fn wipe(json: &mut Json) {
    match json {
        Json::String(text) => text.zeroize(),
        Json::Array(items) => items.iter_mut().for_each(wipe),
        Json::Object(fields) => fields.values_mut().for_each(wipe),
        _ => {}
    }
}

/// Reads the newest version of the value of that name.
pub(super) async fn read(connection: &Connection, name: &str) -> Result<Found, Failure> {
    read_with_deletion(connection, name).await.map(|(found, _)| found)
}

/// Whether a value of that name is under another path of the engine, as far as the policy allows to read it.
pub(super) async fn has_value_at(connection: &Connection, name: &str, path: &str) -> Result<bool, Failure> {
    let place = &connection.place;
    match connection.read_without_login(&place.value_path(path)).await {
        Ok(mut data) => {
            let data = match place.version {
                KvVersion::V1 => data,
                KvVersion::V2 => data.get_mut("data").map(Json::take).unwrap_or_default(),
            };
            Ok(matches!(Stored::find(data, name), Found::Value(_)))
        }
        // Whoever may not read there has not put keys there.
        Err(failure) if failure.is_missing() || failure.is_denied() => Ok(false),
        Err(Failure::Status { version: Some(_), .. }) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// The same with the time of its deletion by Vault, if it has one (KV v2).
pub(super) async fn read_with_deletion(
    connection: &Connection,
    name: &str,
) -> Result<(Found, Option<Deletion>), Failure> {
    let place = &connection.place;
    let path = place.path(name);
    let read = match place.version {
        KvVersion::V1 => {
            let read = connection.read(async |session| {
                quiet(kv1::get_raw(&session.keys, &place.engine, &path)).await.map(|raw| (raw.data, None))
            });
            read.await
        }
        KvVersion::V2 => {
            let read = connection.read(async |session| {
                let request = ReadSecretRequest { mount: place.engine.clone(), path: path.clone(), version: None };
                let read = quiet(api::exec_with_result(&session.keys, request)).await?;
                Ok((read.data, Deletion::of(read.metadata)))
            });
            read.await
        }
    };
    let found = match read {
        Ok((data, deletion)) => return Ok((Stored::find(data, name), deletion)),
        Err(Failure::Status { version: Some(Version { number, destroyed }), .. }) => {
            if destroyed {
                Found::Destroyed(number)
            } else {
                Found::Deleted(number)
            }
        }
        Err(failure) if failure.is_missing() => Found::Missing,
        Err(failure) => return Err(failure),
    };
    Ok((found, None))
}

/// Writes a value; on KV v2 only when there never was one under the name. Returns the time when Vault will delete it, if
/// there is one.
pub(super) async fn write(connection: &Connection, name: &Name, stored: &Stored) -> Result<Option<Deletion>, Failure> {
    let place = &connection.place;
    let path = place.path(name.as_str());
    let data = if place.nested {
        HashMap::from([("data", json!({name.as_str(): stored.json()})), ("options", json!({"cas": 0}))])
    } else {
        HashMap::from([(name.as_str(), stored.json())])
    };
    let written = match place.version {
        KvVersion::V1 => {
            let written = connection.write(async |session| {
                quiet(kv1::set(&session.keys, &place.engine, &path, &data)).await.map(|()| None)
            });
            written.await
        }
        KvVersion::V2 => {
            let written = connection.write(async |session| {
                let options = SetSecretRequestOptions { cas: 0 };
                let written = quiet(kv2::set_with_options(&session.keys, &place.engine, &path, &data, options)).await?;
                Ok(Deletion::of(written))
            });
            written.await
        }
    };
    for mut json in data.into_values() {
        wipe(&mut json);
    }
    written
}

/// Whether a write of KV v2 failed because there is, or was, something under the name. The status, 400, is not
/// specific; the message is. Source: the KV v2 engine of Vault 1.13 and `OpenBao` 2.7.
pub(super) fn is_taken(failure: &Failure) -> bool {
    failure.code() == Some(400) && failure.says("check-and-set parameter did not match")
}

/// Removes a name, on KV v2 with all versions.
pub(super) async fn remove(connection: &Connection, name: &Name) -> Result<(), Failure> {
    let place = &connection.place;
    let path = place.path(name.as_str());
    match place.version {
        KvVersion::V1 => remove_v1(connection, &path).await,
        KvVersion::V2 => {
            connection
                .write(async |session| quiet(kv2::delete_metadata(&session.keys, &place.engine, &path)).await)
                .await
        }
    }
}

async fn remove_v1(connection: &Connection, path: &str) -> Result<(), Failure> {
    let engine = &connection.place.engine;
    connection.write(async |session| quiet(kv1::delete(&session.keys, engine, path)).await).await
}

/// What is in the folder of the keys; names of folders end in `/`.
pub(super) async fn list(connection: &Connection) -> Result<Vec<String>, Failure> {
    let place = &connection.place;
    let folder = &place.prefix;
    let listed = match place.version {
        KvVersion::V1 => list_v1(connection, folder).await,
        KvVersion::V2 => {
            connection.read(async |session| quiet(kv2::list(&session.keys, &place.engine, folder)).await).await
        }
    };
    if matches!(&listed, Err(failure) if failure.is_missing()) { Ok(Vec::new()) } else { listed }
}

async fn list_v1(connection: &Connection, folder: &str) -> Result<Vec<String>, Failure> {
    let engine = &connection.place.engine;
    connection.read(async |session| Ok(quiet(kv1::list(&session.keys, engine, folder)).await?.data.keys)).await
}

/// The claims of `claim.rs` on KV v1.
fn claims(connection: &Connection, name: &Name) -> String {
    connection.place.path(&format!("{CLAIMS}/{name}"))
}

pub(super) async fn claim(connection: &Connection, name: &Name, id: &str) -> Result<(), Failure> {
    let path = format!("{}/{id}", claims(connection, name));
    let data = HashMap::from([("claim", "a key is being created; remove this if it is older than a minute")]);
    let engine = &connection.place.engine;
    connection.write(async |session| quiet(kv1::set(&session.keys, engine, &path, &data)).await).await
}

pub(super) async fn unclaim(connection: &Connection, name: &Name, id: &str) -> Result<(), Failure> {
    remove_v1(connection, &format!("{}/{id}", claims(connection, name))).await
}

pub(super) async fn list_claims(connection: &Connection, name: &Name) -> Result<Vec<String>, Failure> {
    let listed = list_v1(connection, &claims(connection, name)).await;
    if matches!(&listed, Err(failure) if failure.is_missing()) { Ok(Vec::new()) } else { listed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_field_with_the_name_of_the_key() {
        let text = Stored::Text(Zeroizing::new("CmEK".to_owned()));
        assert_eq!(text.json(), json!("CmEK"));
        assert!(Stored::find(json!({"k": "CmEK"}), "k") == Found::Value(text));
    }

    #[test]
    fn a_value_is_also_found_within_a_request_for_version_2() {
        for name in ["k", "data", "options", "base64"] {
            let text = || Found::Value(Stored::Text(Zeroizing::new("CmEK".to_owned())));
            assert!(Stored::find(json!({"data": {name: "CmEK"}, "options": {"cas": 0}}), name) == text(), "{name}");
            assert!(Stored::find(json!({name: "CmEK"}), name) == text(), "{name}");
            let bytes = || Found::Value(Stored::Bytes(Zeroizing::new(vec![0xff, 0, 1])));
            assert!(Stored::find(json!({"data": {name: {"base64": "/wAB"}}}), name) == bytes(), "{name}");
            if name != "base64" {
                assert!(Stored::find(json!({name: {"base64": "/wAB"}}), name) == bytes(), "{name}");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_returned_unchanged() {
        let bytes = Stored::of(&Value::from(vec![0xff, 0, 1]));
        assert_eq!(bytes.json(), json!({"base64": "/wAB"}));
        assert!(Stored::find(json!({"k": bytes.json()}), "k") == Found::Value(bytes));
    }

    #[test]
    fn what_is_not_a_value_is_foreign() {
        for data in [json!({}), json!({"other": "x"}), json!({"k": 7}), json!({"k": {"base64": "?"}}), json!(null)] {
            assert!(matches!(Stored::find(data, "k"), Found::Foreign(_)));
        }
    }
}
