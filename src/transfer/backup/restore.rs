//! Restores a backup file to a keystore.
//!
//! The file is read twice. The first pass reads it to its end and verifies that it is intact, keeping only names and
//! checksums, about 150 bytes per key. The second pass writes the keys to the store in batches of 1,000. So memory
//! stays bounded however large the backup is; and if the file changes between the two passes, a key with another
//! checksum is not written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backends::{Name, Value};
use time::OffsetDateTime;

use super::file::{BackupFile, FileError};
use crate::glob::Glob;
use crate::transfer::report::{Outcome, Report};
use crate::transfer::{Delivered, Finding, Keystore, Undelivered, Workers, check_target, checksum, create};

/// The number of keys in memory at a time.
const BATCH: usize = 1000;

/// The options of a restore.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which keys of the backup to restore.
    pub pattern: Glob,
    /// Keep keys that have a different value in the target, and restore the rest, instead of writing nothing.
    pub merge: bool,
    /// Write nothing, and report what would be done.
    pub dry_run: bool,
}

/// A key of the backup, and its checksum.
type Expected<'a> = (&'a Name, &'a [u8; 32]);

/// The contents of an intact backup.
#[derive(Debug)]
pub struct Contents {
    /// When it was created.
    pub created: OffsetDateTime,
    checksums: BTreeMap<Name, [u8; 32]>,
}

impl Contents {
    /// The number of keys.
    pub fn len(&self) -> usize {
        self.checksums.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.checksums.is_empty()
    }
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The task that reads the file failed.
    #[error("reading the backup was aborted")]
    Task(#[from] tokio::task::JoinError),
    /// The file changed between the two passes.
    #[error(
        "the backup changed while it was read; the keys restored before that are intact; make sure that no other \
         program writes the file, then run the command again"
    )]
    Changed,
    /// No key of the backup matches the pattern.
    #[error("the backup has no key that matches '{0}'; check the pattern, or use * for all keys")]
    NoMatch(Glob),
}

/// Reads a backup to its end and verifies it. Writes nothing.
///
/// # Errors
/// [`FileError`] if it is not intact.
pub fn check(file: &BackupFile) -> Result<Contents, FileError> {
    let mut reader = file.reader()?;
    let mut checksums = BTreeMap::new();
    while let Some((name, value)) = reader.next_key().map_err(|error| file.not_intact(error))? {
        let checksum = checksum(&name, &value);
        checksums.insert(name, checksum);
    }
    Ok(Contents { created: reader.created(), checksums })
}

/// Writes the keys of a verified backup that match the pattern to a keystore. Nothing is overwritten; and nothing is
/// written at all in a dry run, or if the target has a different value for any of the keys, unless these are to be kept.
///
/// # Errors
/// [`RestoreError`]; the outcomes of the keys are in the report.
pub async fn restore(
    file: Arc<BackupFile>,
    contents: &Contents,
    target: &Keystore,
    options: &Options,
    workers: &Workers,
) -> Result<Report, RestoreError> {
    let selected: Vec<Expected<'_>> =
        contents.checksums.iter().filter(|(name, _)| options.pattern.matches(name.as_str())).collect();
    if selected.is_empty() && !contents.is_empty() {
        return Err(RestoreError::NoMatch(options.pattern.clone()));
    }
    let copied = if options.dry_run { "to restore" } else { "restored" };
    let mut report = Report::new(&[(Outcome::Copied, copied), (Outcome::AlreadyThere, "already present")]);
    report.add_count(Outcome::NotSelected, contents.len() - selected.len());
    let absent = survey(&selected, target, options, workers, &mut report).await;
    if report.cut_short.is_none() {
        report.cut_short = refusal(&report, options);
    }
    if options.dry_run || report.cut_short.is_some() {
        for name in absent.keys() {
            report.add(if options.dry_run { Outcome::Copied } else { Outcome::NotTried }, name, "");
        }
        return Ok(report);
    }
    write(file, absent, target, options, workers, &mut report).await?;
    Ok(report)
}

