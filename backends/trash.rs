//! A store around a store: deleted values stay for a while under names of their own, and can be restored.
//!
//! # Entries
//! A delete first creates an entry, `keyway-trash-SECONDS-RANDOM`, with the time in seconds since 1970 (10 digits) and 16
//! hexadecimal digits. Its value is a line `keyway-trash v1 NAME` and then the deleted value, unchanged. Entries are
//! never read or listed as keys, whether deletes create them or not.
//!
//! # What is guaranteed
//! A name that was reported as deleted has a durable entry with the value that was read just before. If the process
//! ends in between, both exist. Deletes within one process take turns; if another process deletes and creates the same
//! name at the same moment, the entry may contain the older of the two values.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::{Change, InvalidName, Name, Store, StoreError, Value, chain};

/// The beginning of the names of entries.
const PREFIX: &str = "keyway-trash-";

/// The beginning of the values of entries, before the name.
const MAGIC: &str = "keyway-trash v1 ";

/// The maximum length of what stands before a value in its entry.
const MAX_HEAD: usize = 128;
const _: () = assert!(MAGIC.len() + Name::MAX_LEN < MAX_HEAD);

/// The digits of the time in the name of an entry, and those of the random number.
const TIME_DIGITS: usize = 10;
const RANDOM_DIGITS: usize = 16;

/// The time between two searches for entries that are too old.
const PURGE_INTERVAL: Duration = Duration::from_hours(1);

/// The number of names per listing when entries are searched for.
const BATCH: usize = 1_000;

/// A store that hides the entries of the trash, and creates them if it is told to.
#[derive(Debug)]
pub struct Trash {
    store: Arc<dyn Store>,
    /// How long deleted values stay; `None`: they do not.
    keep: Option<Duration>,
    /// Deletes take turns, so that none deletes a value that another one has not read.
    turn: Mutex<()>,
}

/// A deleted value in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name under which it is stored.
    pub entry: Name,
    /// The name of the deleted key.
    pub name: Name,
    /// When it was deleted.
    pub deleted: SystemTime,
}

impl Trash {
    /// Hides the entries in `store`; deletes are permanent.
    pub fn hidden_in(store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Self { store, keep: None, turn: Mutex::default() })
    }

    /// Keeps deleted values for this time. Older ones are deleted every hour, as long as the store is used. Must be
    /// called within a tokio runtime.
    pub fn around(store: Arc<dyn Store>, keep: Duration) -> Arc<dyn Store> {
        let trash = Arc::new(Self { store, keep: Some(keep), turn: Mutex::default() });
        tokio::spawn(purge_regularly(Arc::downgrade(&trash)));
        trash
    }

    /// Creates the entry for a value.
    async fn put(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        let head = format!("{MAGIC}{name}\n");
        if head.len() + value.len() > Value::MAX_LEN {
            let reason = format!("the key '{name}' is too large for the trash; turn keystore.trash off to delete it");
            return Err(StoreError::unavailable(reason));
        }
        let entry = Value::from([head.as_bytes(), value.as_bytes()].concat());
        loop {
            let name = entry_name(SystemTime::now()).map_err(|error| StoreError::unavailable(error.to_string()))?;
            match self.store.create(&name, &entry).await {
                Err(StoreError::AlreadyExists) => {}
                done => return done,
            }
        }
    }
}

