//! Checks policy rules against the API: whether a rule can match a path and, if not, a suggestion.

use crate::routes::{Argument, ROUTES};

/// An API that KES had once.
pub(super) struct Removed {
    /// Its path.
    path: &'static str,
    /// What to do with a rule for it.
    now: Now,
}

/// What became of an API.
enum Now {
    /// This path serves the same.
    At(&'static str),
    /// Policies and identities are what the config says.
    InConfig,
    /// Nothing is like it.
    Gone,
}

const fn removed(path: &'static str, now: Now) -> Removed {
    Removed { path, now }
}

/// APIs that earlier releases of KES had. Policies that were written for such a release may still contain them. Source:
/// the API paths of all KES releases, and their documentation.
#[rustfmt::skip]
const REMOVED: [Removed; 14] = [
    removed("/v1/policy/show/",      Now::At("/v1/policy/read/")),
    removed("/v1/policy/write/",     Now::InConfig),
    removed("/v1/policy/assign/",    Now::InConfig),
    removed("/v1/policy/delete/",    Now::InConfig),
    removed("/v1/identity/assign/",  Now::InConfig),
    removed("/v1/identity/forget/",  Now::InConfig),
    removed("/v1/identity/delete/",  Now::InConfig),
    removed("/v1/key/bulk/decrypt/", Now::At("/v1/key/decrypt/")),
    removed("/v1/log/audit/trace",   Now::At("/v1/log/audit")),
    removed("/v1/log/error/trace",   Now::At("/v1/log/error")),
    removed("/v1/sys/health",        Now::At("/v1/ready")),
    removed("/v1/sys/",              Now::Gone),
    removed("/v1/secret/",           Now::Gone),
    removed("/v1/enclave/",          Now::Gone),
];

/// What is wrong with a rule that matches no API, without a suggestion: for a rule that must not be shown.
pub(super) const NO_API: &str = "it matches no API path; use a path such as /v1/status";

/// The similarity (0 to 1) from which on a path is suggested.
const SIMILAR: f64 = 0.5;

/// Why a rule matches no API request, with what to do; `None` if it can match one. It matches as a
/// [`crate::policy::PathPattern`]: the exact path or, if it ends in `*`, a prefix.
pub(super) fn problem(rule: &str) -> Option<String> {
    let matches_api = match rule.strip_suffix('*') {
        Some(prefix) => ROUTES.iter().any(|route| route.has_path_with_prefix(prefix)),
        None => ROUTES.iter().any(|route| route.has_path(rule)),
    };
    match removed_api(rule) {
        _ if matches_api => None,
        Some(removed) => Some(replacement(removed, rule)),
        None => Some(explain(rule)),
    }
}

/// The API that KES has removed which a rule is for, the first of several.
pub(super) fn removed_api(rule: &str) -> Option<&'static Removed> {
    REMOVED.iter().find(|removed| match rule.strip_suffix('*') {
        Some(prefix) => removed.path.starts_with(prefix) || prefix.starts_with(removed.path),
        None => rule.starts_with(removed.path) || removed.path.strip_suffix('/') == Some(rule),
    })
}

/// What to do with a rule for an API that KES has removed.
fn replacement(removed: &Removed, rule: &str) -> String {
    let todo = match removed.now {
        Now::At(path) if path.ends_with('/') => {
            let argument = rule.strip_prefix(removed.path).filter(|argument| !argument.is_empty()).unwrap_or("*");
            format!("use '{path}{argument}' instead, or remove it")
        }
        Now::At(path) => format!("use '{path}' instead, or remove it"),
        Now::InConfig => "policies and identities are changed in the config only; remove it".to_owned(),
        Now::Gone => "remove it".to_owned(),
    };
    format!("KES has removed this API; {todo}")
}

/// Why a rule matches nothing, with a suggestion.
fn explain(rule: &str) -> String {
    let (text, star) = rule.strip_suffix('*').map_or((rule, ""), |prefix| (prefix, "*"));
    let hint = if text.contains('*') { "; a '*' is a wildcard only at the end of a rule" } else { "" };
    for route in ROUTES.iter().filter(|route| route.argument != Argument::None) {
        match text.strip_prefix(route.path) {
            Some("") => {
                return format!("it matches no API path; use '{}*' for all names, or add a name", route.path);
            }
            Some(argument) => {
                let kind = route.argument.word();
                let problem = if star.is_empty() { "is not a valid" } else { "cannot begin a valid" };
                return format!(
                    "it matches no API path: '{argument}' {problem} {kind}; \
                     use 1 to 80 characters of 0-9 A-Z a-z _ -, without a leading or trailing -{hint}",
                );
            }
            None => {}
        }
    }
    let is_below = |path: &str| text.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    if let Some(route) = ROUTES.iter().find(|route| route.paths().any(is_below)) {
        return format!("it matches no API path; did you mean '{}'?{hint}", route.path);
    }
    let folder = format!("{}/", text.trim_end_matches('/'));
    if text.starts_with('/')
        && ROUTES.iter().any(|route| route.path.len() > folder.len() && route.path.starts_with(&folder))
    {
        return format!(
            "it matches only the path '{text}', which is not an API; '{folder}*' matches every path below it"
        );
    }
    let nearest = suggestions(text, star).max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest.filter(|(similarity, _)| *similarity >= SIMILAR) {
        Some((_, rule)) => format!("it matches no API path; did you mean '{rule}'?{hint}"),
        None => format!("{NO_API}{hint}"),
    }
}

