//! Backs up a keystore to a file or to standard output.

use std::sync::Arc;

use backends::{Name, StoreError, Value};
use futures_util::StreamExt as _;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::file::{Destination, FileError, Sink, flush};
use super::format::Writer;
use super::lock::Lock;
use crate::crypto::key::Key;
use crate::glob::Glob;
use crate::transfer::report::{Outcome, Report};
use crate::transfer::{Keystore, KeystoreError, Workers};

/// The maximum number of keys that are read but not written yet.
const AHEAD: usize = 256;

/// The options of a backup.
#[derive(Debug)]
pub struct Options<'a> {
    /// Where the backup goes.
    pub destination: &'a Destination,
    /// Skip damaged keys instead of creating no backup.
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

/// What the writer receives.
enum Message {
    /// The next key.
    Key(Name, Value),
    /// There are no more keys, and the backup is to be ended as complete. If the channel is closed before this arrives,
    /// the backup stays without its end, and is discarded if it is a file.
    Complete,
}

/// Reads all keys and writes the backup. It is completed only if the report is complete, except for damaged keys that
/// may be skipped.
///
/// # Errors
/// [`BackupError`]; then there is no complete backup. Keys that could not be read are in the report.
pub async fn backup(
    source: &Keystore,
    lock: Arc<Lock>,
    options: &Options<'_>,
    workers: &Workers,
) -> Result<Report, BackupError> {
    let names = source.some_names(&Glob::all()).await?;
    let sink = options.destination.open()?;
    // About a second of CPU time, with a passphrase.
    let encryptor = tokio::task::spawn_blocking(move || lock.encryptor()).await??;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let writer = tokio::task::spawn_blocking(move || write(sink, encryptor, receiver));
    let mut report = Report::new(&[(Outcome::Copied, "in the backup")]);
    workers.progress.begin("reading", names.len());
    collect(source, &names, &sender, workers, &mut report).await;
    workers.progress.end();
    report.cut_short = refusal(workers, &report, options);
    if report.cut_short.is_none() {
        let _ = sender.send(Message::Complete).await; // a writer that failed returns the error itself
    }
    drop(sender);
    writer.await??;
    // For information only: whether this succeeds or not, the backup has all keys that existed at its start.
    for name in source.names(&Glob::all()).await.unwrap_or_default() {
        if names.binary_search(&name).is_err() {
            report.add(Outcome::TooLate, &name, "");
        }
    }
    Ok(report)
}

/// Why the backup is not completed, if so, and what to do.
fn refusal(workers: &Workers, report: &Report, options: &Options<'_>) -> Option<String> {
    let consequence = match options.destination {
        Destination::File { .. } => "no backup was created",
        Destination::Stdout => "the backup on standard output is incomplete and cannot be restored",
    };
    if workers.stop.is_cancelled() && report.count(Outcome::NotTried) > 0 {
        Some(format!("stopped by a signal; {consequence}; run the command again"))
    } else if report.count(Outcome::Failed) > 0 {
        Some(format!("{consequence}: some keys could not be read; check the keystore, then run the command again"))
    } else if report.count(Outcome::Damaged) > 0 && !options.skip_damaged {
        let advice = "repair or delete them, or skip them with --skip-damaged";
        Some(format!("{consequence}: some keys cannot be used; {advice}"))
    } else if report.count(Outcome::Damaged) > 0 && options.destination.replaces_existing() {
        Some(
            "the existing backup was kept: the new one would lack damaged keys, which the old one may contain; choose \
             another file"
                .to_owned(),
        )
    } else {
        None
    }
}

/// Reads the keys, a bounded number at a time, and passes them on in order.
async fn collect(
    source: &Keystore,
    names: &[Name],
    sender: &mpsc::Sender<Message>,
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
    let mut position = 0;
    while let Some((name, read)) = reads.next().await {
        workers.progress.advance();
        if workers.stop.is_cancelled() {
            report.add_count(Outcome::NotTried, names.len() - position);
            return;
        }
        position += 1;
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
        if sender.send(Message::Key(name, value)).await.is_err() {
            return; // the writer failed and returns the error itself
        }
    }
}

/// Encrypts and writes the keys that arrive. Without [`Message::Complete`], neither the last line of the backup nor the
/// final chunk of age is written, so what is on standard output cannot be mistaken for a complete backup.
fn write(sink: Sink, encryptor: age::Encryptor, mut messages: mpsc::Receiver<Message>) -> Result<(), BackupError> {
    let failed = |error| sink.failure(error);
    let now = OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let output = encryptor.wrap_output(sink.writer()?).map_err(failed)?;
    let mut writer = Writer::new(output, now).map_err(failed)?;
    loop {
        match messages.blocking_recv() {
            Some(Message::Key(name, value)) => writer.add(&name, &value).map_err(failed)?,
            Some(Message::Complete) => break,
            None => return Ok(()),
        }
    }
    let (output, _) = writer.finish().map_err(failed)?;
    output.finish().and_then(flush).map_err(failed)?;
    Ok(sink.complete()?)
}
