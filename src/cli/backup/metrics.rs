//! The metrics of backups, in a file for the textfile collector of `node_exporter`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use time::OffsetDateTime;

use crate::cli::exit::Usage;
use crate::cli::whole_file::{PUBLIC, WholeFile};

/// How a file of these metrics begins.
const START: &str = "# HELP keyway_backup_";

/// Checks that the file can be written, without changing it.
pub(super) fn check(file: &Path) -> anyhow::Result<()> {
    check_content(file)?;
    WholeFile::write(file, b"", PUBLIC).map(drop)
}

/// Checks that there is no other file that would be lost: a config, or the backup itself under another path.
fn check_content(file: &Path) -> anyhow::Result<()> {
    let mut start = Vec::new();
    match File::open(file).and_then(|opened| opened.take(START.len() as u64).read_to_end(&mut start)) {
        Ok(0) => Ok(()),
        Ok(_) if start == START.as_bytes() => Ok(()),
        Ok(_) => bail!(Usage(format!(
            "'{}' exists and does not contain metrics of backups; choose another --metrics-file",
            file.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot read '{}'", file.display())),
    }
}

/// Replaces the file at once, so that no reader finds half of it. It is readable by everyone, as the collector runs as
/// another user. `start` is the time from which the backup has all keys.
pub(super) fn write(file: &Path, start: OffsetDateTime, keys: usize) -> anyhow::Result<()> {
    check_content(file)?;
    WholeFile::write(file, text(start, keys).as_bytes(), PUBLIC)?.publish(true)
}

/// The text exposition format of Prometheus, version 0.0.4.
fn text(start: OffsetDateTime, keys: usize) -> String {
    let seconds = start.unix_timestamp();
    format!(
        "{START}last_success_timestamp_seconds Start of the last complete backup, in seconds since 1970.\n\
         # TYPE keyway_backup_last_success_timestamp_seconds gauge\n\
         keyway_backup_last_success_timestamp_seconds {seconds}\n\
         {START}keys Keys in the last complete backup.\n\
         # TYPE keyway_backup_keys gauge\n\
         keyway_backup_keys {keys}\n"
    )
}
