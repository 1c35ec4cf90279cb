//! Which store to open, where it is, and what the rest of the program needs to know of it before it is open. Every
//! method is an exhaustive match, so that the compiler lists what a new backend has to answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::pending::Pending;
use crate::{FileKind, NamedFile, Store, StoreError, fs, memory, path};

/// Which store to open, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendConfig {
    /// Keys in memory; they end with the process.
    Memory,
    /// One file per key, as KES keeps them.
    Fs {
        /// The directory, created with its parents and mode 0700 when absent. A relative path is resolved against the
        /// working directory at the time of [`open`].
        path: PathBuf,
    },
    /// A SQLite database.
    #[cfg(feature = "sqlite")]
    Sqlite {
        /// The database file, created with mode 0600, and its directory with mode 0700, when absent.
        path: PathBuf,
    },
    /// A table of a PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(Box<crate::postgres::Config>),
    /// The KV engine of HashiCorp Vault or OpenBao.
    #[cfg(feature = "vault")]
    Vault(Box<crate::vault::Config>),
    /// AWS Secrets Manager.
    #[cfg(feature = "aws")]
    Aws(Box<crate::aws::Config>),
}

impl BackendConfig {
    /// The name of this kind of store in the config file and in output.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fs { .. } => "fs",
            #[cfg(feature = "sqlite")]
            Self::Sqlite { .. } => "sqlite",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "postgres",
            #[cfg(feature = "vault")]
            Self::Vault(_) => "vault",
            #[cfg(feature = "aws")]
            Self::Aws(_) => "aws",
        }
    }

    /// Whether the keys end with the process.
    pub fn is_volatile(&self) -> bool {
        match self {
            Self::Memory => true,
            Self::Fs { .. } => false,
            #[cfg(feature = "sqlite")]
            Self::Sqlite { .. } => false,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => false,
            #[cfg(feature = "vault")]
            Self::Vault(_) => false,
            #[cfg(feature = "aws")]
            Self::Aws(_) => false,
        }
    }

    /// The files and directories that the settings name.
    pub fn files(&self) -> Vec<NamedFile> {
        let own = |path: &PathBuf, kind| vec![NamedFile { key: "path", path: path.clone(), kind }];
        match self {
            Self::Memory => Vec::new(),
            Self::Fs { path } => own(path, FileKind::KeyDirectory),
            #[cfg(feature = "sqlite")]
            Self::Sqlite { path } => own(path, FileKind::Database),
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => config.files(),
            #[cfg(feature = "vault")]
            Self::Vault(config) => config.files(),
            #[cfg(feature = "aws")]
            Self::Aws(_) => Vec::new(),
        }
    }

    /// The files that are read once, when the store is opened. One that changes is used by the next [`open`] only.
    /// Files that a store reads again by itself, such as tokens to log in with, are not among them.
    pub fn files_read_once(&self) -> Vec<PathBuf> {
        self.files().into_iter().filter(NamedFile::is_read_once).map(|file| file.path).collect()
    }

    /// What the settings allow although it is dangerous: each setting with the danger and what to do.
    pub fn dangers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Memory | Self::Fs { .. } => Vec::new(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite { .. } => Vec::new(),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Vec::new(),
            #[cfg(feature = "vault")]
            Self::Vault(config) => config.dangers(),
            #[cfg(feature = "aws")]
            Self::Aws(config) => config.dangers(),
        }
    }

    /// The path of a store that uses files.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Memory => None,
            Self::Fs { path } => Some(path),
            #[cfg(feature = "sqlite")]
            Self::Sqlite { path } => Some(path),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
            #[cfg(feature = "vault")]
            Self::Vault(_) => None,
            #[cfg(feature = "aws")]
            Self::Aws(_) => None,
        }
    }

    /// Whether the file would be inside the store, among its own files.
    pub fn contains(&self, file: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        match self {
            Self::Memory => false,
            Self::Fs { path } => {
                let directory = real(path::parent(file));
                directory.is_some() && directory == real(path)
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite { path } => real(file).is_some_and(|file| Some(file) == real(path)),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => false,
            #[cfg(feature = "vault")]
            Self::Vault(_) => false,
            #[cfg(feature = "aws")]
            Self::Aws(_) => false,
        }
    }

    /// Whether the name of a deleted key can be used again immediately.
    pub fn frees_names(&self) -> bool {
        match self {
            Self::Memory | Self::Fs { .. } => true,
            #[cfg(feature = "sqlite")]
            Self::Sqlite { .. } => true,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => true,
            #[cfg(feature = "vault")]
            Self::Vault(_) => true,
            #[cfg(feature = "aws")]
            Self::Aws(config) => config.recovery_window.is_none(),
        }
    }

    /// Whether two configs lead to the same store, as far as the settings show: a server with two addresses is not
    /// recognized.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match self {
            Self::Memory => false,
            Self::Fs { path } => matches!(other, Self::Fs { path: other } if path::is_same_file(path, other)),
            #[cfg(feature = "sqlite")]
            Self::Sqlite { path } => matches!(other, Self::Sqlite { path: other } if path::is_same_file(path, other)),
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => matches!(other, Self::Postgres(other) if config.is_same_place(other)),
            #[cfg(feature = "vault")]
            Self::Vault(config) => matches!(other, Self::Vault(other) if config.is_same_place(other)),
            #[cfg(feature = "aws")]
            Self::Aws(config) => matches!(other, Self::Aws(other) if config.is_same_place(other)),
        }
    }

    /// Settings for work on very many keys, without a cache and without clients that wait.
    #[must_use]
    pub fn for_bulk(self) -> Self {
        match self {
            config @ (Self::Memory | Self::Fs { .. }) => config,
            #[cfg(feature = "sqlite")]
            config @ Self::Sqlite { .. } => config,
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => Self::Postgres(Box::new(config.for_bulk())),
            #[cfg(feature = "vault")]
            config @ Self::Vault(_) => config,
            #[cfg(feature = "aws")]
            Self::Aws(config) => Self::Aws(Box::new(config.for_bulk())),
        }
    }

    /// Opens a store without creating anything. `None` when there is no store yet.
    ///
    /// # Errors
    /// As [`open`].
    pub async fn open_existing(self) -> Result<Option<Arc<dyn Store>>, StoreError> {
        if self.path().is_some_and(|path| matches!(path.try_exists(), Ok(false))) {
            return Ok(None);
        }
        let config = match self {
            config @ (Self::Memory | Self::Fs { .. }) => config,
            #[cfg(feature = "sqlite")]
            config @ Self::Sqlite { .. } => config,
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => Self::Postgres(Box::new(config.without_migration())),
            #[cfg(feature = "vault")]
            config @ Self::Vault(_) => config,
            #[cfg(feature = "aws")]
            config @ Self::Aws(_) => config,
        };
        match open_for(&config, Purpose::Look).await {
            Err(error) if error.is_absent_store() => Ok(None),
            opened => opened.map(Some),
        }
    }
}

