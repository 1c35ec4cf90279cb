//! Writes one key to a store: creates or replaces it, reads it back and compares.
//!
//! # How a value is replaced
//! Stores have no update operation (`backends::Store`), and the process may be killed between a delete and a create. So
//! the new value is first stored under a temporary name, which is derived from the name of the key:
//!
//! 1. create `keyway-new-NAME` with the new value, and read it back;
//! 2. delete `NAME`, if its value is still the one to be replaced;
//! 3. create `NAME` with the new value, and read it back;
//! 4. delete `keyway-new-NAME`.
//!
//! Wherever this is interrupted, either `NAME` holds the old or the new value, or `keyway-new-NAME` holds the new
//! value; and the source has the new value throughout. Running the same migration again continues from each of these
//! states: before 2 the values differ, and 1 finds the temporary key already present; after 2 the name is free, and the
//! key is created like any other; after 3 the values are equal. [`clean_up`] completes 4.
//!
//! A temporary key with a third value is never touched: it may be the only copy.
//!
//! Between 2 and 3, gateways on the target answer that the key does not exist, and a client may create a new key of
//! that name. That key is kept, the migrated one is reported as failed, and its value remains under the temporary name.
//! So stop the gateways on the target first.

use std::sync::Arc;
use std::time::Duration;

use backends::{Name, Store, StoreError, Value};
use sha2::{Digest, Sha256};

use super::retry::{PAUSES, retrying};
use crate::wire::hex;

/// The prefix of the temporary name under which the new value of a key is stored during a replacement.
pub(super) const TEMPORARY_PREFIX: &str = "keyway-new-";

/// The pauses in seconds before each attempt to create a key whose name was just deleted: AWS frees names with a delay.
const NAME_PAUSES: [u64; 7] = [0, 1, 2, 4, 8, 15, 30];

/// How a key got into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It was created by this call.
    Created,
    /// It was already present, with the same value.
    Present,
}

