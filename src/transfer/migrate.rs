//! All keys of one store into another: a survey of both, and if nothing is to be refused, the copying.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::error::Error as _;

use backends::{Name, StoreError, Value};

use super::deliver::{self, Delivered, SECOND_NAME, Undelivered};
use super::glob::Glob;
use super::keystore::{Keystore, KeystoreError};
use super::report::{Outcome, Report};
use super::survey::{Finding, compare};
use super::workers::{Workers, trouble};
use crate::crypto::key::Key;

/// What to do about a key of which the target has another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Write nothing at all.
    Refuse,
    /// Leave the target's.
    Keep,
    /// Put the source's in its place.
    Replace,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which keys.
    pub pattern: Glob,
    /// What to do where the target has another value.
    pub conflict: Conflict,
    /// Write nothing, and report what would be.
    pub dry_run: bool,
    /// Leave out what is no key, in place of writing nothing at all.
    pub skip_damaged: bool,
}

/// A key to be written, and the value that it replaces.
type Step = (Name, Option<Value>);

/// Moves the keys.
///
/// # Errors
/// [`KeystoreError`] when a store cannot be listed, or there is no key to move. All else is in the report.
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
            let fate = if old.is_some() { Outcome::Replaced } else { Outcome::Copied };
            report.add(if options.dry_run { fate } else { Outcome::NotTried }, &name, "");
        }
        return Ok(report);
    }
    write(source, target, steps, workers, &mut report).await;
    if report.cut_short.is_none()
        && let Err(error) = look_back(source, target, &names, &options.pattern, &mut report).await
    {
        // What was done is worth telling all the same.
        let why = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        report.cut_short = Some(format!("{error}, so keys that came meanwhile would be missed; run this again{why}"));
    }
    Ok(report)
}

const RUN: [(Outcome, &str); 5] = [
    (Outcome::Copied, "copied"),
    (Outcome::AlreadyThere, "already there"),
    (Outcome::Replaced, "replaced"),
    (Outcome::Failed, "failed"),
    (Outcome::Missing, "missing in the target"),
];

const DRY_RUN: [(Outcome, &str); 4] = [
    (Outcome::Copied, "to copy"),
    (Outcome::AlreadyThere, "already there"),
    (Outcome::Replaced, "to replace"),
    (Outcome::Kept, "to keep, with another value in the target"),
];

/// Looks at every key on both sides: what there is to do, and what there is nothing to do about.
async fn plan(
    (source, target): (&Keystore, &Keystore),
    (names, listed): (&[Name], &HashSet<Name>),
    options: &Options,
    workers: &Workers,
    report: &mut Report,
) -> Vec<Step> {
    workers.progress.begin("checking", names.len());
    let look = |name: Name| {
        let (source, target, unlisted) = (source.clone(), target.clone(), !listed.contains(&name));
        async move {
            let finding = compare(&source, &target, &name, unlisted).await;
            (name, finding)
        }
    };
    let done = workers.run(names.iter().cloned(), look, |(_, finding)| finding.trouble()).await;
    workers.progress.end();
    let has_second = |name: &Name| deliver::second_name(name).is_ok_and(|second| names.contains(&second));
    let mut untried: BTreeSet<&Name> = names.iter().collect();
    let mut steps = Vec::new();
    for (name, finding) in done.results {
        untried.remove(&name);
        match (finding, options.conflict) {
            (Finding::Absent, _) => steps.push((name, None)),
            (Finding::Equal, _) => report.add(Outcome::AlreadyThere, &name, ""),
            (Finding::Differs { .. }, Conflict::Replace) if has_second(&name) => report.add(
                Outcome::Failed,
                &name,
                "the source has a key under the second name that replacing it takes; move or delete that one first",
            ),
            (Finding::Differs { old, .. }, Conflict::Replace) => steps.push((name, Some(old))),
            (Finding::Differs { damage: None, .. }, Conflict::Keep) => report.add(Outcome::Kept, &name, ""),
            (Finding::Differs { damage: Some(damage), .. }, Conflict::Keep) => {
                report.add(
                    Outcome::Damaged,
                    &name,
                    format!("in the target: {damage}; to replace it alone, give its name and --force"),
                );
            }
            (Finding::Differs { damage, .. }, Conflict::Refuse) => {
                report.add(Outcome::Differs, &name, damage.map_or(String::new(), |damage| format!("there, {damage}")));
            }
            (Finding::Gone, _) => report.add(Outcome::Gone, &name, ""),
            (Finding::Unusable(reason), _) => report.add(Outcome::Damaged, &name, reason),
            (Finding::Failed { reason, .. }, _) => report.add(Outcome::Failed, &name, reason),
        }
    }
    for name in untried {
        report.add(Outcome::NotTried, name, "");
    }
    report.cut_short = done.cut_short.map(|why| format!("{why}; nothing was written"));
    // In the order of their names, for those who watch.
    steps.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    steps
}

