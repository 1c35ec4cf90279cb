//! What the token's policy has to allow, and what of that it does not.
//!
//! A policy may cover the folder of the keys (`kv/*`) or only some names in it (`kv/minio-*`). What a probe reads must be
//! covered, so it is chosen with the help of the policy.

use std::fmt;

use serde_json::{Value as Json, json};
use tracing::warn;

use crate::StoreError;
use crate::vault::auth::Connection;
use crate::vault::client::{get, post};
use crate::vault::config::{KvVersion, Place};
use crate::vault::error::Failure;
use crate::vault::kv::{self, CLAIMS};

/// What a probe reads: a name like any other, so that it needs the same rights as a key. It need not exist.
const PING: &str = "keyway-ping";

/// A capability on a path of the API, as a policy grants it.
/// Source: <https://developer.hashicorp.com/vault/docs/concepts/policies#capabilities>
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Right {
    capability: &'static str,
    path: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` on '{}'", self.capability, self.path)
    }
}

impl Right {
    /// To read the value of a key.
    pub(super) fn read(place: &Place, name: &str) -> Self {
        Self { capability: "read", path: value_path(place, name) }
    }

    /// To write the value of a new key.
    pub(super) fn create(place: &Place, name: &str) -> Self {
        Self { capability: "create", path: value_path(place, name) }
    }

    /// To remove a key.
    pub(super) fn delete(place: &Place, name: &str) -> Self {
        Self { capability: "delete", path: metadata_path(place, name) }
    }

    /// To list the keys.
    pub(super) fn list(place: &Place) -> Self {
        Self { capability: "list", path: metadata_path(place, "") }
    }

    /// What a create on KV v1 does with its claims.
    pub(super) fn claim(place: &Place, capability: &'static str) -> Self {
        Self { capability, path: value_path(place, &format!("{CLAIMS}/*")) }
    }
}

/// The path of a value in the API, without `/v1/`.
fn value_path(place: &Place, name: &str) -> String {
    place.value_path(&place.path(name))
}

/// The path of what is listed and deleted.
fn metadata_path(place: &Place, name: &str) -> String {
    match place.version {
        KvVersion::V1 => format!("{}/{}", place.engine, place.path(name)),
        KvVersion::V2 => format!("{}/metadata/{}", place.engine, place.path(name)),
    }
}

/// How to find out whether keys can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// By reading this name in the folder of the keys.
    Read(String),
    /// By having Vault look up the token: it is not known which names the policy allows to read.
    LookUp,
}

impl Probe {
    /// Chooses the probe, and makes sure that keys can be read.
    pub(super) async fn choose(connection: &Connection) -> Result<Self, StoreError> {
        let refusal = match kv::read(connection, PING).await {
            Ok(_) => return Ok(Self::Read(PING.to_owned())),
            Err(failure) if failure.is_denied() => failure,
            Err(failure) => return Err(connection.explain(failure, "read keys").await),
        };
        let place = &connection.place;
        let right = Right::read(place, "*");
        match readable_name(connection).await {
            Ok(Some(name)) if kv::read(connection, &name).await.is_ok() => return Ok(Self::Read(name)),
            Ok(None) => return Err(connection.explain(refusal, &format!("read keys, which needs {right}")).await),
            Ok(Some(_)) | Err(_) => {}
        }
        let probe = Self::LookUp;
        probe.run(connection).await?;
        warn!(
            "{place}: the token's policy does not allow {}, so probes cannot verify that keys can be read; allow it",
            Right::read(place, PING)
        );
        Ok(probe)
    }

    /// Runs the probe: whether something exists under the name that it reads.
    pub(super) async fn run(&self, connection: &Connection) -> Result<bool, StoreError> {
        let done = match self {
            Self::Read(name) => kv::read(connection, name).await.map(|found| found != kv::Found::Missing),
            Self::LookUp => {
                let look_up =
                    connection.read(async |session| get(&session.token, "auth/token/lookup-self".into()).await);
                look_up.await.map(|_| false)
            }
        };
        match done {
            Ok(exists) => Ok(exists),
            Err(failure) => Err(connection.explain(failure, "read keys").await),
        }
    }

    /// A name that stands for the keys that the policy covers.
    fn name(&self) -> &str {
        match self {
            Self::Read(name) => name,
            Self::LookUp => PING,
        }
    }

    /// The rights that the policy lacks, with what they are needed for; `None` if none is, or if Vault does not say.
    /// Source: <https://developer.hashicorp.com/vault/api-docs/system/capabilities-self>
    pub(super) async fn missing_rights(&self, connection: &Connection) -> Option<String> {
        let place = &connection.place;
        let needed = needed(place, self.name());
        let paths: Vec<_> =
            needed.iter().flat_map(|need| [need.asked.as_str(), need.asked.trim_end_matches('/')]).collect();
        let body = json!({"paths": paths});
        let done = connection.read(async |session| post(&session.keys, "sys/capabilities-self".into(), &body).await);
        let answer = done.await.ok()?;
        let is_missing = |need: &&Need| {
            let granted = |path: &str| {
                let capabilities = answer.get("data").and_then(|data| data.get(path)).and_then(Json::as_array);
                let mut capabilities = capabilities.into_iter().flatten().filter_map(Json::as_str);
                capabilities.any(|capability| capability == need.right.capability || capability == "root")
            };
            !granted(&need.asked) && !granted(need.asked.trim_end_matches('/'))
        };
        let missing: Vec<_> =
            needed.iter().filter(is_missing).map(|need| format!("{}, to {} keys", need.right, need.purpose)).collect();
        (!missing.is_empty())
            .then(|| format!("{place}: the token's policy does not allow {}; allow it", missing.join("; ")))
    }
}

/// A right that an operation needs.
struct Need {
    /// As a policy would grant it.
    right: Right,
    /// The path to ask Vault about; that of a listing ends in `/`.
    asked: String,
    /// What it is needed for.
    purpose: &'static str,
}

/// What the operations on a key of this name need, except for reading, which the probe has shown.
fn needed(place: &Place, name: &str) -> Vec<Need> {
    let folder = |path: String| if path.ends_with('/') { path } else { format!("{path}/") };
    let mut needed = vec![
        Need { right: Right::create(place, "*"), asked: value_path(place, name), purpose: "create" },
        Need { right: Right::delete(place, "*"), asked: metadata_path(place, name), purpose: "delete" },
        Need { right: Right::list(place), asked: folder(metadata_path(place, "")), purpose: "list" },
    ];
    if place.version == KvVersion::V1 {
        let claims = value_path(place, &format!("{CLAIMS}/{name}"));
        let claim = |capability, asked| Need { right: Right::claim(place, capability), asked, purpose: "create" };
        needed.extend([
            claim("create", format!("{claims}/id")),
            claim("list", folder(claims.clone())),
            claim("delete", format!("{claims}/id")),
        ]);
    }
    if let Some(transit) = &place.transit {
        needed.push(Need {
            right: Right { capability: "update", path: format!("{}/encrypt/{}", transit.engine, transit.key) },
            asked: format!("{}/encrypt/{}", transit.engine, transit.key),
            purpose: "create",
        });
    }
    needed
}

/// A name in the folder of the keys that the policy allows to read; `None` if it allows none.
/// Source: `sys/internal/ui/resultant-acl`, which Vault's own console reads; the default policy allows it.
async fn readable_name(connection: &Connection) -> Result<Option<String>, Failure> {
    let path = "sys/internal/ui/resultant-acl";
    let answer = connection.read(async |session| get(&session.keys, path.to_owned()).await).await?;
    Ok(covered_name(&answer, &value_path(&connection.place, "")))
}

/// A name in `folder` that one of the rules of a policy allows to read.
fn covered_name(acl: &Json, folder: &str) -> Option<String> {
    let rules =
        |kind: &str| acl.get("data").and_then(|data| data.get(kind)).and_then(Json::as_object).into_iter().flatten();
    let allows = |rule: &Json| {
        let capabilities = rule.get("capabilities").and_then(Json::as_array);
        capabilities.is_some_and(|all| all.contains(&json!("read")) && !all.contains(&json!("deny")))
    };
    let leaf = |path: &str| path.strip_prefix(folder).filter(|leaf| !leaf.contains('/')).map(str::to_owned);
    let by_beginning = rules("glob_paths").filter(|(_, rule)| allows(rule)).filter_map(|(beginning, _)| {
        if folder.starts_with(beginning.as_str()) { Some(PING.to_owned()) } else { Some(leaf(beginning)? + PING) }
    });
    let exactly = rules("exact_paths").filter(|(_, rule)| allows(rule)).filter_map(|(path, _)| leaf(path));
    by_beginning.chain(exactly).find(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_to_probe_is_one_that_the_policy_covers() {
        let allow = |path: &str| json!({path: {"capabilities": ["create", "read"]}});
        for (globs, exact, name) in [
            (allow("kv/minio-"), json!({}), Some("minio-keyway-ping")),
            (allow("kv/"), json!({}), Some("keyway-ping")),
            (allow("kv/sub/x"), json!({}), None),
            (allow("other/"), json!({}), None),
            (json!({"kv/a": {"capabilities": ["deny", "read"]}}), json!({}), None),
            (json!({"kv/a": {"capabilities": ["create"]}}), json!({}), None),
            (json!({}), allow("kv/my-key"), Some("my-key")),
            (json!({}), allow("kv/"), None),
        ] {
            let acl = json!({"data": {"glob_paths": globs, "exact_paths": exact}});
            assert_eq!(covered_name(&acl, "kv/").as_deref(), name, "{acl}");
        }
        assert_eq!(covered_name(&json!({"data": {"root": true}}), "kv/"), None);
    }
}
