//! Compares two keystores. Read-only.

use std::collections::BTreeSet;

use backends::Name;

use super::keystore::{Keystore, KeystoreError};
use super::report::{Outcome, Report};
use super::survey::{Finding, compare};
use super::workers::Workers;
use crate::glob::Glob;

/// Compares every key of `source` with its counterpart in `target`. Keys that exist only in the target are reported,
/// but are not a failure.
///
/// # Errors
/// [`KeystoreError`] if a store cannot be listed, or has no matching key. Everything else is in the report.
pub async fn verify(
    source: &Keystore,
    target: &Keystore,
    pattern: &Glob,
    workers: &Workers,
) -> Result<Report, KeystoreError> {
    let names = source.some_names(pattern).await?;
    let others = target.names(pattern).await?;
    let mut report = Report::new(&[
        (Outcome::AlreadyThere, "equal in both"),
        (Outcome::OnlyInTarget, "only in the second keystore"),
        (Outcome::Differs, "different"),
        (Outcome::Missing, "missing from the second keystore"),
    ]);
    workers.progress.begin("comparing", names.len());
    let check = |name: Name| {
        let (source, target) = (source.clone(), target.clone());
        async move {
            let finding = compare(&source, &target, &name, false).await;
            (name, finding)
        }
    };
    let done = workers.run(names.iter().cloned(), check, |(_, finding)| finding.outage()).await;
    workers.progress.end();
    let mut untried: BTreeSet<&Name> = names.iter().collect();
    for (name, finding) in done.results {
        untried.remove(&name);
        match finding {
            Finding::Absent => report.add(Outcome::Missing, &name, ""),
            Finding::Equal => report.add(Outcome::AlreadyThere, &name, ""),
            Finding::Differs { damage, .. } => {
                let reason = damage.map_or(String::new(), |damage| format!("in the second keystore: {damage}"));
                report.add(Outcome::Differs, &name, reason);
            }
            Finding::Gone => report.add(Outcome::Gone, &name, ""),
            Finding::Unusable(reason) => report.add(Outcome::Damaged, &name, reason),
            Finding::Failed { reason, .. } => report.add(Outcome::Failed, &name, reason),
        }
    }
    for name in untried {
        report.add(Outcome::NotTried, name, "");
    }
    let known: BTreeSet<&Name> = names.iter().collect();
    for name in others.iter().filter(|name| !known.contains(name)) {
        report.add(Outcome::OnlyInTarget, name, "");
    }
    report.cut_short = done.cut_short.map(|why| format!("{why}; run the command again"));
    Ok(report)
}
