//! Every name that a config file of any KES release may contain: its keys, and the API paths in its policies. The rows are
//! in `tests/vectors`.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::history::OLD_KEYS;
use super::*;

/// What Keyway does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Now {
    /// It changes the config.
    Used,
    /// It is read, and changes nothing.
    Accepted,
    /// A warning names its new name.
    Renamed,
    /// A warning says why.
    #[serde(rename = "without effect")]
    WithoutEffect,
    /// An error says why.
    Refused,
}

#[derive(Deserialize)]
struct Row {
    key: String,
    value: Value,
    now: Now,
    /// What the warning or the error says.
    #[serde(default)]
    says: String,
    /// Where the error is, if not at the key.
    at: Option<String>,
}

/// The rest of a config.
#[derive(Deserialize)]
struct Base {
    /// For keys that begin with this.
    under: String,
    config: Map<String, Value>,
}

#[derive(Deserialize)]
struct Keys {
    bases: Vec<Base>,
    keys: Vec<Row>,
}

impl Keys {
    fn read() -> Self {
        serde_json::from_str(include_str!("../../../tests/vectors/kes-config-keys.json")).unwrap()
    }

    /// The rest of a config for this key.
    fn base(&self, key: &str) -> Value {
        let mut config = json!({
            "admin": {"identity": "disabled"},
            "tls": {"key": "k", "cert": "c"},
            "keystore": {"memory": {}},
        });
        let fits = self.bases.iter().filter(|base| key.starts_with(&base.under));
        let base = fits.max_by_key(|base| base.under.len()).map(|base| base.config.clone());
        config.as_object_mut().unwrap().extend(base.unwrap_or_default());
        config
    }
}