/// Opens a store and makes sure that it can be read.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use backends::{BackendConfig, Name, StoreError, Value, open};
///
/// let store = open(&BackendConfig::Memory).await?;
/// let name = Name::parse("my-key").unwrap();
/// store.create(&name, &Value::from(b"value".to_vec())).await?;
/// let second = store.create(&name, &Value::from(b"another".to_vec())).await;
/// assert!(matches!(second, Err(StoreError::AlreadyExists)));
/// assert_eq!(store.get(&name).await?.as_bytes(), b"value");
/// # Ok::<_, StoreError>(()) }).unwrap();
/// ```
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::NotReady`] or [`StoreError::Unreachable`], with what failed, where, and
/// what to do.
pub async fn open(config: &BackendConfig) -> Result<Arc<dyn Store>, StoreError> {
    open_for(config, Purpose::Use).await
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// To read and write keys, for as long as one wants.
    Use,
    /// To read keys and to leave everything as it is.
    Look,
}

async fn open_for(config: &BackendConfig, purpose: Purpose) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match config {
        BackendConfig::Memory => Arc::new(memory::Memory::default()),
        BackendConfig::Fs { path } => Arc::new(fs::Fs::open(path, purpose).await?),
        #[cfg(feature = "sqlite")]
        BackendConfig::Sqlite { path } => Arc::new(crate::sqlite::Sqlite::open(path, purpose).await?),
        #[cfg(feature = "postgres")]
        BackendConfig::Postgres(config) => Arc::new(crate::postgres::Postgres::open(config).await?),
        #[cfg(feature = "vault")]
        BackendConfig::Vault(config) => Arc::new(crate::vault::Vault::open(config).await?),
        #[cfg(feature = "aws")]
        BackendConfig::Aws(config) => Arc::new(crate::aws::Aws::open(config).await?),
    })
}

/// A store that could not be opened although waiting helps ([`StoreError::is_worth_waiting`]): its operations fail with
/// the reason until a [`Store::ping`], each of which tries to open it again, succeeds.
pub fn open_later(config: BackendConfig, reason: StoreError) -> Arc<dyn Store> {
    Arc::new(Pending::new(config, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fs(path: &Path) -> BackendConfig {
        BackendConfig::Fs { path: path.to_owned() }
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn every_kind_of_store_opens_under_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let sqlite = BackendConfig::Sqlite { path: directory.path().join("sqlite/keys.db") };
        for (config, kind) in
            [(BackendConfig::Memory, "memory"), (fs(&directory.path().join("fs")), "fs"), (sqlite, "sqlite")]
        {
            assert_eq!(config.kind(), kind);
            open(&config).await.unwrap().ping().await.unwrap();
        }
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn open_existing_creates_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for config in
            [fs(&directory.path().join("fs")), BackendConfig::Sqlite { path: directory.path().join("keys.db") }]
        {
            assert!(config.open_existing().await.unwrap().is_none());
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn a_directory_is_the_same_by_any_path_that_leads_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let (keys, link) = (directory.path().join("keys"), directory.path().join("link"));
        assert!(fs(&keys).is_same_place(&fs(&directory.path().join("./keys"))), "before it exists");
        std::fs::create_dir(&keys).unwrap();
        std::os::unix::fs::symlink(&keys, &link).unwrap();
        assert!(fs(&keys).is_same_place(&fs(&link)));
        assert!(fs(&keys).is_same_place(&fs(&keys.join("../keys"))));
        assert!(!fs(&keys).is_same_place(&fs(directory.path())));
        assert!(!fs(&keys).is_same_place(&BackendConfig::Sqlite { path: keys.clone() }));
        assert!(fs(&keys).contains(&link.join("backup.age")) && !fs(&keys).contains(&directory.path().join("x")));
    }

    #[cfg(feature = "aws")]
    #[test]
    fn a_name_is_not_free_during_a_recovery_window_and_a_bulk_listing_has_time() {
        let aws = |recovery_window| crate::aws::Config { recovery_window, ..crate::aws::Config::default() };
        assert!(BackendConfig::Aws(Box::new(aws(None))).frees_names() && BackendConfig::Memory.frees_names());
        assert!(!BackendConfig::Aws(Box::new(aws(Some(7)))).frees_names());
        let timeout = aws(None).timeouts.operation;
        assert!(aws(None).for_bulk().timeouts.operation > timeout);
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_table_is_the_same_whoever_connects() {
        let postgres = |user: &str, schema: &str| {
            BackendConfig::Postgres(Box::new(crate::postgres::Config {
                host: Some("db".to_owned()),
                user: Some(user.to_owned()),
                schema: schema.to_owned(),
                ..crate::postgres::Config::default()
            }))
        };
        assert!(postgres("a", "keys").is_same_place(&postgres("b", "keys")));
        assert!(!postgres("a", "keys").is_same_place(&postgres("a", "other")));
    }
}
