//! One store of the two: opened for reading or for writing, listed to its end, told apart from the other.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backends::{BackendConfig, Name, Store, StoreError, postgres};

use super::glob::Glob;
use super::retry::retrying;

/// Names asked for at once. Some stores go through all of theirs for each page, so one page should hold most of them.
const PAGE: usize = 100_000;

/// The time for an operation in AWS. Its attempts are bounded each by itself, and are few.
const LISTING: Duration = Duration::from_mins(10);

/// A store, and what messages call it.
#[derive(Clone, Debug)]
pub struct Keystore {
    /// Nothing when the store is yet to be made, and only looked at.
    store: Option<Arc<dyn Store>>,
    label: String,
}

/// Why a store cannot be one side.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// It could not be opened.
    #[error("cannot open the keystore of {label}")]
    Open {
        /// Which one.
        label: String,
        /// Why.
        source: StoreError,
    },
    /// Its names could not be listed.
    #[error("cannot list the keys of {label}")]
    List {
        /// Which one.
        label: String,
        /// Why.
        source: StoreError,
    },
    /// There is nothing to read from.
    #[error("there is no keystore at {path}, which {label} names; is it the right config, and its volume mounted?")]
    Absent {
        /// Which one.
        label: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// Keys in memory.
    #[error("{0} has keystore.memory, whose keys end with each process: there is nothing to read or to keep there")]
    Memory(String),
    /// No key to move.
    #[error("{label} holds no key whose name matches '{pattern}'; is it the right keystore?")]
    Empty {
        /// Which one.
        label: String,
        /// What was asked for.
        pattern: Glob,
    },
    /// A name cannot be filled again.
    #[error("{0} has a recovery_window: the name of a deleted key stays taken for days, so --force cannot replace it")]
    KeepsNames(String),
    /// Both sides are one.
    #[error("{0} and {1} name the same keystore")]
    Same(String, String),
}

impl Keystore {
    /// Opens a store to read from. Nothing is made.
    ///
    /// # Errors
    /// [`KeystoreError`]
    pub async fn open_to_read(file: &Path, config: &BackendConfig) -> Result<Self, KeystoreError> {
        let label = label(file, config);
        match open_as_it_is(config, &label).await? {
            Some(store) => Ok(Self { store: Some(store), label }),
            None => Err(KeystoreError::Absent { label, path: path(config).unwrap_or(file).to_owned() }),
        }
    }

    /// Opens a store that is only looked at, and may be yet to be made: then there is no key in it.
    ///
    /// # Errors
    /// [`KeystoreError`]
    pub async fn open_to_look(file: &Path, config: &BackendConfig) -> Result<Self, KeystoreError> {
        let label = label(file, config);
        Ok(Self { store: open_as_it_is(config, &label).await?, label })
    }

    /// Opens a store to write to; it is made when absent, as a server would.
    ///
    /// # Errors
    /// [`KeystoreError`]
    pub async fn open_to_write(file: &Path, config: &BackendConfig) -> Result<Self, KeystoreError> {
        let label = label(file, config);
        let store = open(&for_many_keys(config.clone()), &label).await?;
        Ok(Self { store: Some(store), label })
    }

    /// Refuses two configs that name one store.
    ///
    /// # Errors
    /// [`KeystoreError::Same`]
    pub fn check_distinct(one: (&Path, &BackendConfig), other: (&Path, &BackendConfig)) -> Result<(), KeystoreError> {
        if is_same_place(one.1, other.1) {
            return Err(KeystoreError::Same(one.0.display().to_string(), other.0.display().to_string()));
        }
        Ok(())
    }

    /// Refuses a store that does not give back the name of a deleted key, in which nothing can be replaced.
    ///
    /// # Errors
    /// [`KeystoreError::KeepsNames`]
    pub fn check_replaceable(file: &Path, config: &BackendConfig) -> Result<(), KeystoreError> {
        match config {
            BackendConfig::Aws(aws) if aws.recovery_window.is_some() => {
                Err(KeystoreError::KeepsNames(label(file, config)))
            }
            _ => Ok(()),
        }
    }

    /// The names that match, in byte order, to the last one.
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
            names.extend(page.into_iter().filter(|name| pattern.matches(name)));
            if is_last {
                return Ok(names);
            }
        }
    }

    /// As [`Keystore::names`], but none at all is an error: it rather comes of a wrong path than of a wish.
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

    /// The value under a name; [`StoreError::NotFound`] as well when the store is yet to be made.
    ///
    /// # Errors
    /// The store's, after several attempts.
    pub(crate) async fn get(&self, name: &Name) -> Result<backends::Value, StoreError> {
        match &self.store {
            Some(store) => retrying(|| store.get(name)).await,
            None => Err(StoreError::NotFound),
        }
    }

    /// The store itself, to write to.
    pub(crate) fn store(&self) -> Option<&Arc<dyn Store>> {
        self.store.as_ref()
    }

    /// Lets go of the store.
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

async fn open(config: &BackendConfig, label: &str) -> Result<Arc<dyn Store>, KeystoreError> {
    if *config == BackendConfig::Memory {
        return Err(KeystoreError::Memory(label.to_owned()));
    }
    Box::pin(backends::open(config)).await.map_err(|source| KeystoreError::Open { label: label.to_owned(), source })
}

