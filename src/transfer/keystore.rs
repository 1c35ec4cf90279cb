//! One of the two keystores of a command: opening it to read or to write, listing all of its keys, telling it apart
//! from the other.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backends::trash::Trash;
use backends::{BackendConfig, Name, Store, StoreError};

use super::retry::retrying;
use crate::glob::Glob;

/// Names requested per page. Some stores scan all names for each page, so most keystores should fit in one page.
const PAGE: usize = 100_000;

/// A store, and its label in messages.
#[derive(Clone, Debug)]
pub struct Keystore {
    /// `None` if the store does not exist yet and was opened read-only.
    store: Option<Arc<dyn Store>>,
    label: String,
}

/// Why a keystore cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// Opening it failed.
    #[error("cannot open the keystore of {label}")]
    Open {
        /// The keystore.
        label: String,
        /// Why.
        source: StoreError,
    },
    /// Listing its keys failed.
    #[error("cannot list the keys of {label}")]
    List {
        /// The keystore.
        label: String,
        /// Why.
        source: StoreError,
    },
    /// It does not exist.
    #[error("no keystore at {path}, the path in {label}; check the config, and that the volume is mounted")]
    Absent {
        /// The keystore.
        label: String,
        /// Where it was expected.
        path: PathBuf,
    },
    /// It is kept in memory.
    #[error("{0} uses keystore.memory, which exists only inside a running server; use a config with another keystore")]
    Memory(String),
    /// It has no matching key.
    #[error("{label} has no key that matches '{pattern}'; check the pattern, and that this is the right keystore")]
    Empty {
        /// The keystore.
        label: String,
        /// The pattern.
        pattern: Glob,
    },
    /// The name of a deleted key cannot be reused.
    #[error(
        "{0} has a recovery_window, which reserves the name of a deleted key for days, so --force cannot replace keys; \
         remove recovery_window, or keep the existing keys with --merge"
    )]
    KeepsNames(String),
    /// Source and target are the same keystore.
    #[error("{0} and {1} refer to the same keystore")]
    Same(String, String),
}

impl Keystore {
    /// Opens an existing keystore read-only.
    ///
    /// # Errors
    /// [`KeystoreError`]
    pub async fn open_to_read(file: &Path, config: &BackendConfig) -> Result<Self, KeystoreError> {
        let label = label(file, config);
        match open_existing(config, &label).await? {
            Some(store) => Ok(Self { store: Some(store), label }),
            None => Err(KeystoreError::Absent { label, path: config.path().unwrap_or(file).to_owned() }),
        }
    }

    /// Opens a keystore read-only; one that does not exist yet counts as empty.
    ///
    /// # Errors
    /// [`KeystoreError`]
    pub async fn open_to_look(file: &Path, config: &BackendConfig) -> Result<Self, KeystoreError> {
        let label = label(file, config);
        Ok(Self { store: open_existing(config, &label).await?, label })
    }

    /// Opens a keystore for writing, and creates it if it does not exist, as a server does.
    ///
    /// # Errors
    /// [`KeystoreError`]
    pub async fn open_to_write(file: &Path, config: &BackendConfig) -> Result<Self, KeystoreError> {
        let label = label(file, config);
        reject_memory(config, &label)?;
        match Box::pin(backends::open(&config.clone().for_bulk())).await {
            Ok(store) => Ok(Self { store: Some(Trash::hidden_in(store)), label }),
            Err(source) => Err(KeystoreError::Open { label, source }),
        }
    }

    /// Rejects two configs that refer to the same keystore.
    ///
    /// # Errors
    /// [`KeystoreError::Same`]
    pub fn check_distinct(one: (&Path, &BackendConfig), other: (&Path, &BackendConfig)) -> Result<(), KeystoreError> {
        if one.1.is_same_place(other.1) {
            return Err(KeystoreError::Same(one.0.display().to_string(), other.0.display().to_string()));
        }
        Ok(())
    }