#[async_trait]
impl Store for Trash {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        if time_of(name).is_some() {
            let reason = format!("names like '{name}' are those of deleted keys; use another name");
            return Err(StoreError::unavailable(reason));
        }
        if self.keep.is_some() && value.len() > Value::MAX_LEN - MAX_HEAD {
            let reason = format!("the value of '{name}' is too long for a keystore with a trash");
            return Err(StoreError::unavailable(reason));
        }
        self.store.create(name, value).await
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        if time_of(name).is_some() { Err(StoreError::NotFound) } else { self.store.get(name).await }
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        if time_of(name).is_some() {
            return Err(StoreError::NotFound);
        }
        if self.keep.is_none() {
            return self.store.delete(name).await;
        }
        let _turn = self.turn.lock().await;
        let value = self.store.get(name).await?;
        self.put(name, &value).await?;
        self.store.delete(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        let mut names: Vec<Name> = Vec::new();
        let mut after = after.cloned();
        loop {
            let wanted = limit.saturating_sub(names.len());
            let listed = self.store.list(prefix, after.as_ref(), wanted).await?;
            let is_end = listed.len() < wanted;
            after = listed.last().cloned();
            names.extend(listed.into_iter().filter(|name| time_of(name).is_none()));
            if is_end || names.len() >= limit {
                return Ok(names);
            }
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    fn changes(&self) -> Option<tokio::sync::broadcast::Receiver<Change>> {
        self.store.changes()
    }

    fn missing_rights(&self) -> Option<String> {
        self.store.missing_rights()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

/// The entries in a store, oldest first. `store` is the store itself, without a [`Trash`] around it.
///
/// # Errors
/// Those of reaching the store.
pub async fn entries(store: &dyn Store) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    for (entry, deleted) in entry_names(store).await? {
        let value = match store.get(&entry).await {
            Ok(value) => value,
            Err(StoreError::NotFound) => continue, // deleted in the meantime
            Err(error) => return Err(error),
        };
        if let Some((name, _)) = split(&value) {
            entries.push(Entry { entry, name, deleted });
        }
    }
    Ok(entries)
}

/// Creates the key again with the value of an entry, and then deletes the entry.
///
/// # Errors
/// [`StoreError::AlreadyExists`] if there is a key of that name; it is not changed. [`StoreError::NotFound`] if there is
/// no such entry any more.
pub async fn restore(store: &dyn Store, entry: &Entry) -> Result<(), StoreError> {
    let value = store.get(&entry.entry).await?;
    let Some((name, value)) = split(&value) else {
        let reason = format!("'{}' is not an entry of the trash", entry.entry);
        return Err(StoreError::Damaged { reason });
    };
    store.create(&name, &value).await?;
    store.delete(&entry.entry).await
}

/// The name and the value in an entry.
fn split(entry: &Value) -> Option<(Name, Value)> {
    let rest = entry.as_bytes().strip_prefix(MAGIC.as_bytes())?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (name, value) = rest.split_at_checked(end)?;
    let name = Name::parse(str::from_utf8(name).ok()?).ok()?;
    Some((name, Value::from(value.get(1..)?.to_vec())))
}

fn entry_name(now: SystemTime) -> Result<Name, InvalidName> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Name::parse(&format!("{PREFIX}{seconds:0TIME_DIGITS$}-{:0RANDOM_DIGITS$x}", fastrand::u64(..)))
}

/// When the key was deleted whose entry has this name; `None` if it is not that of an entry.
fn time_of(name: &Name) -> Option<SystemTime> {
    let (time, random) = name.as_str().strip_prefix(PREFIX)?.split_once('-')?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_entry = time.len() == TIME_DIGITS
        && random.len() == RANDOM_DIGITS
        && time.bytes().all(|byte| byte.is_ascii_digit())
        && random.bytes().all(is_hex);
    is_entry.then(|| time.parse().ok().map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds))).flatten()
}

/// The names of all entries, oldest first, with their times.
async fn entry_names(store: &dyn Store) -> Result<Vec<(Name, SystemTime)>, StoreError> {
    let mut found = Vec::new();
    let mut after: Option<Name> = None;
    loop {
        let listed = store.list(PREFIX, after.as_ref(), BATCH).await?;
        let is_end = listed.len() < BATCH;
        after = listed.last().cloned();
        found.extend(listed.into_iter().filter_map(|name| Some((name.clone(), time_of(&name)?))));
        if is_end {
            return Ok(found);
        }
    }
}

/// Deletes entries that are too old, as long as the trash is in use.
async fn purge_regularly(trash: Weak<Trash>) {
    // Not at once: a reload that is refused, or corrected a moment later, deletes nothing.
    tokio::time::sleep(PURGE_INTERVAL).await;
    while let Some(trash) = trash.upgrade() {
        if let Some(keep) = trash.keep {
            match purge(&*trash.store, keep, SystemTime::now()).await {
                Ok(0) => {}
                Ok(count) => info!(count, "deleted keys left the trash"),
                Err(error) => warn!(reason = chain(&error), "cannot empty the trash; trying again in an hour"),
            }
        }
        drop(trash);
        tokio::time::sleep(PURGE_INTERVAL).await;
    }
}

