//! From a file to a store.
//!
//! The file is read twice. The first time to its end, to know that it is whole; what is kept of that are the names and
//! their check values, some 150 bytes a key. The second time key by key into the store, a thousand at a time. So no more
//! keys are in memory than that, however large the backup; and should the file change between the two readings, a key
//! that is not the one of the first is not written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backends::{Name, Value};
use time::OffsetDateTime;

use super::file::{BackupFile, FileError};
use crate::transfer::report::{Outcome, Report};
use crate::transfer::{Delivered, Finding, Keystore, Undelivered, Workers, create, digest, look_for};

/// Keys in memory at a time.
const BATCH: usize = 1000;

/// What a whole backup holds.
#[derive(Debug)]
pub struct Contents {
    /// When it was made.
    pub created: OffsetDateTime,
    checks: BTreeMap<Name, [u8; 32]>,
}

impl Contents {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.checks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A task of ours.
    #[error("the file was not read to its end")]
    Task(#[from] tokio::task::JoinError),
    /// It is not the one that was checked.
    #[error("the backup changed while it was read; the keys that were written until then are whole")]
    Changed,
}

/// Reads a backup to its end, and writes nothing.
///
/// # Errors
/// [`FileError`] when it is not whole.
pub fn check(file: &BackupFile) -> Result<Contents, FileError> {
    let mut reader = file.reader()?;
    let mut checks = BTreeMap::new();
    while let Some((name, value)) = reader.next_key().map_err(|error| file.not_whole(error))? {
        let check = digest(&name, &value);
        checks.insert(name, check);
    }
    Ok(Contents { created: reader.created(), checks })
}

/// Puts the keys of a backup that was checked into a store. Nothing is overwritten; and nothing is written when the
/// target has another value for any of the keys, or in a dry run.
///
/// # Errors
/// [`RestoreError`]; what became of the keys is in the report.
pub async fn restore(
    file: Arc<BackupFile>,
    contents: &Contents,
    target: &Keystore,
    dry_run: bool,
    workers: &Workers,
) -> Result<Report, RestoreError> {
    let copied = if dry_run { "to restore" } else { "restored" };
    let mut report = Report::new(&[(Outcome::Copied, copied), (Outcome::AlreadyThere, "already there")]);
    let absent = survey(contents, target, workers, &mut report).await;
    if report.cut_short.is_none() && !report.is_complete() {
        report.cut_short = Some(
            "nothing was written: the target has something else under names of the backup, or cannot be read; restore \
             into an empty store, and `keyway migrate` from there with --merge, or with --force and the name of a single key"
                .to_owned(),
        );
    }
    if dry_run || report.cut_short.is_some() {
        for name in absent.keys() {
            report.add(if dry_run { Outcome::Copied } else { Outcome::NotTried }, name, "");
        }
        return Ok(report);
    }
    write(file, absent, target, workers, &mut report).await?;
    Ok(report)
}

/// Finds out which keys are not in the target yet.
async fn survey(
    contents: &Contents,
    target: &Keystore,
    workers: &Workers,
    report: &mut Report,
) -> BTreeMap<Name, [u8; 32]> {
    workers.progress.begin("checking", contents.len());
    let look = |(name, check): (&Name, &[u8; 32])| {
        let (target, name, check) = (target.clone(), name.clone(), *check);
        async move {
            let finding = look_for(&target, &name, |found| digest(&name, found) == check).await;
            (name, check, finding)
        }
    };
    let done = workers.run(&contents.checks, look, |(.., finding)| finding.trouble()).await;
    workers.progress.end();
    let mut untried: BTreeSet<&Name> = contents.checks.keys().collect();
    let mut absent = BTreeMap::new();
    for (name, check, finding) in done.results {
        untried.remove(&name);
        match finding {
            Finding::Absent => drop(absent.insert(name, check)),
            Finding::Equal => report.add(Outcome::AlreadyThere, &name, ""),
            Finding::Differs { .. } | Finding::Gone => report.add(Outcome::Differs, &name, ""),
            Finding::Unusable(reason) => report.add(Outcome::Damaged, &name, reason),
            Finding::Failed { reason, .. } => report.add(Outcome::Failed, &name, reason),
        }
    }
    for name in untried {
        report.add(Outcome::NotTried, name, "");
    }
    report.cut_short = done.cut_short.map(|why| format!("{why}; nothing was written"));
    absent
}

/// Reads the backup again, and writes the keys that are absent.
async fn write(
    file: Arc<BackupFile>,
    mut absent: BTreeMap<Name, [u8; 32]>,
    target: &Keystore,
    workers: &Workers,
    report: &mut Report,
) -> Result<(), RestoreError> {
    workers.progress.begin("restoring", absent.len());
    let mut reader = tokio::task::spawn_blocking({
        let file = Arc::clone(&file);
        move || file.reader()
    })
    .await??;
    while report.cut_short.is_none() && !absent.is_empty() {
        let (returned, batch) = tokio::task::spawn_blocking(move || {
            let mut batch: Vec<(Name, Value)> = Vec::with_capacity(BATCH);
            while batch.len() < BATCH {
                match reader.next_key().map_err(|_| RestoreError::Changed)? {
                    Some(key) => batch.push(key),
                    None => break,
                }
            }
            Ok::<_, RestoreError>((reader, batch))
        })
        .await??;
        reader = returned;
        if batch.is_empty() {
            return Err(RestoreError::Changed);
        }
        let mut keys = Vec::with_capacity(batch.len());
        for (name, value) in batch {
            match absent.remove(&name) {
                Some(check) if check == digest(&name, &value) => keys.push((name, value)),
                Some(_) => return Err(RestoreError::Changed),
                None => {}
            }
        }
        put(keys, target, workers, report).await;
    }
    workers.progress.end();
    for name in absent.keys() {
        report.add(Outcome::NotTried, name, "");
    }
    Ok(())
}

/// Writes some keys.
async fn put(keys: Vec<(Name, Value)>, target: &Keystore, workers: &Workers, report: &mut Report) {
    let mut untried: std::collections::BTreeSet<Name> = keys.iter().map(|(name, _)| name.clone()).collect();
    let write = |(name, value): (Name, Value)| {
        let store = target.store().cloned();
        async move {
            let done = match &store {
                Some(store) => create(store, &name, &value).await,
                None => Err(Undelivered::Differs),
            };
            (name, done)
        }
    };
    let trouble = |(_, done): &(Name, Result<Delivered, Undelivered>)| {
        done.as_ref().err().filter(|error| error.is_transient()).map(ToString::to_string)
    };
    let done = workers.run(keys, write, trouble).await;
    for (name, outcome) in done.results {
        untried.remove(&name);
        match outcome {
            Ok(Delivered::Created) => report.add(Outcome::Copied, &name, ""),
            Ok(Delivered::Present) => report.add(Outcome::AlreadyThere, &name, ""),
            Err(error @ Undelivered::Differs) => report.add(Outcome::Differs, &name, error.to_string()),
            Err(error) => report.add(Outcome::Failed, &name, error.to_string()),
        }
    }
    for name in untried {
        report.add(Outcome::NotTried, &name, "");
    }
    report.cut_short = done.cut_short.map(|why| format!("{why}; run this again to go on"));
}