/// The parent of the value with this path, and its key there. Sections on the way are added.
fn at<'a, 'b>(config: &'a mut Value, path: &'b str) -> (&'a mut Map<String, Value>, &'b str) {
    let (sections, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut section = config;
    for name in sections.split('.').filter(|name| !name.is_empty()) {
        section = match name.strip_suffix("[0]") {
            Some(list) => &mut section[list][0],
            None => section.as_object_mut().unwrap().entry(name).or_insert_with(|| json!({})),
        };
    }
    (section.as_object_mut().unwrap(), key)
}

/// A config without its warnings, as text, which does not show secrets.
fn content(config: Config) -> String {
    format!("{:?}", Config { warnings: Vec::new(), source: Source::default(), ..config })
}

#[test]
fn every_key_of_every_release_does_what_its_row_says() {
    let keys = Keys::read();
    let mut failures = Vec::new();
    for row in &keys.keys {
        let mut config = keys.base(&row.key);
        let (section, key) = at(&mut config, &row.key);
        section.remove(key);
        let without = parsed(&config.to_string());
        let (section, key) = at(&mut config, &row.key);
        section.insert(key.to_owned(), row.value.clone());
        let with = parsed(&config.to_string());
        let place = format!(" {}:", row.at.as_ref().unwrap_or(&row.key));
        let is_said = |problems: &[Problem]| {
            let said = |line: String| line.starts_with("k.yml:1:") && line.contains(&place) && line.contains(&row.says);
            lines(problems).into_iter().any(said)
        };
        let renamed = format!("was renamed to {}; the old name has no effect", row.says);
        let is_right = match (&with, row.now) {
            (Err(error), Now::Refused) => is_said(error.problems()),
            (Ok(config), Now::Used | Now::Accepted) => config.warnings.is_empty(),
            (Ok(config), Now::Renamed) => {
                config.warnings.len() == 1 && is_said(&config.warnings) && lines(&config.warnings)[0].contains(&renamed)
            }
            (Ok(config), Now::WithoutEffect) => {
                config.warnings.len() == 1
                    && is_said(&config.warnings)
                    && lines(&config.warnings)[0].contains("remove it")
            }
            _ => false,
        };
        let is_changed = match (with.as_ref().map(Clone::clone), without) {
            (Ok(with), Ok(without)) => with.keystore != without.keystore || content(with) != content(without),
            _ => true,
        };
        if !is_right || is_changed != matches!(row.now, Now::Used | Now::Refused) {
            failures.push(format!("{} {:?} {:?}, changed: {is_changed}, {with:?}", row.key, row.value, row.now));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_old_key_has_a_row() {
    let keys = Keys::read();
    let rows: BTreeSet<_> = keys.keys.iter().map(|row| row.key.replace(".minio.", ".*.")).collect();
    for old in OLD_KEYS {
        assert!(rows.contains(&old.path()), "{}", old.path());
    }
}

#[test]
fn the_error_for_a_missing_key_names_the_old_one_that_the_file_has() {
    let tls = "tls: {key: k, cert: c}\n";
    let head = format!("admin: {{identity: _}}\n{tls}");
    for (text, begins, contains) in [
        (
            format!("root: {A}\n{tls}keystore: {{memory: }}\n"),
            "k.yml:1:1: admin.identity:",
            "the value of root (line 1)",
        ),
        (
            format!("{head}keystore:\n  vault: {{address: 'https://v', token: t}}\n"),
            "k.yml:4:3: keystore.vault.endpoint:",
            "the value of keystore.vault.address (line 4), its old name",
        ),
        (
            format!("{head}keystore:\n  aws: {{secrets_manager: {{region: r}}}}\n"),
            "k.yml:4:3: keystore.aws.secretsmanager:",
            "the value of keystore.aws.secrets_manager (line 4), its old name",
        ),
    ] {
        rejected(&text, begins, contains);
    }
}

#[derive(Deserialize)]
struct Paths {
    paths: Vec<ApiPath>,
}

#[derive(Deserialize)]
struct ApiPath {
    path: String,
    now: Fate,
    /// What the warning about a rule with this path says; `None` if the rule can match a request.
    exact: Option<String>,
    /// The same with a `*` after it.
    star: Option<String>,
    /// The same with `/*` after it.
    all: Option<String>,
    /// The same for a name below it.
    below: Option<String>,
}

/// What became of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fate {
    Served,
    Gone,
    #[serde(rename = "not an API")]
    NotAnApi,
}

#[test]
fn a_rule_for_any_path_that_kes_ever_served_is_a_warning_at_most_and_names_what_serves_it() {
    let Paths { paths } = serde_json::from_str(include_str!("../../../tests/vectors/kes-api-paths.json")).unwrap();
    let mut failures = Vec::new();
    for ApiPath { path, now, exact, star, all, below } in &paths {
        let bare = path.trim_end_matches('/');
        let rules = [
            (path.clone(), exact),
            (format!("{path}*"), star),
            (format!("{bare}/*"), all),
            (format!("{bare}/my-key"), below),
        ];
        let is_api =
            crate::routes::ROUTES.iter().any(|route| route.paths().any(|own| own.trim_end_matches('/') == bare));
        assert_eq!(is_api, *now == Fate::Served, "{path}");
        let options = with_head(&format!("api: {{'{path}': {{timeout: 3s}}}}\n")).unwrap();
        let warned = lines(&options.warnings).join("");
        let expected = match now {
            Fate::Served if path == "/ready" => "is an alias of /v1/ready; use /v1/ready instead",
            Fate::Served => "",
            Fate::Gone => "belongs to an API that KES has removed, and has no effect; remove it",
            Fate::NotAnApi => "is not the path of an API and has no effect; did you mean",
        };
        if options.warnings.len() != usize::from(!expected.is_empty()) || !warned.contains(expected) {
            failures.push(format!("options of {path}: {warned}"));
        }
        for (rule, says) in rules {
            for (list, nothing) in [("allow", "allows nothing: "), ("deny", "denies nothing: ")] {
                let config = with_head(&format!("policy: {{minio: {{{list}: ['{rule}']}}}}\n")).unwrap();
                let warnings = lines(&config.warnings);
                let begins = format!(" policy.minio.{list}[0]: '{rule}' {nothing}");
                let is_right = match (says, warnings.as_slice()) {
                    (None, []) => true,
                    (Some(says), [warning]) => {
                        warning.starts_with("k.yml:5:") && warning.contains(&begins) && warning.contains(says)
                    }
                    _ => false,
                };
                if !is_right {
                    failures.push(format!("{list} {rule}: {warnings:?}, expected {says:?}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