/// For each route, the rule that `text` may have been intended as, and their similarity (0 to 1).
fn suggestions(text: &str, star: &str) -> impl Iterator<Item = (f64, String)> {
    let text = format!("/{}", text.trim_start_matches('/'));
    ROUTES.iter().map(move |route| {
        let levels = route.path.matches('/').count();
        let end = if route.path.ends_with('/') { text.match_indices('/').nth(levels - 1) } else { None };
        let (head, argument) = end.and_then(|(slash, _)| text.split_at_checked(slash + 1)).unwrap_or((&text, ""));
        let similarity =
            strsim::normalized_damerau_levenshtein(head.trim_end_matches('/'), route.path.trim_end_matches('/'));
        let rule = match route.path {
            path if route.argument == Argument::None => path.to_owned(),
            path if argument.is_empty() || !route.argument.is_valid_prefix(argument) => format!("{path}*"),
            path => format!("{path}{argument}{star}"),
        };
        (similarity, rule)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_can_match_a_request_is_accepted() {
        for rule in [
            "*",
            "/*",
            "/v1/*",
            "/v1/status",
            "/version",
            "/ready",
            "/v1/stat*",
            "/v1/key/*",
            "/v1/key/create*",
            "/v1/key/create/*",
            "/v1/key/create/my-app*",
            "/v1/key/create/my-*",
            "/v1/key/create/_*",
            "/v1/key/create/my-app",
            "/v1/key/list/",
            "/v1/key/list/my-",
            "/v1/key/list/my-*",
            "/v1/key/list/my-**",
            "/v1/identity/describe/df7281ca3fed4ef7d06297eb7cb9d590a4863efb7a8d8b8ea8d8c5d5c5a1b2c3",
            "/v1/identity/self/describe",
            "/v1/log/error",
        ] {
            assert_eq!(problem(rule), None, "{rule}");
        }
    }

    #[test]
    fn a_rule_for_a_removed_api_is_not_taken_for_a_typing_error() {
        for (rule, instead) in [
            ("/v1/policy/write/*", "in the config only; remove it"),
            ("/v1/policy/assign/minio", "in the config only; remove it"),
            ("/v1/policy/w*", "in the config only; remove it"),
            ("/v1/identity/forget/*", "in the config only; remove it"),
            ("/v1/secret/*", "KES has removed this API; remove it"),
            ("/v1/sys/seal", "KES has removed this API; remove it"),
            ("/v1/sys/health", "use '/v1/ready' instead"),
            ("/v1/key/bulk/decrypt/my-key", "use '/v1/key/decrypt/my-key' instead"),
            ("/v1/key/bulk/decrypt/my-*", "use '/v1/key/decrypt/my-*' instead"),
            ("/v1/key/bulk/decrypt", "use '/v1/key/decrypt/*' instead"),
            ("/v1/policy/show", "use '/v1/policy/read/*' instead"),
            ("/v1/log/audit/trace", "use '/v1/log/audit' instead"),
            ("/v1/log/error/*", "use '/v1/log/error' instead"),
        ] {
            let reason = problem(rule).unwrap();
            assert!(reason.starts_with("KES has removed this API; ") && reason.contains(instead), "{rule}: {reason}");
        }
    }

    #[test]
    fn a_rule_that_matches_nothing_comes_with_a_suggestion() {
        for (rule, expected) in [
            ("/v1/key/creat/my-app*", "'/v1/key/create/my-app*'"),
            ("v1/key/create/my-app*", "'/v1/key/create/my-app*'"),
            ("/v1/keys/create/my-app", "'/v1/key/create/my-app'"),
            ("/v1/key/create", "'/v1/key/create/*'"),
            ("/v1/key/create/", "'/v1/key/create/*'"),
            ("/v1/key/lists/a.b*", "'/v1/key/list/*'"),
            ("/v1/state", "'/v1/status'"),
            ("/v1/status/", "'/v1/status'"),
            ("/v1/status/*", "'/v1/status'"),
            ("/v2/key/generate/*", "'/v1/key/generate/*'"),
            ("/v1/identity/describe/self/x", "'self/x' is not a valid identity"),
            ("/v1/key/create/my.app*", "'my.app' cannot begin a valid key name"),
            ("/v1/key/create/my-", "'my-' is not a valid key name"),
            ("/v1/policy/read/-a*", "'-a' cannot begin a valid policy name"),
            ("/v1/key/create/**", "a '*' is a wildcard only at the end of a rule"),
            ("/v1/key/*/my-app", "a '*' is a wildcard only at the end of a rule"),
            ("/v1", "'/v1/*' matches every path below it"),
            ("/v1/key/", "'/v1/key/*' matches every path below it"),
            ("/metrics/prometheus", "use a path such as /v1/status"),
            ("", "use a path such as /v1/status"),
        ] {
            let reason = problem(rule).unwrap_or_else(|| panic!("{rule}"));
            assert!(reason.contains(expected), "{rule}: {reason}");
        }
    }
}
