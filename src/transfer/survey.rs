//! What a key is on both sides, without changing anything.

use backends::{Name, StoreError, Value};
use sha2::{Digest, Sha256};

use super::Keystore;
use super::workers::trouble;
use crate::crypto::key::Key;
use crate::crypto::stored::Damaged;

/// What was found of one name.
#[derive(Debug)]
pub(crate) enum Finding {
    /// The target has no such key.
    Absent,
    /// Both have the same value.
    Equal,
    /// The target has another value.
    Differs {
        /// The target's, which a replacement gives up.
        old: Value,
        /// What is wrong with it, when it is no key.
        damage: Option<Damaged>,
    },
    /// The source has it no more.
    Gone,
    /// One of the sides has something that is no key, or does not hand it out.
    Unusable(String),
    /// One of the stores failed.
    Failed {
        /// What it said.
        reason: String,
        /// What the next key is to expect as well.
        trouble: Option<String>,
    },
}

impl Finding {
    /// What says that a store is away.
    pub(crate) fn trouble(&self) -> Option<String> {
        if let Self::Failed { trouble, .. } = self { trouble.clone() } else { None }
    }

    fn failed(side: &str, error: &StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } | StoreError::Withheld { .. } => {
                Self::Unusable(format!("in the {side}: {error}"))
            }
            _ => Self::Failed { reason: format!("in the {side}: {error}"), trouble: trouble(error) },
        }
    }
}

/// Looks at a name in both stores. A name that is `unlisted` is not asked for in the target: should it be there all the
/// same, because the listing was old, whoever creates it finds out.
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
    look_for(target, name, |found| *found == value).await
}

/// Looks at a name in the target alone; `is_equal` knows the value that it should have.
pub(crate) async fn look_for(target: &Keystore, name: &Name, is_equal: impl FnOnce(&Value) -> bool) -> Finding {
    match target.get(name).await {
        Ok(found) if is_equal(&found) => Finding::Equal,
        Ok(old) => Finding::Differs { damage: Key::from_stored(old.as_bytes()).err(), old },
        Err(StoreError::NotFound) => Finding::Absent,
        Err(error) => Finding::failed("target", &error),
    }
}

/// The check value of a key under its name.
pub(crate) fn digest(name: &Name, value: &Value) -> [u8; 32] {
    // No name holds a zero byte, so no other name and value run together to the same bytes.
    Sha256::new().chain_update(name.as_str()).chain_update([0]).chain_update(value.as_bytes()).finalize().into()
}
