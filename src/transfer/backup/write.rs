//! From a store to a file.

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

/// Keys that are read and not written yet, at most.
const AHEAD: usize = 256;

/// What is wanted.
#[derive(Debug)]
pub struct Options<'a> {
    /// The file to make.
    pub out: &'a Path,
    /// Whether it may replace one.
    pub replaces: bool,
    /// Leave out what is no key, in place of making no file at all.
    pub skip_damaged: bool,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// age.
    #[error("cannot encrypt: {0}")]
    Encrypt(#[from] age::EncryptError),
    /// A task of ours.
    #[error("the file was not written to its end")]
    Task(#[from] tokio::task::JoinError),
}

/// Reads all keys and writes the file. It is there only if the report is complete, or what it lacks is damaged and may
/// be left out.
///
/// # Errors
/// [`BackupError`]; then there is no file. Keys that could not be read are in the report.
pub async fn backup(
    source: &Keystore,
    lock: Lock,
    options: &Options<'_>,
    workers: &Workers,
) -> Result<Report, BackupError> {
    let names = source.some_names(&Glob::all()).await?;
    let file = NewFile::create(options.out, options.replaces)?;
    // A second of work, with a passphrase.
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
            "there is no backup, for some keys cannot be used; repair or remove them, or leave them out with \
             --skip-damaged"
                .to_owned(),
        );
    } else if report.count(Outcome::Failed) > 0 {
        report.cut_short = Some("there is no backup, for a key could not be read".to_owned());
    } else if report.count(Outcome::Damaged) > 0 && options.replaces && options.out.symlink_metadata().is_ok() {
        report.cut_short = Some(
            "the backup that is there was kept: the new one would lack damaged keys, which the old one may hold; name \
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

/// Reads the keys, a bounded number at a time, and hands them on in their order.
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
            report.cut_short = Some("stopped by a signal; there is no backup".to_owned());
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
            return; // the file has failed, and says so itself
        }
    }
}

/// Writes what comes, encrypts it, and makes the file ready to be published.
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