/// Why a key is not in the store, or not certainly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undelivered {
    /// The name is taken by a different value.
    #[error("a different key of this name already exists")]
    Differs,
    /// Reading it back did not return what was written.
    #[error("it was written, but reading it back {0}")]
    ReadBack(&'static str),
    /// The temporary name is taken by a third value.
    #[error(
        "'{0}' is left over from an interrupted migration and has a different value; inspect both keys, and delete the \
         leftover if it is not needed"
    )]
    Leftover(Name),
    /// The value is stored, but only under the temporary name.
    #[error("{reason}; the new value is stored in the target as '{temporary}': run the command again")]
    OnlyTemporary {
        /// What failed.
        reason: String,
        /// Where the value is.
        temporary: Name,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Undelivered {
    /// Whether the error says that the store is unavailable, so that other keys would fail too.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}

/// Creates a key and reads it back.
///
/// # Errors
/// [`Undelivered`]; an existing key is never changed.
pub(crate) async fn create(store: &Arc<dyn Store>, name: &Name, value: &Value) -> Result<Delivered, Undelivered> {
    let delivered = match retrying(|| store.create(name, value)).await {
        Ok(()) => Delivered::Created,
        // Created by another process, or by an earlier attempt whose response was lost.
        Err(StoreError::AlreadyExists) => Delivered::Present,
        Err(error) => return Err(error.into()),
    };
    match (retrying(|| store.get(name)).await, delivered) {
        (Ok(found), _) if found == *value => Ok(delivered),
        (Ok(_), Delivered::Present) => Err(Undelivered::Differs),
        (Ok(_), Delivered::Created) => Err(Undelivered::ReadBack("returned a different value")),
        (Err(StoreError::NotFound), _) => Err(Undelivered::ReadBack("found no key")),
        (Err(error), _) => Err(error.into()),
    }
}

/// Replaces the value of a key, as described at the top of this file.
///
/// # Errors
/// [`Undelivered`], which says where the new value is.
pub(super) async fn replace(store: &Arc<dyn Store>, name: &Name, old: &Value, new: &Value) -> Result<(), Undelivered> {
    let temporary = temporary_name(name)?;
    match create(store, &temporary, new).await {
        Ok(_) => {}
        Err(Undelivered::Differs) => return Err(Undelivered::Leftover(temporary)),
        Err(error) => return Err(error),
    }
    match delete_old(store, name, old, new).await {
        Ok(true) => {}
        Ok(false) => {
            // The value to be replaced is gone, and the one that took its place must not be deleted.
            delete_temporary(store, &temporary).await?;
            return Err(Undelivered::Differs);
        }
        Err(error) => return Err(only_temporary("cannot delete the old value", &error, temporary)),
    }
    let mut result = Err(Undelivered::Differs);
    for pause in NAME_PAUSES {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        result = create(store, name, new).await;
        if !matches!(result, Err(Undelivered::Store(_))) {
            break;
        }
    }
    match result {
        Ok(_) => delete_temporary(store, &temporary).await,
        Err(error) => {
            Err(only_temporary("the old value is deleted, but the new one cannot be created", &error, temporary))
        }
    }
}

/// Deletes a key if it still has the old value. Returns whether the name is now free or already has the new value.
///
/// A delete whose response was lost is repeated only after the key was read again: by then another process may have
/// created a key of this name.
async fn delete_old(store: &Arc<dyn Store>, name: &Name, old: &Value, new: &Value) -> Result<bool, StoreError> {
    let mut pauses = PAUSES.into_iter();
    loop {
        match retrying(|| store.get(name)).await {
            Ok(found) if found == *old => {}
            Ok(found) => return Ok(found == *new),
            Err(StoreError::NotFound) => return Ok(true),
            Err(error) => return Err(error),
        }
        match store.delete(name).await {
            Ok(()) | Err(StoreError::NotFound) => return Ok(true),
            Err(error) if error.is_transient() => match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
}

fn only_temporary(what: &str, error: &dyn std::error::Error, temporary: Name) -> Undelivered {
    Undelivered::OnlyTemporary { reason: format!("{what}: {error}"), temporary }
}

async fn delete_temporary(store: &Arc<dyn Store>, temporary: &Name) -> Result<(), Undelivered> {
    match retrying(|| store.delete(temporary)).await {
        Ok(()) | Err(StoreError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a temporary key whose value the key itself has too. Returns whether it did.
///
/// # Errors
/// The store's.
pub(super) async fn clean_up(store: &Arc<dyn Store>, name: &Name, temporary: &Name) -> Result<bool, StoreError> {
    let (own, copy) = (retrying(|| store.get(name)).await, retrying(|| store.get(temporary)).await);
    if !matches!((own, copy), (Ok(own), Ok(copy)) if own == copy) {
        return Ok(false);
    }
    match retrying(|| store.delete(temporary)).await {
        Ok(()) | Err(StoreError::NotFound) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The temporary name of a key: readable if it fits into the maximum length, and unique to the key.
///
/// # Errors
/// Never in practice: the result is always a valid name.
pub(super) fn temporary_name(name: &Name) -> Result<Name, StoreError> {
    let whole = format!("{TEMPORARY_PREFIX}{name}");
    let text = if whole.len() <= Name::MAX_LEN {
        whole
    } else {
        const DIGEST: usize = 20;
        let start = Name::MAX_LEN - TEMPORARY_PREFIX.len() - 1 - 2 * DIGEST;
        let start = name.as_str().get(..start).unwrap_or_default();
        let digest = Sha256::digest(name.as_str());
        format!("{TEMPORARY_PREFIX}{start}-{}", hex(digest.iter().take(DIGEST)))
    };
    Name::parse(&text).map_err(|error| StoreError::unavailable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use backends::BackendConfig;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn value(text: &str) -> Value {
        Value::from(text.as_bytes().to_vec())
    }

    async fn store(keys: &[(&str, &str)]) -> Arc<dyn Store> {
        let store = backends::open(&BackendConfig::Memory).await.unwrap();
        for (key, text) in keys {
            store.create(&name(key), &value(text)).await.unwrap();
        }
        store
    }

    async fn content(store: &Arc<dyn Store>) -> Vec<(String, String)> {
        let mut content = Vec::new();
        for name in store.list("", None, 100).await.unwrap() {
            let value = store.get(&name).await.unwrap();
            content.push((name.to_string(), String::from_utf8(value.as_bytes().to_vec()).unwrap()));
        }
        content
    }

    #[tokio::test]
    async fn create_accepts_the_same_value_and_rejects_a_different_one() {
        let store = store(&[("same", "v"), ("other", "x")]).await;
        for (key, expected) in [("new", Some(Delivered::Created)), ("same", Some(Delivered::Present)), ("other", None)]
        {
            assert_eq!(create(&store, &name(key), &value("v")).await.ok(), expected, "{key}");
        }
        assert_eq!(
            content(&store).await,
            [("new", "v"), ("other", "x"), ("same", "v")].map(|(k, v)| (k.into(), v.into()))
        );
    }

    /// The states that a killed process leaves behind, in the order given at the top of this file.
    #[tokio::test]
    async fn a_replacement_resumes_from_every_interrupted_state() {
        for state in [
            &[("k", "old")][..],
            &[("k", "old"), ("keyway-new-k", "new")],
            &[("keyway-new-k", "new")],
            &[("k", "new"), ("keyway-new-k", "new")],
        ] {
            let store = store(state).await;
            replace(&store, &name("k"), &value("old"), &value("new")).await.unwrap();
            assert_eq!(content(&store).await, [("k".to_owned(), "new".to_owned())], "{state:?}");
        }
    }

    #[tokio::test]
    async fn a_replacement_deletes_neither_a_third_value_nor_a_leftover_with_one() {
        let third_value = [("k", "theirs")];
        let leftover = [("k", "old"), ("keyway-new-k", "older")];
        for state in [&third_value[..], &leftover] {
            let store = store(state).await;
            replace(&store, &name("k"), &value("old"), &value("new")).await.unwrap_err();
            let kept: Vec<_> = state.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(content(&store).await, kept);
        }
    }

    #[tokio::test]
    async fn only_a_redundant_temporary_key_is_cleaned_up() {
        for (state, is_removed) in [
            (&[("k", "new"), ("keyway-new-k", "new")][..], true),
            (&[("k", "old"), ("keyway-new-k", "new")], false),
            (&[("keyway-new-k", "new")], false),
        ] {
            let store = store(state).await;
            let temporary = temporary_name(&name("k")).unwrap();
            assert_eq!(clean_up(&store, &name("k"), &temporary).await.unwrap(), is_removed, "{state:?}");
            assert_eq!(content(&store).await.len(), state.len() - usize::from(is_removed));
        }
    }

    #[test]
    fn temporary_names_are_valid_and_unique() {
        let long = |last: char| name(&format!("{}{last}", "k".repeat(79)));
        assert_eq!(temporary_name(&name("my-key")).unwrap().as_str(), "keyway-new-my-key");
        assert_eq!(temporary_name(&long('a')).unwrap().as_str().len(), Name::MAX_LEN);
        assert_ne!(temporary_name(&long('a')).unwrap(), temporary_name(&long('b')).unwrap());
    }
}
