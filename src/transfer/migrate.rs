//! Copies the keys of one keystore to another: surveys both, and copies unless there is a reason to refuse.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::error::Error as _;

use backends::{Name, StoreError, Value};

use super::deliver::{self, Delivered, TEMPORARY_PREFIX, Undelivered};
use super::keystore::{Keystore, KeystoreError};
use super::report::{Outcome, Report};
use super::survey::{Finding, compare};
use super::workers::{Workers, outage};
use crate::crypto::key::Key;
use crate::glob::Glob;

/// What to do if the target has a different value for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Refuse the migration and write nothing.
    Refuse,
    /// Keep the value of the target.
    Keep,
    /// Replace it with the value of the source.
    Replace,
}

/// The options of a migration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which keys to copy.
    pub pattern: Glob,
    /// What to do if the target has a different value.
    pub conflict: Conflict,
    /// Write nothing, and report what would be done.
    pub dry_run: bool,
    /// Skip damaged keys instead of refusing the migration.
    pub skip_damaged: bool,
}

/// A key to write, and the value that it replaces.
type Step = (Name, Option<Value>);

/// Copies the keys.
///
/// # Errors
/// [`KeystoreError`] if a store cannot be listed, or has no matching key. Everything else is in the report.
pub async fn migrate(
    source: &Keystore,
    target: &Keystore,
    options: &Options,
    workers: &Workers,
) -> Result<Report, KeystoreError> {
    let names = source.some_names(&options.pattern).await?;
    let mut report = Report::new(if options.dry_run { &DRY_RUN } else { &RUN });
    let listed: HashSet<Name> = target.names(&options.pattern).await?.into_iter().collect();
    let steps = plan((source, target), (&names, &listed), options, workers, &mut report).await;
    if report.cut_short.is_none() {
        report.cut_short = refusal(&report, options);
    }
    if options.dry_run || report.cut_short.is_some() {
        for (name, old) in steps {
            let planned = if old.is_some() { Outcome::Replaced } else { Outcome::Copied };
            report.add(if options.dry_run { planned } else { Outcome::NotTried }, &name, "");
        }
        return Ok(report);
    }
    write(source, target, steps, workers, &mut report).await;
    if report.cut_short.is_none()
        && let Err(error) = recheck(source, target, &names, &options.pattern, &mut report).await
    {
        // Report what was done all the same.
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        report.cut_short =
            Some(format!("{error}{cause}; keys created in the meantime may be missing, so run the command again"));
    }
    Ok(report)
}

const RUN: [(Outcome, &str); 5] = [
    (Outcome::Copied, "copied"),
    (Outcome::AlreadyThere, "already present"),
    (Outcome::Replaced, "replaced"),
    (Outcome::Failed, "failed"),
    (Outcome::Missing, "missing from the target"),
];

const DRY_RUN: [(Outcome, &str); 4] = [
    (Outcome::Copied, "to copy"),
    (Outcome::AlreadyThere, "already present"),
    (Outcome::Replaced, "to replace"),
    (Outcome::Kept, "to keep, different in the target"),
];

/// Compares every key in both keystores. Returns what is to be written, and reports the rest.
async fn plan(
    (source, target): (&Keystore, &Keystore),
    (names, listed): (&[Name], &HashSet<Name>),
    options: &Options,
    workers: &Workers,
    report: &mut Report,
) -> Vec<Step> {
    workers.progress.begin("checking", names.len());
    let check = |name: Name| {
        let (source, target, unlisted) = (source.clone(), target.clone(), !listed.contains(&name));
        async move {
            let finding = compare(&source, &target, &name, unlisted).await;
            (name, finding)
        }
    };
    let done = workers.run(names.iter().cloned(), check, |(_, finding)| finding.outage()).await;
    workers.progress.end();
    let needs_taken_name =
        |name: &Name| deliver::temporary_name(name).is_ok_and(|temporary| names.contains(&temporary));
    let mut untried: BTreeSet<&Name> = names.iter().collect();
    let mut steps = Vec::new();
    for (name, finding) in done.results {
        untried.remove(&name);
        match (finding, options.conflict) {
            (Finding::Absent, _) => steps.push((name, None)),
            (Finding::Equal, _) => report.add(Outcome::AlreadyThere, &name, ""),
            (Finding::Differs { .. }, Conflict::Replace) if needs_taken_name(&name) => report.add(
                Outcome::Failed,
                &name,
                "the source has a key with the temporary name that a replacement needs; rename or delete it first",
            ),
            (Finding::Differs { old, .. }, Conflict::Replace) => steps.push((name, Some(old))),
            (Finding::Differs { damage: None, .. }, Conflict::Keep) => report.add(Outcome::Kept, &name, ""),
            (Finding::Differs { damage: Some(damage), .. }, Conflict::Keep) => {
                report.add(
                    Outcome::Damaged,
                    &name,
                    format!("in the target: {damage}; to replace only this key, pass its name and --force"),
                );
            }
            (Finding::Differs { damage, .. }, Conflict::Refuse) => {
                let reason = damage.map_or(String::new(), |damage| format!("in the target: {damage}"));
                report.add(Outcome::Differs, &name, reason);
            }
            (Finding::Gone, _) => report.add(Outcome::Gone, &name, ""),
            (Finding::Unusable(reason), _) => report.add(Outcome::Damaged, &name, reason),
            (Finding::Failed { reason, .. }, _) => report.add(Outcome::Failed, &name, reason),
        }
    }
    for name in untried {
        report.add(Outcome::NotTried, name, "");
    }
    report.cut_short = done.cut_short.map(|why| format!("{why}; nothing was written; run the command again"));
    // Write in the order of the names, so that progress can be followed.
    steps.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    steps
}

