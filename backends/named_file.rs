//! The files that the settings of a store name, so that a config can be checked before the store is opened.

use std::path::PathBuf;

/// A file or directory that a setting names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The setting in the section of the store, such as `tls.ca`.
    pub key: &'static str,
    /// The path. A relative one is resolved against the working directory.
    pub path: PathBuf,
    /// What it has to contain.
    pub kind: FileKind,
}

impl NamedFile {
    /// The file of a setting, unless it is not set.
    #[cfg(any(feature = "postgres", feature = "vault"))]
    pub(crate) fn of(key: &'static str, path: Option<&PathBuf>, kind: FileKind) -> Option<Self> {
        path.map(|path| Self { key, path: path.clone(), kind })
    }

    /// Whether it is read once, when the store is opened. All others are read, and some written, at any time.
    pub fn is_read_once(&self) -> bool {
        match self.kind {
            FileKind::Authorities | FileKind::Certificate | FileKind::PrivateKey => true,
            FileKind::Credential | FileKind::ServiceAccountToken | FileKind::KeyDirectory | FileKind::Database => false,
        }
    }
}

/// What a file has to contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// PEM certificates of the authorities to trust.
    Authorities,
    /// The PEM certificate of this client, followed by its chain.
    Certificate,
    /// The PEM private key of [`FileKind::Certificate`], not encrypted. A secret.
    PrivateKey,
    /// A token or another text to log in with. A secret.
    Credential,
    /// The token of a Kubernetes service account. A secret, but Kubernetes decides who can read the file.
    ServiceAccountToken,
    /// The directory with one file per key, created when absent.
    KeyDirectory,
    /// The file of a database, created when absent.
    Database,
}
