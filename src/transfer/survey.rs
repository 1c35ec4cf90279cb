//! The state of a key in the source and in the target. Read-only.

use backends::{Name, StoreError, Value};
use sha2::{Digest, Sha256};

use super::Keystore;
use super::workers::outage;
use crate::crypto::key::Key;
use crate::crypto::stored::Damaged;

/// What the survey found for one name.
#[derive(Debug)]
pub(crate) enum Finding {
    /// The key is not in the target.
    Absent,
    /// Both keystores have the same value.
    Equal,
    /// The target has a different value.
    Differs {
        /// The value in the target, which a replacement would delete.
        old: Value,
        /// What is wrong with it, if it is not a valid key.
        damage: Option<Damaged>,
    },
    /// The key was deleted from the source after it was listed.
    Gone,
    /// One of the keystores has a value that is not a valid key, or refuses to return it.
    Unusable(String),
    /// A store operation failed.
    Failed {
        /// Which keystore, and the error.
        reason: String,
        /// The error, if it says that the store is unavailable, so that other keys would fail too.
        outage: Option<String>,
    },
}

impl Finding {
    /// The error, if it says that a store is unavailable.
    pub(crate) fn outage(&self) -> Option<String> {
        if let Self::Failed { outage, .. } = self { outage.clone() } else { None }
    }

    fn failed(keystore: &str, error: &StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } | StoreError::Withheld { .. } => {
                Self::Unusable(format!("in the {keystore}: {error}"))
            }
            _ => Self::Failed { reason: format!("in the {keystore}: {error}"), outage: outage(error) },
        }
    }
}

/// Compares a key in both keystores. A name that is `unlisted` is not read from the target: if the listing was stale
/// and the key exists after all, the later create detects it.
pub(crate) async fn compare(source: &Keystore, target: &Keystore, name: &Name, unlisted: bool) -> Finding {
    let value = match source.get(name).await {
        Ok(value) => value,
        Err(StoreError::NotFound) => return Finding::Gone,
        Err(error) => return Finding::failed("source", &error),
    };
    if let Err(damage) = Key::from_stored(value.as_bytes()) {
        return Finding::Unusable(format!("in the source: {damage}"));
    }
    if unlisted {
        return Finding::Absent;
    }
    check_target(target, name, |found| *found == value).await
}

/// Checks a key in the target only; `is_equal` decides whether its value is the expected one.
pub(crate) async fn check_target(target: &Keystore, name: &Name, is_equal: impl FnOnce(&Value) -> bool) -> Finding {
    match target.get(name).await {
        Ok(found) if is_equal(&found) => Finding::Equal,
        Ok(old) => Finding::Differs { damage: Key::from_stored(old.as_bytes()).err(), old },
        Err(StoreError::NotFound) => Finding::Absent,
        Err(error) => Finding::failed("target", &error),
    }
}

/// The checksum of a key and its name.
pub(crate) fn checksum(name: &Name, value: &Value) -> [u8; 32] {
    // A name never contains a zero byte, so no other pair of name and value gives the same bytes.
    Sha256::new().chain_update(name.as_str()).chain_update([0]).chain_update(value.as_bytes()).finalize().into()
}
