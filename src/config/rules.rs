//! Policy rules against the API: which paths a rule can match, and what it probably meant when it can match none.

use backends::{Name, is_valid_prefix};

use crate::router::ROUTES;

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

/// Judges a rule as [`crate::policy::Pattern`] matches it: equal to a path, or, ending in `*`, a prefix of one.
pub(super) fn reach(rule: &str) -> Reach {
    let api = match rule.strip_suffix('*') {
        Some(prefix) => ROUTES.iter().any(|route| can_begin(route.path, prefix)),
        None => ROUTES.iter().any(|route| can_be(route.path, rule)),
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

/// The route path most like `path`, of those that the config has options for.
pub(super) fn nearest(path: &str) -> Option<&'static str> {
    let similar = |route: &&str| strsim::normalized_damerau_levenshtein(path, route);
    let routes = ROUTES.iter().filter(|route| route.path != "/ready").map(|route| route.path);
    routes.max_by(|a, b| similar(a).total_cmp(&similar(b)))
}

/// Whether a request to `route` can have a path that begins with `prefix`.
fn can_begin(route: &str, prefix: &str) -> bool {
    let argument = if route.ends_with('/') { prefix.strip_prefix(route) } else { None };
    route.starts_with(prefix) || argument.is_some_and(|argument| Argument::of(route).can_begin(argument))
}

/// Whether a request to `route` can have exactly this path.
fn can_be(route: &str, path: &str) -> bool {
    match path.strip_prefix(route) {
        Some(argument) if route.ends_with('/') => Argument::of(route).can_be(argument),
        Some(rest) => rest.is_empty(),
        None => false,
    }
}

/// What stands after a route path that ends in `/`.
#[derive(Clone, Copy)]
enum Argument {
    /// A key or policy name, or an identity.
    Name(&'static str),
    /// The beginning of names, perhaps none, perhaps with a `*` after it.
    Pattern,
}

impl Argument {
    fn of(route: &str) -> Self {
        match route {
            _ if route.ends_with("/list/") => Self::Pattern,
            _ if route.starts_with("/v1/identity/") => Self::Name("identity"),
            _ if route.starts_with("/v1/policy/") => Self::Name("policy name"),
            _ => Self::Name("key name"),
        }
    }

    fn can_be(self, text: &str) -> bool {
        match self {
            Self::Name(_) => Name::is_valid(text),
            Self::Pattern => is_valid_prefix(text.strip_suffix('*').unwrap_or(text)),
        }
    }

    fn can_begin(self, text: &str) -> bool {
        match self {
            Self::Name(_) => is_valid_prefix(text),
            Self::Pattern => self.can_be(text),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Name(word) => word,
            Self::Pattern => "listing pattern",
        }
    }
}

/// Why a rule matches nothing, and what to write in its place.
fn advice(rule: &str) -> String {
    let (text, star) = rule.strip_suffix('*').map_or((rule, ""), |prefix| (prefix, "*"));
    let hint = if text.contains('*') { "; a '*' is a wildcard at the end of a rule alone" } else { "" };
    let with_argument = ROUTES.iter().map(|route| route.path).filter(|path| path.ends_with('/'));
    for route in with_argument {
        match text.strip_prefix(route) {
            Some("") => {
                return format!("matches no path; write '{route}*' for all names, or a name after the last '/'");
            }
            Some(argument) => {
                let word = Argument::of(route).word();
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
            path if !path.ends_with('/') => path.to_owned(),
            path if argument.is_empty() || !Argument::of(path).can_begin(argument) => format!("{path}*"),
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
