//! One key into a store: created or replaced, read back, compared.
//!
//! # How a value is replaced
//! Stores have no update (`backends::Store`), and between a delete and a create the process may be killed. So the new
//! value gets a second name first, one that follows from the key's own:
//!
//! 1. create `keyway-new-NAME` with the new value, and read it back;
//! 2. delete `NAME`, if its value is still the one that was to be replaced;
//! 3. create `NAME` with the new value, and read it back;
//! 4. delete `keyway-new-NAME`.
//!
//! Wherever this stops, the old or the new value is under `NAME`, or the new value is under `keyway-new-NAME`; and the
//! source has the new value all the while. The same migration goes on from each of these states: before 2 the values
//! differ, and 1 finds its own work; after 2 the name is free, and the key is created as any other; after 3 the values
//! are equal. [`clean_up`] does what is left of 4.
//!
//! A second name that holds yet another value is never touched: it may be the last of its kind.
//!
//! Between 2 and 3 a gateway on the target says that the key does not exist, and its clients may make a new one, which
//! then stands; the key is told as failed, and its value is under the second name. Stop the gateways on the target.

use std::sync::Arc;
use std::time::Duration;

use backends::{Name, Store, StoreError, Value};
use sha2::{Digest, Sha256};

use super::retry::{PAUSES, retrying};
use crate::wire::hex;

/// What the second name of a key begins with while its value is replaced.
pub(super) const SECOND_NAME: &str = "keyway-new-";

/// The pauses after which a name is tried that the store has not given back yet: AWS takes its time.
const NAME_PAUSES: [u64; 7] = [0, 1, 2, 4, 8, 15, 30];

/// How a key came to be in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// By us.
    Created,
    /// The same value was there.
    Present,
}

