//! Path patterns, policies, and the set of policies that a server runs with.
//!
//! Pure data and pure decisions: `config` builds them, `server/access.rs` uses them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use time::OffsetDateTime;

use crate::identity::Identity;

mod rules;

pub use rules::Rules;

/// A pattern for decoded request paths: the exact path or, if it ends in `*`, a prefix. A `*` anywhere else is an
/// ordinary character, which no API path contains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPattern(String);

impl PathPattern {
    /// Accepts any text; the config checks whether it can match the path of an API.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether the pattern matches `path`. `/v1/key/create/app*` matches `/v1/key/create/app` too.
    pub fn matches(&self, path: &str) -> bool {
        match self.prefix() {
            Some(prefix) => path.starts_with(prefix),
            None => self.0 == path,
        }
    }

    /// The text before the `*` of a pattern that ends in one.
    fn prefix(&self) -> Option<&str> {
        self.0.strip_suffix('*')
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of rules: a path is allowed if at least one `allow` pattern and no `deny` pattern matches it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Patterns of which at least one must match.
    pub allow: Rules,
    /// Patterns of which none may match; they take precedence over `allow`.
    pub deny: Rules,
}

/// The decision of a policy about a path, and the rule behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// This `allow` rule matches and no `deny` rule does.
    Allowed(&'a PathPattern),
    /// This `deny` rule matches.
    Denied(&'a PathPattern),
    /// No rule matches. Holds the `allow` rule that has the longest common prefix with the path; of several, the first
    /// in byte order.
    NoRule(Option<&'a PathPattern>),
}

impl Policy {
    /// Decides about a decoded path.
    pub fn decide(&self, path: &str) -> Decision<'_> {
        if let Some(rule) = self.deny.find(path) {
            return Decision::Denied(rule);
        }
        match self.allow.find(path) {
            Some(rule) => Decision::Allowed(rule),
            None => Decision::NoRule(self.allow.nearest(path)),
        }
    }
}

/// Why a request is denied. Written to the log and the audit event, but not sent to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The config does not contain the identity.
    #[error("identity {0} has no policy; add it to the `identities` of a policy")]
    NoPolicy(Identity),
    /// A `deny` rule matches.
    #[error("rule '{rule}' of policy '{policy}' denies it")]
    Denied {
        /// The policy of the identity.
        policy: Arc<str>,
        /// The rule that matched.
        rule: PathPattern,
    },
    /// No `allow` rule matches.
    #[error(
        "no rule of policy '{policy}' allows it{}",
        nearest.as_ref().map(|rule| format!("; the nearest rule is '{rule}'")).unwrap_or_default()
    )]
    NoRule {
        /// The policy of the identity.
        policy: Arc<str>,
        /// The nearest `allow` rule.
        nearest: Option<PathPattern>,
    },
}

/// Why a request is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant<'a> {
    /// The identity is that of the admin.
    Admin,
    /// An `allow` rule matches, and no `deny` rule does.
    Rule {
        /// The policy of the identity.
        policy: &'a Arc<str>,
        /// The rule that matched.
        rule: &'a PathPattern,
    },
}

/// The admin, the policies and the identities of a running server. Each identity has at most one policy.
///
/// ```
/// use keyway::identity::Identity;
/// use keyway::policy::{PathPattern, Policies, Policy, Refusal};
///
/// let [admin, app] = ["a", "b"].map(Identity::from_text);
/// let allow = ["/v1/key/create/app-*"].into_iter().map(PathPattern::new).collect();
/// let policy = Policy { allow, ..Policy::default() };
/// let policies = Policies::new(
///     admin.clone(),
///     [("app".to_owned(), policy)],
///     [(app.clone(), "app".to_owned())],
///     time::OffsetDateTime::UNIX_EPOCH,
/// );
/// assert!(policies.check(&admin, "/v1/key/delete/app-1").is_ok());
/// assert!(policies.check(&app, "/v1/key/create/app-1").is_ok());
/// assert!(matches!(policies.check(&app, "/v1/key/create/other"), Err(Refusal::NoRule { .. })));
/// ```
#[derive(Clone, Debug)]
pub struct Policies {
    admin: Identity,
    created_at: OffsetDateTime,
    by_name: BTreeMap<Arc<str>, Policy>,
    assigned: HashMap<Identity, Arc<str>>,
}

impl Policies {
    /// Builds the set. `created_at` is the creation time that the API returns for every policy and identity.
    pub fn new(
        admin: Identity,
        policies: impl IntoIterator<Item = (String, Policy)>,
        assigned: impl IntoIterator<Item = (Identity, String)>,
        created_at: OffsetDateTime,
    ) -> Self {
        Self {
            admin,
            created_at,
            by_name: policies.into_iter().map(|(name, policy)| (Arc::from(name), policy)).collect(),
            assigned: assigned.into_iter().map(|(identity, name)| (identity, Arc::from(name))).collect(),
        }
    }

