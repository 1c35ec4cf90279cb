//! Backs up a keystore to a file.

use std::path::Path;

use backends::{Name, StoreError, Value};
use futures_util::StreamExt as _;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::file::{FileError, NewFile, flush};
use super::format::Writer;
use super::lock::Lock;
use crate::crypto::key::Key;
use crate::transfer::glob::Glob;
use crate::transfer::report::{Outcome, Report};
use crate::transfer::{Keystore, KeystoreError, Workers};

/// The maximum number of keys that are read but not written yet.
const AHEAD: usize = 256;

/// The options of a backup.
#[derive(Debug)]
pub struct Options<'a> {
    /// The file to create.
    pub out: &'a Path,
    /// Whether it may replace an existing file.
    pub replaces: bool,
    /// Skip damaged keys instead of creating no file.
    pub skip_damaged: bool,
}

/// Why no backup was created.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The keystore cannot be used.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Encryption failed.
    #[error("cannot encrypt: {0}")]
    Encrypt(#[from] age::EncryptError),
    /// The task that writes the file failed.
    #[error("writing the backup was aborted")]
    Task(#[from] tokio::task::JoinError),
}

/// Reads all keys and writes the file. The file is created only if the report is complete, except for damaged keys that
/// may be skipped.
///
/// # Errors
/// [`BackupError`]; then no file was created. Keys that could not be read are in the report.
pub async fn backup(
    source: &Keystore,
    lock: Lock,
    options: &Options<'_>,
    workers: &Workers,
) -> Result<Report, BackupError> {
    let names = source.some_names(&Glob::all()).await?;
    let file = NewFile::create(options.out, options.replaces)?;
    // About a second of CPU time, with a passphrase.
    let encryptor = tokio::task::spawn_blocking(move || lock.encryptor()).await??;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let writer = tokio::task::spawn_blocking(move || write(file, encryptor, receiver));
    let mut report = Report::new(&[(Outcome::Copied, "in the backup")]);
    workers.progress.begin("reading", names.len());
    collect(source, &names, sender, workers, &mut report).await;
    workers.progress.end();
    let file = writer.await??;
    let unusable = report.count(Outcome::Damaged) > 0 && !options.skip_damaged;
    if unusable {
        report.cut_short = Some(
            "no backup was created: some keys cannot be used; repair or delete them, or skip them with --skip-damaged"
                .to_owned(),
        );
    } else if report.count(Outcome::Failed) > 0 {
        report.cut_short = Some("no backup was created: some keys could not be read".to_owned());
    } else if report.count(Outcome::Damaged) > 0 && options.replaces && options.out.symlink_metadata().is_ok() {
        report.cut_short = Some(
            "the existing backup was kept: the new one would lack damaged keys, which the old one may contain; choose \
             another file"
                .to_owned(),
        );
    }
    if report.cut_short.is_none() {
        tokio::task::spawn_blocking(|| file.publish()).await??;
    }
    for name in source.names(&Glob::all()).await? {
        if names.binary_search(&name).is_err() {
            report.add(Outcome::TooLate, &name, "");
        }
    }
    Ok(report)
}

/// Reads the keys, a bounded number at a time, and passes them on in order.
async fn collect(
    source: &Keystore,
    names: &[Name],
    sender: mpsc::Sender<(Name, Value)>,
    workers: &Workers,
    report: &mut Report,
) {
    let read = |name: &Name| {
        let (source, name) = (source.clone(), name.clone());
        async move {
            let read = tokio::spawn({
                let name = name.clone();
                async move { source.get(&name).await }
            });
            (name, read.await)
        }
    };
    let mut reads = futures_util::stream::iter(names).map(read).buffered(workers.concurrency.get());
    while let Some((name, read)) = reads.next().await {
        workers.progress.advance();
        if workers.stop.is_cancelled() {
            report.cut_short = Some("stopped by a signal; no backup was created".to_owned());
            return;
        }
        let value = match read {
            Ok(Ok(value)) => value,
            Ok(Err(StoreError::NotFound)) => {
                report.add(Outcome::Gone, &name, "");
                continue;
            }
            Ok(Err(error @ (StoreError::Damaged { .. } | StoreError::Withheld { .. }))) => {
                report.add(Outcome::Damaged, &name, error.to_string());
                continue;
            }
            Ok(Err(error)) => return report.add(Outcome::Failed, &name, error.to_string()),
            Err(error) => return report.add(Outcome::Failed, &name, error.to_string()),
        };
        if let Err(damage) = Key::from_stored(value.as_bytes()) {
            report.add(Outcome::Damaged, &name, damage.to_string());
            continue;
        }
        report.add(Outcome::Copied, &name, "");
        if sender.send((name, value)).await.is_err() {
            return; // the writer failed and returns the error itself
        }
    }
}

/// Encrypts and writes the keys that arrive. The file is then ready to be published.
fn write(
    file: NewFile,
    encryptor: age::Encryptor,
    mut keys: mpsc::Receiver<(Name, Value)>,
) -> Result<NewFile, BackupError> {
    let failed = |error| file.failure(error);
    let now = OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let output = encryptor.wrap_output(file.writer()?).map_err(failed)?;
    let mut writer = Writer::new(output, now).map_err(failed)?;
    while let Some((name, value)) = keys.blocking_recv() {
        writer.add(&name, &value).map_err(failed)?;
    }
    let (output, _) = writer.finish().map_err(failed)?;
    output.finish().and_then(flush).map_err(failed)?;
    Ok(file)
}
