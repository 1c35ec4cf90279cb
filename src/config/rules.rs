//! Policy rules against the API: which paths a rule can match, and what it probably meant when it can match none.

use crate::routes::{Argument, ROUTES};

/// APIs that KES had in some release and dropped (its changelog and older API documentation). Policies that were
/// written for it may still name them.
const DROPPED: [&str; 12] = [
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
    /// At least one request that some API answers.
    Api,
    /// Only APIs that no server has any more.
    Dropped,
    /// Nothing; with the reason and what to do.
    Nothing(String),
}

/// Judges a rule as [`crate::policy::PathPattern`] matches it: equal to a path, or, ending in `*`, a prefix of one.
pub(super) fn reach(rule: &str) -> Reach {
    let api = match rule.strip_suffix('*') {
        Some(prefix) => ROUTES.iter().any(|route| route.can_begin(prefix)),
        None => ROUTES.iter().any(|route| route.can_be(rule)),
    };
    let dropped = DROPPED.iter().any(|path| match rule.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix) || prefix.starts_with(path),
        None => rule.starts_with(path),
    });
    if api {
        Reach::Api
    } else if dropped {
        Reach::Dropped
    } else {
        Reach::Nothing(advice(rule))
    }
}

/// Why a rule matches nothing, and what to write in its place.
fn advice(rule: &str) -> String {
    let (text, star) = rule.strip_suffix('*').map_or((rule, ""), |prefix| (prefix, "*"));
    let hint = if text.contains('*') { "; a '*' is a wildcard at the end of a rule alone" } else { "" };
    for route in ROUTES.iter().filter(|route| route.argument != Argument::None) {
        match text.strip_prefix(route.path) {
            Some("") => {
                return format!("matches no path; write '{}*' for all names, or a name after the last '/'", route.path);
            }
            Some(argument) => {
                let word = route.argument.word();
                return format!(
                    "matches no path, as no {word} {} '{argument}'; names are 1 to 80 of 0-9 A-Z a-z _ -, with no - at either end{hint}",
                    if star.is_empty() { "can be" } else { "begins with" },
                );
            }
            None => {}
        }
    }
    let meant = suggestions(text, star).max_by(|(a, _), (b, _)| a.total_cmp(b));
    let meant = meant.map(|(_, meant)| format!("; did you mean '{meant}'?")).unwrap_or_default();
    format!("matches no path of the API{meant}{hint}")
}

/// For each route the rule that `text` would be if it meant that route, with its likeness to it (0 to 1).
fn suggestions(text: &str, star: &str) -> impl Iterator<Item = (f64, String)> {
    let text = format!("/{}", text.trim_start_matches('/'));
    ROUTES.iter().map(move |route| {
        let levels = route.path.matches('/').count();
        let end = if route.path.ends_with('/') { text.match_indices('/').nth(levels - 1) } else { None };
        let (head, argument) = end.and_then(|(slash, _)| text.split_at_checked(slash + 1)).unwrap_or((&text, ""));
        let likeness =
            strsim::normalized_damerau_levenshtein(head.trim_end_matches('/'), route.path.trim_end_matches('/'));
        let meant = match route.path {
            path if route.argument == Argument::None => path.to_owned(),
            path if argument.is_empty() || !route.argument.can_begin(argument) => format!("{path}*"),
            path => format!("{path}{argument}{star}"),
        };
        (likeness, meant)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_can_match_some_request_reaches_the_api() {
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
    fn a_rule_for_a_dropped_api_is_told_from_a_typing_error() {
        for rule in [
            "/v1/policy/write/*",
            "/v1/policy/assign/minio",
            "/v1/policy/w*",
            "/v1/identity/forget/*",
            "/v1/secret/*",
            "/v1/key/bulk/decrypt/my-key",
            "/v1/log/audit/trace",
            "/v1/log/error/*",
        ] {
            assert_eq!(reach(rule), Reach::Dropped, "{rule}");
        }
    }

    #[test]
    fn a_rule_that_matches_nothing_is_told_what_it_probably_meant() {
        for (rule, meant) in [
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
            ("/v1/identity/describe/self/x", "no identity can be 'self/x'"),
            ("/v1/key/create/my.app*", "no key name begins with 'my.app'"),
            ("/v1/key/create/my-", "no key name can be 'my-'"),
            ("/v1/policy/read/-a*", "no policy name begins with '-a'"),
            ("/v1/key/create/**", "a '*' is a wildcard at the end of a rule alone"),
            ("/v1/key/*/my-app", "a '*' is a wildcard at the end of a rule alone"),
            ("", "did you mean"),
        ] {
            let Reach::Nothing(advice) = reach(rule) else { panic!("{rule}") };
            assert!(advice.contains(meant), "{rule}: {advice}");
        }
    }
}