/// Why the migration is refused, if it is.
fn refusal(report: &Report, options: &Options) -> Option<String> {
    let keys = |outcome| match report.count(outcome) {
        1 => "1 key".to_owned(),
        count => format!("{count} keys"),
    };
    let mut reasons = Vec::new();
    if report.count(Outcome::Differs) > 0 {
        reasons.push(format!(
            "the target has different values for {}; use --merge to keep them, or --force to replace them",
            keys(Outcome::Differs)
        ));
    }
    if report.count(Outcome::Failed) > 0 {
        reasons.push(format!(
            "{} could not be read; check the keystores, then run the command again",
            keys(Outcome::Failed)
        ));
    }
    if report.count(Outcome::Damaged) > 0 && !options.skip_damaged {
        reasons.push(format!(
            "{} cannot be used; repair or delete what is damaged, or skip it with --skip-damaged",
            keys(Outcome::Damaged)
        ));
    }
    let consequence = if options.dry_run { "nothing would be written" } else { "nothing was written" };
    (!reasons.is_empty()).then(|| format!("{consequence}: {}", reasons.join("; ")))
}

/// Carries out the plan.
async fn write(source: &Keystore, target: &Keystore, steps: Vec<Step>, workers: &Workers, report: &mut Report) {
    let mut untried: BTreeSet<Name> = steps.iter().map(|(name, _)| name.clone()).collect();
    workers.progress.begin("copying", steps.len());
    let step = |(name, old): Step| {
        let (source, target) = (source.clone(), target.clone());
        async move {
            let result = Box::pin(write_one(&source, &target, &name, old)).await;
            (name, result)
        }
    };
    let done = workers.run(steps, step, |(_, (.., outage))| outage.clone()).await;
    workers.progress.end();
    for (name, (outcome, reason, _)) in done.results {
        untried.remove(&name);
        report.add(outcome, &name, reason);
    }
    for name in untried {
        report.add(Outcome::NotTried, &name, "");
    }
    report.cut_short = done.cut_short.map(|why| format!("{why}; run the command again to continue"));
}

/// Writes one key. Returns its outcome, the reason, and the error if it says that a store is unavailable.
async fn write_one(
    source: &Keystore,
    target: &Keystore,
    name: &Name,
    old: Option<Value>,
) -> (Outcome, String, Option<String>) {
    let value = match source.get(name).await {
        Ok(value) => value,
        Err(StoreError::NotFound) => return (Outcome::Gone, String::new(), None),
        Err(error) => return (Outcome::Failed, format!("in the source: {error}"), outage(&error)),
    };
    // The key may have been deleted and created again since the survey.
    if let Err(damage) = Key::from_stored(value.as_bytes()) {
        return (Outcome::Damaged, format!("in the source: {damage}"), None);
    }
    let Some(store) = target.store() else {
        return (Outcome::Failed, "the target is not open".to_owned(), None);
    };
    let result = match &old {
        None => deliver::create(store, name, &value).await.map(|delivered| match delivered {
            Delivered::Created => Outcome::Copied,
            Delivered::Present => Outcome::AlreadyThere,
        }),
        Some(old) => deliver::replace(store, name, old, &value).await.map(|()| Outcome::Replaced),
    };
    match result {
        Ok(outcome) => (outcome, String::new(), None),
        Err(error) => {
            let outcome = if matches!(error, Undelivered::Differs) { Outcome::Differs } else { Outcome::Failed };
            let reason = format!("in the target: {error}");
            let outage = error.is_transient().then(|| error.to_string());
            (outcome, reason, outage)
        }
    }
}

/// Lists the source again to find keys that were created or deleted during the run, and deletes leftovers of earlier
/// runs from the target.
async fn recheck(
    source: &Keystore,
    target: &Keystore,
    names: &[Name],
    pattern: &Glob,
    report: &mut Report,
) -> Result<(), KeystoreError> {
    let before: BTreeSet<&Name> = names.iter().collect();
    let now = source.names(pattern).await?;
    for name in now.iter().filter(|name| !before.contains(name)) {
        report.add(Outcome::Missing, name, "created in the source during this run; run the command again");
    }
    let now: BTreeSet<&Name> = now.iter().collect();
    for name in
        names.iter().filter(|name| !now.contains(name) && !report.contains(Outcome::Gone, name)).collect::<Vec<_>>()
    {
        report.add(
            Outcome::Gone,
            name,
            "deleted from the source during this run; delete it from the target as well if that is intended",
        );
    }
    let leftovers: Glob = format!("{TEMPORARY_PREFIX}*").parse().unwrap_or_else(|_| Glob::all());
    let leftovers: Vec<Name> = target
        .names(&leftovers)
        .await?
        .into_iter()
        .filter(|name| is_temporary_name(name) && !now.contains(name))
        .collect();
    let Some(store) = target.store().filter(|_| !leftovers.is_empty()) else { return Ok(()) };
    let owners: BTreeMap<Name, &Name> =
        names.iter().filter_map(|name| Some((deliver::temporary_name(name).ok()?, name))).collect();
    for temporary in leftovers {
        let is_deleted = match owners.get(&temporary) {
            Some(owner) => deliver::clean_up(store, owner, &temporary).await.unwrap_or(false),
            None => false,
        };
        if !is_deleted {
            let reason = if owners.contains_key(&temporary) {
                "its value differs from that of the key itself; inspect both"
            } else {
                "its key is not part of this migration"
            };
            report.add(Outcome::LeftOver, &temporary, reason);
        }
    }
    Ok(())
}

fn is_temporary_name(name: &Name) -> bool {
    name.as_str().starts_with(TEMPORARY_PREFIX)
}