/// Deletes entries older than `keep`. Returns how many.
async fn purge(store: &dyn Store, keep: Duration, now: SystemTime) -> Result<usize, StoreError> {
    let mut count = 0;
    for (entry, deleted) in entry_names(store).await? {
        if now.duration_since(deleted).is_ok_and(|age| age > keep) {
            match store.delete(&entry).await {
                Ok(()) => count += 1,
                Err(StoreError::NotFound) => {} // another gateway was faster
                Err(error) => return Err(error),
            }
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    const DAY: Duration = Duration::from_hours(24);

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn value(text: &str) -> Value {
        Value::from(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn a_deleted_key_is_restored_with_its_value_but_never_over_another_one() {
        let inner: Arc<dyn Store> = Arc::new(Memory::default());
        let trash = Trash::around(inner.clone(), DAY);
        trash.create(&name("key"), &value("old")).await.unwrap();
        trash.delete(&name("key")).await.unwrap();
        assert!(matches!(trash.get(&name("key")).await, Err(StoreError::NotFound)));
        assert!(matches!(trash.delete(&name("key")).await, Err(StoreError::NotFound)));
        let entries = entries(&*inner).await.unwrap();
        assert_eq!(entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["key"]);

        trash.create(&name("key"), &value("new")).await.unwrap();
        assert!(matches!(restore(&*inner, &entries[0]).await, Err(StoreError::AlreadyExists)));
        assert_eq!(trash.get(&name("key")).await.unwrap(), value("new"));
        inner.delete(&name("key")).await.unwrap();
        restore(&*inner, &entries[0]).await.unwrap();
        assert_eq!(trash.get(&name("key")).await.unwrap(), value("old"));
        assert_eq!(super::entries(&*inner).await.unwrap(), []);
    }

    #[tokio::test]
    async fn entries_are_not_keys_whether_the_trash_is_on_or_off() {
        let inner: Arc<dyn Store> = Arc::new(Memory::default());
        let on = Trash::around(inner.clone(), DAY);
        for key in ["a", "k", "z"] {
            on.create(&name(key), &value(key)).await.unwrap();
        }
        for key in ["a", "k"] {
            on.delete(&name(key)).await.unwrap();
        }
        for store in [on, Trash::hidden_in(inner.clone())] {
            for limit in 1..4 {
                assert_eq!(store.list("", None, limit).await.unwrap(), [name("z")], "{limit}");
            }
            assert_eq!(store.list(PREFIX, None, 9).await.unwrap(), []);
            let entry = entry_names(&*inner).await.unwrap()[0].0.clone();
            assert!(matches!(store.get(&entry).await, Err(StoreError::NotFound)));
            assert!(matches!(store.delete(&entry).await, Err(StoreError::NotFound)));
            assert!(matches!(store.create(&entry, &value("x")).await, Err(StoreError::Unavailable { .. })));
            // Only exactly these names are entries.
            let similar = name("keyway-trash-can");
            store.create(&similar, &value("x")).await.unwrap();
            assert_eq!(store.list(PREFIX, None, 9).await.unwrap(), std::slice::from_ref(&similar));
            inner.delete(&similar).await.unwrap();
        }
        assert_eq!(inner.list("", None, 9).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn an_entry_leaves_the_trash_when_it_is_too_old() {
        let inner: Arc<dyn Store> = Arc::new(Memory::default());
        let trash = Trash::around(inner.clone(), DAY);
        trash.create(&name("key"), &value("x")).await.unwrap();
        trash.delete(&name("key")).await.unwrap();
        let now = SystemTime::now();
        assert_eq!(purge(&*inner, DAY, now + DAY / 2).await.unwrap(), 0);
        assert_eq!(purge(&*inner, DAY, now + 2 * DAY).await.unwrap(), 1);
        assert_eq!(inner.list("", None, 9).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_value_that_cannot_be_kept_is_not_deleted() {
        let inner: Arc<dyn Store> = Arc::new(Memory::default());
        let trash = Trash::around(inner.clone(), DAY);
        let large = Value::from(vec![b'x'; Value::MAX_LEN]);
        assert!(matches!(trash.create(&name("key"), &large).await, Err(StoreError::Unavailable { .. })));
        inner.create(&name("key"), &large).await.unwrap(); // before there was a trash
        assert!(matches!(trash.delete(&name("key")).await, Err(StoreError::Unavailable { .. })));
        assert_eq!(trash.get(&name("key")).await.unwrap(), large);
    }

    #[test]
    fn an_entry_is_read_as_it_is_documented() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let entry = entry_name(now).unwrap();
        assert!(entry.as_str().starts_with("keyway-trash-1795000000-") && entry.as_str().len() == 40, "{entry}");
        assert_eq!(time_of(&entry), Some(now));
        let (of, stored) = split(&value("keyway-trash v1 my-key\nvalue\nof it")).unwrap();
        assert_eq!((of, stored), (name("my-key"), value("value\nof it")));
        for other in ["", "keyway-trash v1 my-key", "keyway-trash v2 my-key\nx", "keyway-trash v1 a.b\nx"] {
            assert!(split(&value(other)).is_none(), "{other}");
        }
    }
}