    /// Rejects a keystore that does not free the name of a deleted key: nothing can be replaced in it.
    ///
    /// # Errors
    /// [`KeystoreError::KeepsNames`]
    pub fn check_replaceable(file: &Path, config: &BackendConfig) -> Result<(), KeystoreError> {
        if config.frees_names() { Ok(()) } else { Err(KeystoreError::KeepsNames(label(file, config))) }
    }

    /// All matching names, in byte order.
    ///
    /// # Errors
    /// [`KeystoreError::List`]
    pub async fn names(&self, pattern: &Glob) -> Result<Vec<Name>, KeystoreError> {
        self.names_in_pages(pattern, PAGE).await
    }

    async fn names_in_pages(&self, pattern: &Glob, size: usize) -> Result<Vec<Name>, KeystoreError> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let failed = |source| KeystoreError::List { label: self.label.clone(), source };
        let mut names: Vec<Name> = Vec::new();
        let mut last = None;
        loop {
            let page = retrying(|| store.list(pattern.prefix(), last.as_ref(), size)).await.map_err(failed)?;
            let is_last = page.len() < size; // the contract of `Store::list`
            last = page.last().cloned();
            names.extend(page.into_iter().filter(|name| pattern.matches(name.as_str())));
            if is_last {
                return Ok(names);
            }
        }
    }

    /// As [`Keystore::names`], but an empty result is an error: a wrong path is the more likely cause.
    ///
    /// # Errors
    /// [`KeystoreError::List`], [`KeystoreError::Empty`]
    pub async fn some_names(&self, pattern: &Glob) -> Result<Vec<Name>, KeystoreError> {
        let names = self.names(pattern).await?;
        if names.is_empty() {
            return Err(KeystoreError::Empty { label: self.label.clone(), pattern: pattern.clone() });
        }
        Ok(names)
    }

    /// The value of a key; [`StoreError::NotFound`] also if the store does not exist yet.
    ///
    /// # Errors
    /// The store's, after retries.
    pub(crate) async fn get(&self, name: &Name) -> Result<backends::Value, StoreError> {
        match &self.store {
            Some(store) => retrying(|| store.get(name)).await,
            None => Err(StoreError::NotFound),
        }
    }

    /// The underlying store, for writing.
    pub(crate) fn store(&self) -> Option<&Arc<dyn Store>> {
        self.store.as_ref()
    }

    /// Closes the store.
    pub async fn close(&self) {
        if let Some(store) = &self.store {
            store.close().await;
        }
    }
}

impl fmt::Display for Keystore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// `old.yml (fs)`.
fn label(file: &Path, config: &BackendConfig) -> String {
    format!("{} ({})", file.display(), config.kind())
}

/// Rejects keys in memory: those of a running server cannot be reached, and those of this process end with it.
fn reject_memory(config: &BackendConfig, label: &str) -> Result<(), KeystoreError> {
    if config.is_volatile() { Err(KeystoreError::Memory(label.to_owned())) } else { Ok(()) }
}

/// Opens a store without creating anything. `None` if it does not exist.
async fn open_existing(config: &BackendConfig, label: &str) -> Result<Option<Arc<dyn Store>>, KeystoreError> {
    reject_memory(config, label)?;
    let opened = Box::pin(config.clone().for_bulk().open_existing()).await;
    match opened {
        // Deleted keys in a trash are not keys.
        Ok(store) => Ok(store.map(Trash::hidden_in)),
        Err(source) => Err(KeystoreError::Open { label: label.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_names_are_listed_whatever_the_page_size() {
        let store = backends::open(&BackendConfig::Memory).await.unwrap();
        let names: Vec<_> = (0..50).map(|number| Name::parse(&format!("key-{number:02}")).unwrap()).collect();
        for name in &names {
            store.create(name, &backends::Value::from(b"v".to_vec())).await.unwrap();
        }
        let keystore = Keystore { store: Some(store), label: String::new() };
        for size in [1, 7, 49, 50, 51] {
            assert_eq!(keystore.names_in_pages(&Glob::all(), size).await.unwrap(), names, "{size}");
            let tens = keystore.names_in_pages(&"key-?0".parse().unwrap(), size).await.unwrap();
            assert_eq!(tens.len(), 5, "{size}");
        }
    }
}