/// Why a key is not in the store, or not surely.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undelivered {
    /// Another value is there.
    #[error("another key of this name is there")]
    Differs,
    /// What was written is not what is read.
    #[error("it was written, but reading it back {0}")]
    ReadBack(&'static str),
    /// A second name is taken.
    #[error(
        "'{0}' is in the way: it is the left-over of an interrupted migration with another value; look at both, and \
         delete it if nothing needs it"
    )]
    SecondName(Name),
    /// The value is safe, but under its second name.
    #[error("{reason}; its new value is in the target under '{second}': run this again")]
    UnderSecondName {
        /// What happened.
        reason: String,
        /// Where the value is.
        second: Name,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Undelivered {
    /// Whether the next key is to expect the same.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}

/// Puts a value under a name that is free, and reads it back.
///
/// # Errors
/// [`Undelivered`]; whatever is there was not touched.
pub(crate) async fn create(store: &Arc<dyn Store>, name: &Name, value: &Value) -> Result<Delivered, Undelivered> {
    let delivered = match retrying(|| store.create(name, value)).await {
        Ok(()) => Delivered::Created,
        // By somebody else, or by an attempt of ours whose answer was lost.
        Err(StoreError::AlreadyExists) => Delivered::Present,
        Err(error) => return Err(error.into()),
    };
    match (retrying(|| store.get(name)).await, delivered) {
        (Ok(found), _) if found == *value => Ok(delivered),
        (Ok(_), Delivered::Present) => Err(Undelivered::Differs),
        (Ok(_), Delivered::Created) => Err(Undelivered::ReadBack("gives another value")),
        (Err(StoreError::NotFound), _) => Err(Undelivered::ReadBack("finds nothing")),
        (Err(error), _) => Err(error.into()),
    }
}

/// Replaces the value under a name, as the head of this file says.
///
/// # Errors
/// [`Undelivered`], which tells where the new value is.
pub(super) async fn replace(store: &Arc<dyn Store>, name: &Name, old: &Value, new: &Value) -> Result<(), Undelivered> {
    let second = second_name(name)?;
    match create(store, &second, new).await {
        Ok(_) => {}
        Err(Undelivered::Differs) => return Err(Undelivered::SecondName(second)),
        Err(error) => return Err(error),
    }
    match give_up(store, name, old, new).await {
        Ok(true) => {}
        Ok(false) => {
            // What we were told to replace is gone, and nobody said that this one may be given up.
            remove_second(store, &second).await?;
            return Err(Undelivered::Differs);
        }
        Err(error) => return Err(under_second_name("cannot give up the old value", &error, second)),
    }
    let mut outcome = Err(Undelivered::Differs);
    for pause in NAME_PAUSES {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        outcome = create(store, name, new).await;
        if !matches!(outcome, Err(Undelivered::Store(_))) {
            break;
        }
    }
    match outcome {
        Ok(_) => remove_second(store, &second).await,
        Err(error) => {
            Err(under_second_name("the old value is given up, but the name is not filled again", &error, second))
        }
    }
}

/// Deletes a name if its value is still the old one. Tells whether what is there now may be ours to fill.
///
/// A delete whose answer was lost is not repeated before another look: by then the name may be somebody else's.
async fn give_up(store: &Arc<dyn Store>, name: &Name, old: &Value, new: &Value) -> Result<bool, StoreError> {
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

fn under_second_name(doing: &str, error: &dyn std::error::Error, second: Name) -> Undelivered {
    Undelivered::UnderSecondName { reason: format!("{doing}: {error}"), second }
}

async fn remove_second(store: &Arc<dyn Store>, second: &Name) -> Result<(), Undelivered> {
    match retrying(|| store.delete(second)).await {
        Ok(()) | Err(StoreError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a second name whose value is under the key's own name as well. Tells whether it did.
///
/// # Errors
/// The store's.
pub(super) async fn clean_up(store: &Arc<dyn Store>, name: &Name, second: &Name) -> Result<bool, StoreError> {
    let (own, copy) = (retrying(|| store.get(name)).await, retrying(|| store.get(second)).await);
    if !matches!((own, copy), (Ok(own), Ok(copy)) if own == copy) {
        return Ok(false);
    }
    match retrying(|| store.delete(second)).await {
        Ok(()) | Err(StoreError::NotFound) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The second name of a key: readable where it fits, and never that of another key.
///
/// # Errors
/// None that can be: what is made here is a name.
pub(super) fn second_name(name: &Name) -> Result<Name, StoreError> {
    let whole = format!("{SECOND_NAME}{name}");
    let text = if whole.len() <= Name::MAX_LEN {
        whole
    } else {
        const DIGEST: usize = 20;
        let start = Name::MAX_LEN - SECOND_NAME.len() - 1 - 2 * DIGEST;
        let start = name.as_str().get(..start).unwrap_or_default();
        let digest = Sha256::digest(name.as_str());
        format!("{SECOND_NAME}{start}-{}", hex(digest.iter().take(DIGEST)))
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
    async fn a_create_finds_its_own_value_and_refuses_another() {
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

    /// The states that a killed process leaves behind, in the order of the head of this file.
    #[tokio::test]
    async fn a_replacement_goes_on_from_wherever_it_stopped() {
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
    async fn neither_a_foreign_value_nor_a_foreign_left_over_is_given_up() {
        let foreign = [("k", "theirs")];
        let in_the_way = [("k", "old"), ("keyway-new-k", "older")];
        for state in [&foreign[..], &in_the_way] {
            let store = store(state).await;
            replace(&store, &name("k"), &value("old"), &value("new")).await.unwrap_err();
            let kept: Vec<_> = state.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(content(&store).await, kept);
        }
    }

    #[tokio::test]
    async fn only_a_second_name_that_nobody_needs_is_cleaned_up() {
        for (state, is_removed) in [
            (&[("k", "new"), ("keyway-new-k", "new")][..], true),
            (&[("k", "old"), ("keyway-new-k", "new")], false),
            (&[("keyway-new-k", "new")], false),
        ] {
            let store = store(state).await;
            let second = second_name(&name("k")).unwrap();
            assert_eq!(clean_up(&store, &name("k"), &second).await.unwrap(), is_removed, "{state:?}");
            assert_eq!(content(&store).await.len(), state.len() - usize::from(is_removed));
        }
    }

    #[test]
    fn second_names_are_names_and_differ() {
        let long = |last: char| name(&format!("{}{last}", "k".repeat(79)));
        assert_eq!(second_name(&name("my-key")).unwrap().as_str(), "keyway-new-my-key");
        assert_eq!(second_name(&long('a')).unwrap().as_str().len(), Name::MAX_LEN);
        assert_ne!(second_name(&long('a')).unwrap(), second_name(&long('b')).unwrap());
    }
}
