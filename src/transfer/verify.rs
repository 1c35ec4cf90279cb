//! Two stores compared, without writing to either.

use std::collections::BTreeSet;

use backends::Name;

use super::crew::Crew;
use super::pattern::Pattern;
use super::report::{Fate, Report};
use super::side::{Side, SideError};
use super::survey::{Finding, compare};

/// Compares every key of `source` with that of `target`. Keys of the target alone are counted, and no trouble.
///
/// # Errors
/// [`SideError`] when a store cannot be listed, or there is no key to compare. All else is in the report.
pub async fn verify(source: &Side, target: &Side, pattern: &Pattern, crew: &Crew) -> Result<Report, SideError> {
    let names = source.some_names(pattern).await?;
    let others = target.names(pattern).await?;
    let mut report = Report::new(&[
        (Fate::AlreadyThere, "equal in both"),
        (Fate::OnlyInTarget, "only in the second"),
        (Fate::Differs, "different"),
        (Fate::Missing, "missing in the second"),
    ]);
    crew.progress.begin("comparing", names.len());
    let look = |name: Name| {
        let (source, target) = (source.clone(), target.clone());
        async move {
            let finding = compare(&source, &target, &name, false).await;
            (name, finding)
        }
    };
    let done = crew.run(names.iter().cloned(), look, |(_, finding)| finding.trouble()).await;
    crew.progress.end();
    let mut untried: BTreeSet<&Name> = names.iter().collect();
    for (name, finding) in done.results {
        untried.remove(&name);
        match finding {
            Finding::Absent => report.add(Fate::Missing, &name, ""),
            Finding::Equal => report.add(Fate::AlreadyThere, &name, ""),
            Finding::Differs { damage, .. } => {
                report.add(Fate::Differs, &name, damage.map_or(String::new(), |damage| format!("there, {damage}")));
            }
            Finding::Gone => report.add(Fate::Gone, &name, ""),
            Finding::Unusable(reason) => report.add(Fate::Damaged, &name, reason),
            Finding::Failed { reason, .. } => report.add(Fate::Failed, &name, reason),
        }
    }
    for name in untried {
        report.add(Fate::NotTried, name, "");
    }
    let known: BTreeSet<&Name> = names.iter().collect();
    for name in others.iter().filter(|name| !known.contains(name)) {
        report.add(Fate::OnlyInTarget, name, "");
    }
    report.cut_short = done.cut_short.map(|why| why.to_string());
    Ok(report)
}