/// Opens a store without making anything. Nothing when there is none yet.
async fn open_as_it_is(config: &BackendConfig, label: &str) -> Result<Option<Arc<dyn Store>>, KeystoreError> {
    let mut config = for_many_keys(config.clone());
    if path(&config).is_some_and(|path| matches!(path.try_exists(), Ok(false))) {
        return Ok(None);
    }
    if let BackendConfig::Postgres(config) = &mut config {
        config.migrate = false;
    }
    match open(&config, label).await {
        Err(KeystoreError::Open { source: StoreError::Unavailable { source: Some(source), .. }, .. })
            if source.is::<postgres::NoTable>() =>
        {
            Ok(None)
        }
        done => done.map(Some),
    }
}

/// The settings for many keys at once. Nobody here caches keys, so nobody needs to hear of changes; and no request of a
/// client waits, so a listing of AWS, which takes 100 ms for 100 secrets, may take its time.
fn for_many_keys(mut config: BackendConfig) -> BackendConfig {
    match &mut config {
        BackendConfig::Postgres(config) => config.listen = postgres::Listen::Off,
        BackendConfig::Aws(config) => config.timeouts.operation = config.timeouts.operation.max(LISTING),
        _ => {}
    }
    config
}

/// Where a store that lives in files is.
fn path(config: &BackendConfig) -> Option<&Path> {
    match config {
        BackendConfig::Fs { path } | BackendConfig::Sqlite { path } => Some(path),
        _ => None,
    }
}

/// Whether two configs lead to one place, as far as they tell: a server that has two addresses is not found out. No
/// harm comes of that, for every key is then there already.
fn is_same_place(one: &BackendConfig, other: &BackendConfig) -> bool {
    let trimmed = |text: &str| text.trim_matches('/').to_owned();
    match (one, other) {
        (BackendConfig::Fs { path: one }, BackendConfig::Fs { path: other })
        | (BackendConfig::Sqlite { path: one }, BackendConfig::Sqlite { path: other }) => is_same_file(one, other),
        (BackendConfig::Postgres(one), BackendConfig::Postgres(other)) => {
            let place = |config: &postgres::Config| {
                (config.url.clone(), config.host.clone(), config.port, config.database.clone(), config.schema.clone())
            };
            place(one) == place(other)
        }
        (BackendConfig::Vault(one), BackendConfig::Vault(other)) => {
            let place = |config: &backends::vault::Config| {
                let namespace = config.namespace.as_deref().unwrap_or_default();
                [&config.endpoint, &config.engine, namespace, &config.prefix].map(trimmed)
            };
            place(one) == place(other)
        }
        (BackendConfig::Aws(one), BackendConfig::Aws(other)) => {
            let place = |config: &backends::aws::Config| {
                let account = config.credentials.as_ref().map(|credentials| credentials.access_key.clone());
                (config.endpoint.clone(), config.region.clone(), config.prefix.clone(), account)
            };
            place(one) == place(other)
        }
        _ => false,
    }
}

/// Whether two paths lead to one file or directory, links and bind mounts included; of those that are not there yet,
/// whether they are the same text.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
    match (std::fs::metadata(one).map(id), std::fs::metadata(other).map(id)) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), Err(_)) => std::path::absolute(one).ok() == std::path::absolute(other).ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_listed_to_the_last_one_whatever_the_size_of_a_page() {
        let store = backends::open(&BackendConfig::Memory).await.unwrap();
        let names: Vec<_> = (0..50).map(|number| Name::parse(&format!("key-{number:02}")).unwrap()).collect();
        for name in &names {
            store.create(name, &backends::Value::from(b"v".to_vec())).await.unwrap();
        }
        let side = Keystore { store: Some(store), label: String::new() };
        for size in [1, 7, 49, 50, 51] {
            assert_eq!(side.names_in_pages(&Glob::all(), size).await.unwrap(), names, "{size}");
            let tens = side.names_in_pages(&"key-?0".parse().unwrap(), size).await.unwrap();
            assert_eq!(tens.len(), 5, "{size}");
        }
    }

    #[test]
    fn a_directory_is_the_same_by_any_way_that_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, link) = (dir.path().join("keys"), dir.path().join("link"));
        let fs = |path: &Path| BackendConfig::Fs { path: path.to_owned() };
        assert!(is_same_place(&fs(&keys), &fs(&dir.path().join("./keys"))), "before it is there");
        std::fs::create_dir(&keys).unwrap();
        std::os::unix::fs::symlink(&keys, &link).unwrap();
        assert!(is_same_place(&fs(&keys), &fs(&link)));
        assert!(is_same_place(&fs(&keys), &fs(&keys.join("../keys"))));
        assert!(!is_same_place(&fs(&keys), &fs(dir.path())));
        assert!(!is_same_place(&fs(&keys), &BackendConfig::Sqlite { path: keys.clone() }));
    }

    #[test]
    fn a_table_is_the_same_whoever_connects_and_a_folder_with_or_without_slashes() {
        let postgres = |user: &str, schema: &str| {
            BackendConfig::Postgres(Box::new(postgres::Config {
                host: Some("db".to_owned()),
                user: Some(user.to_owned()),
                schema: schema.to_owned(),
                ..postgres::Config::default()
            }))
        };
        assert!(is_same_place(&postgres("a", "keys"), &postgres("b", "keys")));
        assert!(!is_same_place(&postgres("a", "keys"), &postgres("a", "other")));
    }
}
