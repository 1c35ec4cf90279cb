//! Where settings are in the config file, for problems that are found after the file was read: in the files that it
//! names, or in the services.

use std::path::{Path, PathBuf};

use super::yaml::locate::Positions;
use super::yaml::report::Problem;

/// A config file, and the positions in it of `admin`, `tls`, `keystore` and everything in them. The default is that of a
/// config without a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    file: PathBuf,
    positions: Positions,
}

impl Source {
    /// The positions of settings in this file.
    pub(super) fn new(file: &Path, positions: Positions) -> Self {
        Self { file: file.to_owned(), positions }
    }

    /// Forgets a setting that something else overrides.
    pub(super) fn forget(&mut self, key: &str) {
        self.positions.remove(key);
    }

    /// A problem of the setting with this key path, such as `tls.cert`. Without a position if the setting is not in the
    /// file. `text` contains the problem and what to do.
    pub fn problem(&self, key: &str, text: &str) -> Problem {
        Problem::new(&self.file, self.positions.get(key).copied(), key, text)
    }
}