/// Why the restore is refused, if it is, and what to do.
fn refusal(report: &Report, options: &Options) -> Option<String> {
    let mut reasons = Vec::new();
    if report.count(Outcome::Differs) > 0 {
        reasons.push(
            "the target has different values for keys of the backup; keep them with --merge, or restore to an empty \
             keystore and replace single keys from it with `keyway migrate --force` and their names",
        );
    }
    // With --merge the other keys are restored all the same: these must not hold them up after a disaster.
    if report.count(Outcome::Damaged) > 0 && !options.merge {
        reasons.push(
            "the target has damaged keys with names of the backup; delete them to restore these keys, or leave them \
             with --merge",
        );
    }
    if report.count(Outcome::Failed) > 0 {
        reasons.push("the target cannot be read; check the keystore, then run the command again");
    }
    (!reasons.is_empty()).then(|| format!("nothing was written: {}", reasons.join("; ")))
}

/// Determines which keys are not in the target yet, and reports the rest.
async fn survey(
    selected: &[Expected<'_>],
    target: &Keystore,
    options: &Options,
    workers: &Workers,
    report: &mut Report,
) -> BTreeMap<Name, [u8; 32]> {
    workers.progress.begin("checking", selected.len());
    let check = |(name, expected): Expected<'_>| {
        let (target, name, expected) = (target.clone(), name.clone(), *expected);
        async move {
            let finding = check_target(&target, &name, |found| checksum(&name, found) == expected).await;
            (name, expected, finding)
        }
    };
    let done = workers.run(selected.iter().copied(), check, |(.., finding)| finding.outage()).await;
    workers.progress.end();
    let mut untried: BTreeSet<&Name> = selected.iter().map(|(name, _)| *name).collect();
    let mut absent = BTreeMap::new();
    for (name, expected, finding) in done.results {
        untried.remove(&name);
        match finding {
            Finding::Absent => drop(absent.insert(name, expected)),
            Finding::Equal => report.add(Outcome::AlreadyThere, &name, ""),
            Finding::Differs { damage: Some(damage), .. } => {
                report.add(Outcome::Damaged, &name, format!("in the target: {damage}"));
            }
            Finding::Differs { damage: None, .. } | Finding::Gone => report.add(different(options), &name, ""),
            Finding::Unusable(reason) => report.add(Outcome::Damaged, &name, reason),
            Finding::Failed { reason, .. } => report.add(Outcome::Failed, &name, reason),
        }
    }
    for name in untried {
        report.add(Outcome::NotTried, name, "");
    }
    report.cut_short = done.cut_short.map(|why| format!("{why}; nothing was written; run the command again"));
    absent
}

/// The outcome for a key that has a different value in the target.
fn different(options: &Options) -> Outcome {
    if options.merge { Outcome::Kept } else { Outcome::Differs }
}

/// Reads the backup again and writes the keys that are absent from the target.
async fn write(
    file: Arc<BackupFile>,
    mut absent: BTreeMap<Name, [u8; 32]>,
    target: &Keystore,
    options: &Options,
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
                Some(expected) if expected == checksum(&name, &value) => keys.push((name, value)),
                Some(_) => return Err(RestoreError::Changed),
                None => {}
            }
        }
        put(keys, target, options, workers, report).await;
    }
    workers.progress.end();
    for name in absent.keys() {
        report.add(Outcome::NotTried, name, "");
    }
    Ok(())
}

/// Writes a batch of keys.
async fn put(keys: Vec<(Name, Value)>, target: &Keystore, options: &Options, workers: &Workers, report: &mut Report) {
    let mut untried: BTreeSet<Name> = keys.iter().map(|(name, _)| name.clone()).collect();
    let write = |(name, value): (Name, Value)| {
        let store = target.store().cloned();
        async move {
            let result = match &store {
                Some(store) => create(store, &name, &value).await,
                None => Err(Undelivered::Differs),
            };
            (name, result)
        }
    };
    let outage = |(_, result): &(Name, Result<Delivered, Undelivered>)| {
        result.as_ref().err().filter(|error| error.is_transient()).map(ToString::to_string)
    };
    let done = workers.run(keys, write, outage).await;
    for (name, result) in done.results {
        untried.remove(&name);
        match result {
            Ok(Delivered::Created) => report.add(Outcome::Copied, &name, ""),
            Ok(Delivered::Present) => report.add(Outcome::AlreadyThere, &name, ""),
            Err(error @ Undelivered::Differs) => report.add(different(options), &name, error.to_string()),
            Err(error) => report.add(Outcome::Failed, &name, error.to_string()),
        }
    }
    for name in untried {
        report.add(Outcome::NotTried, &name, "");
    }
    report.cut_short = done.cut_short.map(|why| format!("{why}; run the command again to continue"));
}
