//! The section `policy`: its rules and identities. `rules.rs` checks which API paths a rule can match.

use std::collections::BTreeMap;

use backends::Name;

use super::rules;
use super::values::{IDENTITY_TODO, identity, warn_if_unmatchable};
use super::yaml::field::Field;
use super::yaml::section::Section;
use crate::identity::Identity;
use crate::policy::{PathPattern, Policy, Rules};

pub(super) const POLICY: [&str; 3] = ["allow", "deny", "identities"];

/// The policies by name, and the name of the policy of each identity.
pub(super) fn policies(
    top: &Section<'_>,
    admin: Option<&Identity>,
) -> (BTreeMap<String, Policy>, BTreeMap<Identity, String>) {
    let mut policies = BTreeMap::new();
    let mut assigned: BTreeMap<Identity, (&str, Field<'_>)> = BTreeMap::new();
    for (name, field) in top.get("policy").map(Field::entries).unwrap_or_default() {
        if !Name::is_valid(name) {
            field.warn("is not a valid policy name in the API; use 1 to 80 characters of 0-9 A-Z a-z _ -, without a leading or trailing -");
        }
        let policy = Section::new(field, &POLICY);
        policies.insert(name.to_owned(), Policy { allow: rules(&policy, "allow"), deny: rules(&policy, "deny") });
        for item in policy.get("identities").map(Field::items).unwrap_or_default() {
            let Some(identity) = identity(&item, IDENTITY_TODO) else { continue };
            warn_if_unmatchable(&item, &identity);
            if admin == Some(&identity) {
                item.warn("is the admin identity, which may do everything; this policy has no effect on it");
            }
            match assigned.get(&identity) {
                Some((other, first)) => item.error(format!(
                    "is in policy '{other}'{} and in policy '{name}'{}; \
                     remove one of them, an identity has only one policy",
                    first.line(),
                    item.line(),
                )),
                None => {
                    assigned.insert(identity, (name, item));
                }
            }
        }
    }
    let assigned = assigned.into_iter().map(|(identity, (name, _))| (identity, name.to_owned()));
    (policies, assigned.collect())
}

fn rules(policy: &Section<'_>, key: &str) -> Rules {
    let nothing = if key == "deny" { "denies nothing" } else { "allows nothing" };
    let rule = |item: Field<'_>| {
        item.parse_required("use a path such as /v1/key/create/my-app*, or remove the line", |text| {
            // As KES, which starts with such rules. An allow rule without effect allows less than is meant, which is
            // safe. A deny rule without effect lets through what it should stop, so the warning says that.
            if let Some(problem) = rules::problem(text.as_str()) {
                let problem = if text.is_private() { rules::NO_API.to_owned() } else { problem };
                item.warn(format!("{} {nothing}: {problem}", text.shown()));
            }
            Ok(PathPattern::new(text.as_str()))
        })
    };
    policy.get(key).map(Field::items).unwrap_or_default().into_iter().filter_map(rule).collect()
}
