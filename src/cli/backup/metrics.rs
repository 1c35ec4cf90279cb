//! The metrics of backups, in a file for the textfile collector of `node_exporter`.

use std::path::Path;

use time::OffsetDateTime;

use crate::cli::whole_file::{PUBLIC, WholeFile};

/// Checks that the file can be written, without changing it.
pub(super) fn check(file: &Path) -> anyhow::Result<()> {
    WholeFile::write(file, b"", PUBLIC).map(drop)
}

/// Replaces the file at once, so that no reader finds half of it. It is readable by everyone, as the collector runs as
/// another user. `start` is the time from which the backup has all keys.
pub(super) fn write(file: &Path, start: OffsetDateTime, keys: usize) -> anyhow::Result<()> {
    WholeFile::write(file, text(start, keys).as_bytes(), PUBLIC)?.publish(true)
}

/// The text exposition format of Prometheus, version 0.0.4.
fn text(start: OffsetDateTime, keys: usize) -> String {
    let seconds = start.unix_timestamp();
    format!(
        "# HELP keyway_backup_last_success_timestamp_seconds Start of the last complete backup, in seconds since 1970.\n\
         # TYPE keyway_backup_last_success_timestamp_seconds gauge\n\
         keyway_backup_last_success_timestamp_seconds {seconds}\n\
         # HELP keyway_backup_keys Keys in the last complete backup.\n\
         # TYPE keyway_backup_keys gauge\n\
         keyway_backup_keys {keys}\n"
    )
}