/// Why nothing is to be written.
fn refusal(report: &Report, options: &Options) -> Option<String> {
    let keys = |fate| match report.count(fate) {
        1 => "1 key".to_owned(),
        count => format!("{count} keys"),
    };
    let mut why = Vec::new();
    if report.count(Outcome::Differs) > 0 {
        why.push(format!(
            "the target has another value for {}; --merge keeps the target's, --force replaces them",
            keys(Outcome::Differs)
        ));
    }
    if report.count(Outcome::Failed) > 0 {
        why.push(format!("{} could not be read", keys(Outcome::Failed)));
    }
    if report.count(Outcome::Damaged) > 0 && !options.skip_damaged {
        why.push(format!(
            "{} cannot be used; repair or remove what is damaged, or leave it out with --skip-damaged",
            keys(Outcome::Damaged)
        ));
    }
    let what = if options.dry_run { "nothing would be written" } else { "nothing was written" };
    (!why.is_empty()).then(|| format!("{what}: {}", why.join("; ")))
}

/// Writes what was planned.
async fn write(source: &Keystore, target: &Keystore, steps: Vec<Step>, workers: &Workers, report: &mut Report) {
    let mut untried: BTreeSet<Name> = steps.iter().map(|(name, _)| name.clone()).collect();
    workers.progress.begin("copying", steps.len());
    let step = |(name, old): Step| {
        let (source, target) = (source.clone(), target.clone());
        async move {
            let outcome = Box::pin(write_one(&source, &target, &name, old)).await;
            (name, outcome)
        }
    };
    let done = workers.run(steps, step, |(_, (.., trouble))| trouble.clone()).await;
    workers.progress.end();
    for (name, (fate, reason, _)) in done.results {
        untried.remove(&name);
        report.add(fate, &name, reason);
    }
    for name in untried {
        report.add(Outcome::NotTried, &name, "");
    }
    report.cut_short = done.cut_short.map(|why| format!("{why}; run this again to go on"));
}

/// What became of one key: its fate, why, and what says that a store is away.
async fn write_one(
    source: &Keystore,
    target: &Keystore,
    name: &Name,
    old: Option<Value>,
) -> (Outcome, String, Option<String>) {
    let value = match source.get(name).await {
        Ok(value) => value,
        Err(StoreError::NotFound) => return (Outcome::Gone, String::new(), None),
        Err(error) => return (Outcome::Failed, format!("in the source: {error}"), trouble(&error)),
    };
    // It may have been deleted and made again since it was looked at.
    if let Err(damage) = Key::from_stored(value.as_bytes()) {
        return (Outcome::Damaged, format!("in the source: {damage}"), None);
    }
    let Some(store) = target.store() else {
        return (Outcome::Failed, "the target is not open".to_owned(), None);
    };
    let outcome = match &old {
        None => deliver::create(store, name, &value).await.map(|delivered| match delivered {
            Delivered::Created => Outcome::Copied,
            Delivered::Present => Outcome::AlreadyThere,
        }),
        Some(old) => deliver::replace(store, name, old, &value).await.map(|()| Outcome::Replaced),
    };
    match outcome {
        Ok(fate) => (fate, String::new(), None),
        Err(error) => {
            let fate = if matches!(error, Undelivered::Differs) { Outcome::Differs } else { Outcome::Failed };
            let reason = format!("in the target: {error}");
            let trouble = error.is_transient().then(|| error.to_string());
            (fate, reason, trouble)
        }
    }
}

/// Looks at the source once more, for keys that came and went, and removes what earlier runs left in the target.
async fn look_back(
    source: &Keystore,
    target: &Keystore,
    names: &[Name],
    pattern: &Glob,
    report: &mut Report,
) -> Result<(), KeystoreError> {
    let before: BTreeSet<&Name> = names.iter().collect();
    let now = source.names(pattern).await?;
    for name in now.iter().filter(|name| !before.contains(name)) {
        report.add(Outcome::Missing, name, "created in the source while this ran; run it again");
    }
    let now: BTreeSet<&Name> = now.iter().collect();
    for name in
        names.iter().filter(|name| !now.contains(name) && !report.tells(Outcome::Gone, name)).collect::<Vec<_>>()
    {
        report.add(
            Outcome::Gone,
            name,
            "deleted from the source while this ran; delete it from the target if that is meant",
        );
    }
    let left_over: Glob = format!("{SECOND_NAME}*").parse().unwrap_or_else(|_| Glob::all());
    let left_over: Vec<Name> = target
        .names(&left_over)
        .await?
        .into_iter()
        .filter(|name| is_second_name(name) && !now.contains(name))
        .collect();
    let Some(store) = target.store().filter(|_| !left_over.is_empty()) else { return Ok(()) };
    let owners: BTreeMap<Name, &Name> =
        names.iter().filter_map(|name| Some((deliver::second_name(name).ok()?, name))).collect();
    for second in left_over {
        let is_removed = match owners.get(&second) {
            Some(owner) => deliver::clean_up(store, owner, &second).await.unwrap_or(false),
            None => false,
        };
        if !is_removed {
            let what = if owners.contains_key(&second) {
                "its value is not the one under the key's own name; look at both"
            } else {
                "its key is not among those that were moved"
            };
            report.add(Outcome::LeftOver, &second, what);
        }
    }
    Ok(())
}

fn is_second_name(name: &Name) -> bool {
    name.as_str().starts_with(SECOND_NAME)
}
