//! Checks policy rules against the API: whether a rule can match a path and, if not, a suggestion.

use crate::routes::{Argument, ROUTES};

/// APIs that earlier releases of KES had (its changelog and older API documentation). Policies that were written for
/// such a release may still contain them.
const REMOVED: [&str; 12] = [
    "/v1/policy/show/",
    "/v1/policy/write/",
    "/v1/policy/assign/",
    "/v1/policy/delete/",
    "/v1/identity/assign/",
    "/v1/identity/forget/",
    "/v1/identity/delete/",
    "/v1/secret/",
    "/v1/enclave/",
    "/v1/key/bulk/decrypt/",
    "/v1/log/audit/trace",
    "/v1/log/error/trace",
];

/// What a rule can match.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// At least one valid API request.
    Api,
    /// Only APIs that no longer exist.
    Removed,
    /// Nothing, with the reason and a suggestion.
    Nothing(String),
}

/// Classifies a rule. It matches as a [`crate::policy::PathPattern`]: the exact path or, if it ends in `*`, a prefix.
pub(super) fn reach(rule: &str) -> Reach {
    let api = match rule.strip_suffix('*') {
        Some(prefix) => ROUTES.iter().any(|route| route.has_path_with_prefix(prefix)),
        None => ROUTES.iter().any(|route| route.has_path(rule)),
    };
    let removed = REMOVED.iter().any(|path| match rule.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix) || prefix.starts_with(path),
        None => rule.starts_with(path) || path.strip_suffix('/') == Some(rule),
    });
    if api {
        Reach::Api
    } else if removed {
        Reach::Removed
    } else {
        Reach::Nothing(explain(rule))
    }
}

/// Why a rule matches nothing, with a suggestion.
fn explain(rule: &str) -> String {
    let (text, star) = rule.strip_suffix('*').map_or((rule, ""), |prefix| (prefix, "*"));
    let hint = if text.contains('*') { "; a '*' is a wildcard only at the end of a rule" } else { "" };
    for route in ROUTES.iter().filter(|route| route.argument != Argument::None) {
        match text.strip_prefix(route.path) {
            Some("") => {
                return format!("matches no API path; use '{}*' for all names, or add a name", route.path);
            }
            Some(argument) => {
                let kind = route.argument.word();
                let problem = if star.is_empty() { "is not a valid" } else { "cannot begin a valid" };
                return format!(
                    "matches no API path: '{argument}' {problem} {kind}; \
                     use 1 to 80 characters of 0-9 A-Z a-z _ -, without a leading or trailing -{hint}",
                );
            }
            None => {}
        }
    }
    let suggestion = suggestions(text, star).max_by(|(a, _), (b, _)| a.total_cmp(b));
    let suggestion = suggestion.map(|(_, rule)| format!("; did you mean '{rule}'?")).unwrap_or_default();
    format!("matches no API path{suggestion}{hint}")
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
            assert_eq!(reach(rule), Reach::Api, "{rule}");
        }
    }

    #[test]
    fn a_rule_for_a_removed_api_is_not_taken_for_a_typing_error() {
        for rule in [
            "/v1/policy/write/*",
            "/v1/policy/assign/minio",
            "/v1/policy/w*",
            "/v1/identity/forget/*",
            "/v1/secret/*",
            "/v1/key/bulk/decrypt/my-key",
            "/v1/key/bulk/decrypt",
            "/v1/policy/show",
            "/v1/log/audit/trace",
            "/v1/log/error/*",
        ] {
            assert_eq!(reach(rule), Reach::Removed, "{rule}");
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
            ("", "did you mean"),
        ] {
            let Reach::Nothing(reason) = reach(rule) else { panic!("{rule}") };
            assert!(reason.contains(expected), "{rule}: {reason}");
        }
    }
}