    /// Checks whether `identity` may request the decoded `path`. The admin may request everything.
    ///
    /// # Errors
    /// [`Refusal`], with the rule that denied the request, or the nearest one.
    pub fn check(&self, identity: &Identity, path: &str) -> Result<Grant<'_>, Refusal> {
        if self.is_admin(identity) {
            return Ok(Grant::Admin);
        }
        let (policy, rules) = self.of(identity).ok_or_else(|| Refusal::NoPolicy(identity.clone()))?;
        match rules.decide(path) {
            Decision::Allowed(rule) => Ok(Grant::Rule { policy, rule }),
            Decision::Denied(rule) => Err(Refusal::Denied { policy: policy.clone(), rule: rule.clone() }),
            Decision::NoRule(nearest) => Err(Refusal::NoRule { policy: policy.clone(), nearest: nearest.cloned() }),
        }
    }

    /// Whether this is the admin identity.
    pub fn is_admin(&self, identity: &Identity) -> bool {
        self.admin == *identity
    }

    /// The admin identity.
    pub fn admin(&self) -> &Identity {
        &self.admin
    }

    /// When the server began to use this set.
    pub fn created_at(&self) -> OffsetDateTime {
        self.created_at
    }

    /// The policy of an identity, with its name.
    pub fn of(&self, identity: &Identity) -> Option<(&Arc<str>, &Policy)> {
        self.by_name.get_key_value(self.assigned.get(identity)?)
    }

    /// The policy with this name.
    pub fn get(&self, name: &str) -> Option<&Policy> {
        self.by_name.get(name)
    }

    /// The names of all policies, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    /// The admin and all identities with a policy, in byte order.
    pub fn identities(&self) -> Vec<&Identity> {
        let mut identities: Vec<_> = self.assigned.keys().chain([&self.admin]).collect();
        identities.sort_unstable();
        identities.dedup();
        identities
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], deny: &[&str]) -> Policy {
        let patterns = |rules: &[&str]| rules.iter().map(|rule| PathPattern::new(*rule)).collect::<Rules>();
        Policy { allow: patterns(allow), deny: patterns(deny) }
    }

    #[test]
    fn a_pattern_matches_exactly_or_as_a_prefix() {
        assert!(PathPattern::new("/v1/status").matches("/v1/status"));
        assert!(!PathPattern::new("/v1/status").matches("/v1/status/"));
        assert!(PathPattern::new("/v1/key/create/app*").matches("/v1/key/create/app"));
        assert!(PathPattern::new("/v1/key/create/app*").matches("/v1/key/create/app-1"));
        assert!(!PathPattern::new("/v1/key/create/app*").matches("/v1/key/create/ap"));
        assert!(!PathPattern::new("/v1/key/*/app").matches("/v1/key/create/app"));
        assert!(PathPattern::new("*").matches("/anything"));
    }

    #[test]
    fn deny_takes_precedence_over_allow() {
        let policy = policy(&["/v1/key/*"], &["/v1/key/delete/*"]);
        assert!(matches!(policy.decide("/v1/key/create/a"), Decision::Allowed(_)));
        assert_eq!(policy.decide("/v1/key/delete/a"), Decision::Denied(&PathPattern::new("/v1/key/delete/*")));
    }

    #[test]
    fn a_path_without_a_matching_rule_gets_the_nearest_one() {
        let policy = policy(&["/v1/status", "/v1/key/create/my-*"], &[]);
        assert_eq!(
            policy.decide("/v1/key/create/your-1"),
            Decision::NoRule(Some(&PathPattern::new("/v1/key/create/my-*")))
        );
    }

    #[test]
    fn the_admin_is_allowed_and_an_unknown_identity_is_not() {
        let [admin, app, unknown] = ["a", "b", "c"].map(Identity::from_text);
        let policies = Policies::new(
            admin.clone(),
            [("app".to_owned(), policy(&["/v1/status"], &[]))],
            [(app.clone(), "app".to_owned())],
            OffsetDateTime::UNIX_EPOCH,
        );
        assert_eq!(policies.check(&admin, "/v1/key/delete/x"), Ok(Grant::Admin));
        let (policy, rule) = (&Arc::from("app"), &PathPattern::new("/v1/status"));
        assert_eq!(policies.check(&app, "/v1/status"), Ok(Grant::Rule { policy, rule }));
        assert!(matches!(policies.check(&app, "/v1/api"), Err(Refusal::NoRule { .. })));
        assert_eq!(policies.check(&unknown, "/v1/status"), Err(Refusal::NoPolicy(unknown.clone())));
        assert_eq!(policies.identities(), [&admin, &app]);
    }
}
