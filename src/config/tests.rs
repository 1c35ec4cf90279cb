//! Whole config files: valid ones, and the errors of invalid ones. Parts are tested where they are parsed.

use super::*;
use crate::policy::PathPattern;

mod keystores;
mod names;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Four lines that complete the texts below to a whole config; the tested text begins on line 5.
const HEAD: &str = "admin: {identity: disabled}\ntls: {key: k, cert: c}\nkeystore:\n  memory:\n";

fn env(name: &str) -> Option<String> {
    let value = match name {
        "ADDRESS" => ":1",
        "ON" => "on",
        "AGE" => "1m",
        "RULE" => "/v1/status",
        "IDENTITY" => A,
        "SECRET" => "hunter2",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

fn parsed(text: &str) -> Result<Config, ConfigError> {
    parse_with(Path::new("k.yml"), text, &Overrides::default(), &env)
}

fn with_head(text: &str) -> Result<Config, ConfigError> {
    parsed(&format!("{HEAD}{text}"))
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

/// Asserts that `text` has exactly one error, which begins and contains as given.
fn rejected(text: &str, begins: &str, contains: &str) {
    let problems = lines(parsed(text).expect_err(text).problems());
    assert_eq!(problems.len(), 1, "{text}\n{problems:#?}");
    assert!(problems[0].starts_with(begins), "{text}\n{} does not begin with {begins}", problems[0]);
    assert!(problems[0].contains(contains), "{text}\n{} does not contain {contains}", problems[0]);
    assert!(problems[0].contains(';') || problems[0].contains('?'), "{text}\n{} does not say what to do", problems[0]);
}

#[test]
fn a_config_without_options_has_the_defaults() {
    let config = with_head("").unwrap();
    assert!(config.certificate_required());
    assert_eq!(config.address, "0.0.0.0:7373".parse().unwrap());
    assert_eq!(config.admin, Identity::from_text("disabled"));
    assert_eq!((config.tls.key, config.tls.cert), (PathBuf::from("k"), PathBuf::from("c")));
    assert!(config.tls.password.is_none() && config.tls.ca.is_none() && config.tls.proxy.is_none());
    assert!(!config.tls.auth);
    assert!(config.api.is_empty() && config.policies.is_empty() && config.identities.is_empty());
    assert_eq!(config.cache.any, Duration::from_mins(5));
    assert_eq!(config.cache.unused, Duration::from_secs(30));
    assert_eq!(config.cache.offline, Duration::ZERO);
    assert_eq!(config.log, Log { error: Level::At(0), audit: Audit::Changes, format: Format::Text });
    assert!(config.keys.is_empty());
    assert_eq!(config.keystore, BackendConfig::Memory);
    assert_eq!(config.warnings, []);
}

#[test]
fn every_key_is_read() {
    let text = format!(
        "version: v1\naddress: 127.0.0.1:9\nadmin:\n  identity: {A}\ntls:\n  key: s.key\n  cert: s.crt\n  password: 0012\n  \
         ca: ca.pem\n  auth: on\n  proxy:\n    identities:\n    - {B}\n    header:\n      cert: X-Cert\napi:\n  /v1/ready:\n    \
         skip_auth: true\n    timeout: 3s\n  /v1/key/create:\n    timeout: 0\npolicy:\n  app:\n    allow:\n    - /v1/key/create/app*\n    \
         - /v1/status\n    deny:\n    - /v1/key/create/app-x\n    identities:\n    - {B}\ncache:\n  expiry:\n    any: 1m30s\n    \
         unused: 0\n    offline: 1h\nlog:\n  error: WARN\n  audit: on\n  format: json\nkeys:\n- name: one\n- name: 02\n\
         keystore:\n  fs:\n    path: /keys\n"
    );
    let config = parsed(&text).unwrap();
    assert_eq!(config.address, "127.0.0.1:9".parse().unwrap());
    assert_eq!(config.admin, Identity::from_text(A));
    assert_eq!(config.tls.password.as_ref().map(Secret::expose), Some("0012"));
    assert_eq!(config.tls.ca, Some(PathBuf::from("ca.pem")));
    assert!(config.tls.auth);
    let proxy = Proxy { identities: vec![Identity::from_text(B)], header: "X-Cert".into() };
    assert_eq!(config.tls.proxy, Some(proxy));
    assert_eq!(config.api[&Api::Ready], ApiOptions { skip_auth: true, timeout: Some(Duration::from_secs(3)) });
    assert_eq!(config.api[&Api::KeyCreate], ApiOptions { skip_auth: false, timeout: Some(Duration::ZERO) });
    assert!(!config.certificate_required());
    let policy = &config.policies["app"];
    assert_eq!(policy.allow.iter().map(PathPattern::as_str).collect::<Vec<_>>(), ["/v1/key/create/app*", "/v1/status"]);
    assert_eq!(policy.deny.iter().map(PathPattern::as_str).collect::<Vec<_>>(), ["/v1/key/create/app-x"]);
    assert_eq!(config.identities, BTreeMap::from([(Identity::from_text(B), "app".to_owned())]));
    let (any, unused, offline) = (Duration::from_secs(90), Duration::ZERO, Duration::from_hours(1));
    let cache = Cache { any, unused, offline, max_entries: 100_000 };
    assert_eq!(config.cache, cache);
    assert_eq!(config.log, Log { error: Level::At(4), audit: Audit::From(Level::At(0)), format: Format::Json });
    assert_eq!(config.keys, ["one", "02"].map(|name| Name::parse(name).unwrap()));
    assert_eq!(config.keystore, BackendConfig::Fs { path: "/keys".into() });
    assert_eq!(config.warnings.len(), 1, "offline has no effect without a cache");
}

#[test]
fn one_duration_of_the_cache_does_not_change_another() {
    let config = with_head("cache: {expiry: {any: 10m}}").unwrap();
    assert_eq!((config.cache.any, config.cache.unused), (Duration::from_mins(10), Duration::from_secs(30)));
}

#[test]
fn any_scalar_may_come_from_the_environment() {
    let config = with_head(
        "address: ${ADDRESS}\napi: {/v1/ready: {skip_auth: '${ON}', timeout: '${AGE}'}}\n\
         policy: {p: {allow: ['${RULE}'], identities: ['${IDENTITY}']}}\ncache: {expiry: {any: \"${AGE}\", unused: '${EMPTY}'}}\n",
    )
    .unwrap();
    assert_eq!(config.address.port(), 1);
    assert_eq!(config.api[&Api::Ready], ApiOptions { skip_auth: true, timeout: Some(Duration::from_mins(1)) });
    assert_eq!(config.policies["p"].allow[0].as_str(), "/v1/status");
    assert_eq!(config.identities[&Identity::from_text(A)], "p");
    assert_eq!(config.cache, Cache { any: Duration::from_mins(1), ..Cache::default() });
}

#[test]
fn keys_without_a_value_count_as_absent() {
    for key in ["address", "api", "policy", "cache", "log", "keys", "version"] {
        for null in ["", "~", "null"] {
            with_head(&format!("{key}: {null}\n")).unwrap_or_else(|error| panic!("{key}: {null}: {error}"));
        }
    }
    with_head("policy:\n  p:\n  q:\n    allow:\n    deny:\n    identities:\napi:\n  /v1/ready:\ncache:\n  expiry:\n")
        .unwrap();
    let empty = "admin: {identity: _}\nkeystore: {memory: {}}\ntls:\n  key: k\n  cert: c\n  password: \"\"\n  ca: \"\"\n  auth: \"\"\n  \
                 proxy:\n    identities: []\n    header:\n      cert: X-Tls-Client-Cert\n";
    let config = parsed(empty).unwrap();
    assert!(config.tls.password.is_none() && config.tls.ca.is_none() && config.tls.proxy.is_none());
    assert_eq!(config.warnings, []);
}

#[test]
fn passwords_are_read_unchanged_and_never_printed() {
    for (written, password) in [
        ("0012", "0012"),
        ("1.10", "1.10"),
        ("true", "true"),
        ("'~'", "~"),
        ("a${b", "a${b"),
        ("${SECRET}", "hunter2"),
        ("' x '", " x "),
    ] {
        let config = parsed(&format!(
            "admin: {{identity: _}}\nkeystore: {{memory: }}\ntls:\n  key: k\n  cert: c\n  password: {written}\n"
        ));
        let config = config.unwrap();
        assert_eq!(config.tls.password.as_ref().map(Secret::expose), Some(password));
        assert!(!format!("{config:?}").contains(&format!("{password:?}")), "{written}");
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_endings_are_accepted() {
    let text = format!("\u{feff}{}", HEAD.replace('\n', "\r\n"));
    assert_eq!(parsed(&text).unwrap().keystore, BackendConfig::Memory);
    rejected(&format!("{text}x: y\r\n"), "k.yml:5:1: x:", "unknown key");
}

#[test]
fn anchors_aliases_and_merges_work() {
    let text = format!(
        "policy:\n  a: &a\n    allow: &rules [/v1/status, /v1/metrics]\n    deny: [/v1/api]\n  b:\n    <<: *a\n    deny: []\n    \
         identities: [{A}]\n  c: {{allow: *rules}}\n  d: {{<<: [{{allow: [/v1/ready]}}, *a]}}\n"
    );
    let config = with_head(&text).unwrap();
    let rules = |name: &str| {
        let policy = &config.policies[name];
        [&policy.allow, &policy.deny].map(|rules| rules.iter().map(PathPattern::as_str).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(rules("b"), ["/v1/metrics /v1/status", ""]);
    assert_eq!(rules("c"), ["/v1/metrics /v1/status", ""]);
    assert_eq!(rules("d"), ["/v1/ready", "/v1/api"]);
}

#[test]
fn every_error_has_its_position_and_what_to_do() {
    let twice = format!("policy:\n  a: {{identities: [{A}]}}\n  b:\n    identities:\n    - {B}\n    - {A}\n");
    let again = format!("policy:\n  a:\n    identities:\n    - {A}\n    - {A}\n");
    for (text, begins, contains) in [
        // keys and types
        ("cach:\n  expiry:\n", "k.yml:5:1: cach:", "did you mean 'cache'?"),
        ("cache:\n  expiri: {}\n", "k.yml:6:3: cache.expiri:", "did you mean 'expiry'? valid here: expiry"),
        ("cache:\n  expiry:\n    idle: 1s\n", "k.yml:7:5: cache.expiry.idle:", "valid here: any, unused, offline"),
        ("\"a\\nb\": c\n", "k.yml:5:1: a\\nb:", "unknown key"),
        ("address: :1\nlog:\naddress: :2\n", "k.yml:7:1: address:", "already set (line 5)"),
        ("policy:\n  p: {}\n  q: {}\n  p: {}\n", "k.yml:8:3: policy.p:", "already set (line 6)"),
        ("cache:\n  expiry:\n    any: 1s\n    any: 1s\n", "k.yml:8:5: cache.expiry.any:", "already set (line 7)"),
        ("cache: 5m\n", "k.yml:5:8: cache:", "'5m' is not valid; use off, on, or a section with expiry"),
        ("cache: [5m]\n", "k.yml:5:1: cache:", "expected a mapping, found a list"),
        ("address: [a]\n", "k.yml:5:1: address:", "expected a single value, found a list"),
        ("address: {a: b}\n", "k.yml:5:1: address:", "expected a single value, found a mapping"),
        ("policy: {p: {allow: /v1/status}}\n", "k.yml:5:21: policy.p.allow:", "expected a list"),
        ("policy:\n  p:\n    allow:\n    - [x]\n", "k.yml:8:7: policy.p.allow[0]:", "expected a single value"),
        ("keys:\n- my-key\n", "k.yml:6:3: keys[0]:", "expected a mapping"),
        ("log: {<<: x}\n", "k.yml:5:11: log.<<:", "expected a mapping"),
        // scalars
        ("version: v2\n", "k.yml:5:10: version:", "'v2' is not a supported version; use v1"),
        ("address: 0.0.0.0\n", "k.yml:5:10: address:", "'0.0.0.0' has no port"),
        ("cache: {expiry: {any: 5}}\n", "k.yml:5:23: cache.expiry.any:", "'5' has no unit"),
        ("cache: {expiry: {any: -5s}}\n", "k.yml:5:23: cache.expiry.any:", "is negative; use 0 or more"),
        ("cache: {expiry: {offline: 1d}}\n", "k.yml:5:27: cache.expiry.offline:", "a day is 24h"),
        ("log: {error: verbose}\n", "k.yml:5:14: log.error:", "'verbose' is not a valid log level; use on, off"),
        ("log: {format: xml}\n", "k.yml:5:15: log.format:", "'xml' is not a valid format; use text or json"),
        ("api: {/v1/ready: {skip_auth: maybe}}\n", "k.yml:5:30: api./v1/ready.skip_auth:", "use on, off"),
        ("keys:\n- name: a.b\n", "k.yml:6:9: keys[0].name:", "'a.b' is not a valid key name; use 1 to 80"),
        ("keys:\n- name: a\n- name: b\n- name: a\n", "k.yml:8:9: keys[2].name:", "same key as keys[0].name (line 6)"),
        ("keys:\n- name:\n", "k.yml:6:3: keys[0].name:", "is empty; set it to the name"),
        ("keys:\n- {}\n", "k.yml:6:3: keys[0].name:", "is missing; set it to the name"),
        // environment
        ("address: ${NOWHERE}\n", "k.yml:5:10: address:", "variable NOWHERE is not set; set it"),
        ("address: 0.0.0.0:${PORT}\n", "k.yml:5:10: address:", "is not the whole value"),
        ("address: ${}\n", "k.yml:5:10: address:", "no valid variable name"),
        ("address: ${SECRET}\n", "k.yml:5:10: address:", "the value of ${SECRET} has no port"),
        // APIs
        (
            "api: {/v1/key/create: , /v1/key/create/: }\n",
            "k.yml:5:25: api./v1/key/create/:",
            "'api./v1/key/create' (line 5)",
        ),
        ("api: {/v1/key/list: {skip_auth: on}}\n", "k.yml:5:33: api./v1/key/list.skip_auth:", "remove skip_auth"),
        ("api: {/v1/api: {skip: on}}\n", "k.yml:5:17: api./v1/api.skip:", "did you mean 'skip_auth'?"),
        // policies
        ("policy:\n  p:\n    alow: []\n", "k.yml:7:5: policy.p.alow:", "did you mean 'allow'?"),
        ("policy: {p: {allow: [~]}}\n", "k.yml:5:22: policy.p.allow[0]:", "is empty; use a path"),
        (
            "policy: {p: {identities: ['']}}\n",
            "k.yml:5:27: policy.p.identities[0]:",
            "is empty; set it to the identity",
        ),
        (
            "policy: {p: {identities: ['${EMPTY}']}}\n",
            "k.yml:5:27: policy.p.identities[0]:",
            "is empty; set it to the identity",
        ),
        (&twice, "k.yml:10:7: policy.b.identities[1]:", "in policy 'a' (line 6) and in policy 'b' (line 10)"),
        (&again, "k.yml:9:7: policy.a.identities[1]:", "in policy 'a' (line 8) and in policy 'a' (line 9)"),
    ] {
        rejected(&format!("{HEAD}{text}"), begins, contains);
    }
}

#[test]
fn required_keys_must_be_present() {
    let tls = "tls: {key: k, cert: c}\n";
    let store = "keystore: {memory: }\n";
    let admin = "admin: {identity: _}\n";
    for (text, begins, contains) in [
        (format!("{tls}{store}"), "k.yml:1:1: admin.identity:", "is missing; set it to the identity"),
        (format!("{tls}{store}admin:\n"), "k.yml:3:1: admin.identity:", "is missing; set it to the identity"),
        (
            format!("{tls}{store}admin:\n  identity:\n"),
            "k.yml:4:3: admin.identity:",
            "is empty; set it to the identity",
        ),
        (format!("{tls}{store}admin: {{identity: '${{EMPTY}}'}}\n"), "k.yml:3:19: admin.identity:", "is empty; set it"),
        (format!("{admin}{store}tls:\n  cert: c\n"), "k.yml:3:1: tls.key:", "is missing; set it to a PEM file"),
        (format!("{admin}{store}tls:\n  key: k\n"), "k.yml:3:1: tls.cert:", "is missing; set it to a PEM file"),
        (
            format!("{admin}{store}tls:\n  cert: c\n  key: ''\n"),
            "k.yml:5:8: tls.key:",
            "is empty; set it to a PEM file",
        ),
        (
            format!("{admin}{store}tls:\n  cert: c\n  key: k\n  proxy: {{identities: [{A}]}}\n"),
            "k.yml:6:3: tls.proxy.header.cert:",
            "is missing; set it to the name of the header",
        ),
        (
            format!("{admin}{store}tls: {{cert: c, key: k, proxy: {{header: {{cert: 'X Cert'}}}}}}\n"),
            "k.yml:3:47: tls.proxy.header.cert:",
            "'X Cert' is not a valid HTTP header name; use",
        ),
        (format!("{admin}{tls}"), "k.yml:1:1: keystore:", "choose one of fs, sqlite, memory, postgres, vault, aws"),
        (
            format!("{admin}{tls}keystore:\n"),
            "k.yml:1:1: keystore:",
            "choose one of fs, sqlite, memory, postgres, vault, aws",
        ),
        (
            format!("{admin}{tls}keystore: {{<<: {{}}}}\n"),
            "k.yml:1:1: keystore:",
            "choose one of fs, sqlite, memory, postgres, vault, aws",
        ),
        (format!("{admin}{tls}keystore: fs\n"), "k.yml:3:11: keystore:", "expected a mapping"),
        (
            format!("{admin}{tls}keystore:\n  fs:\n"),
            "k.yml:4:3: keystore.fs.path:",
            "is missing; set it to the directory",
        ),
        (format!("{admin}{tls}keystore:\n  fs: {{path: ''}}\n"), "k.yml:4:14: keystore.fs.path:", "is empty; set it"),
        (format!("{admin}{tls}keystore:\n  fs: {{dir: x}}\n"), "k.yml:4:3: keystore.fs.path:", "is missing"),
        (format!("{admin}{tls}keystore:\n  fss: {{path: x}}\n"), "k.yml:4:3: keystore.fss:", "did you mean 'fs'?"),
        (format!("{admin}{tls}keystore:\n  memory: {{path: x}}\n"), "k.yml:4:12: keystore.memory.path:", "remove it"),
        (
            format!("{admin}{tls}keystore:\n  fs: {{path: x}}\n  sqlite: {{path: y}}\n"),
            "k.yml:5:3: keystore.sqlite:",
            "only one keystore is allowed, but 'fs' (line 4) and 'sqlite' (line 5) are configured; remove one",
        ),
    ] {
        if text.contains("dir: x") {
            let problems = lines(parsed(&text).unwrap_err().problems());
            assert_eq!(problems.len(), 2);
            assert!(problems[1].starts_with("k.yml:4:8: keystore.fs.dir: unknown key;"), "{problems:?}");
        } else {
            rejected(&text, begins, contains);
        }
    }
}

#[test]
fn the_error_for_an_unsupported_keystore_of_kes_names_it() {
    for name in ["gcp", "azure", "fortanix", "gemalto", "entrust"] {
        let text = format!(
            "admin: {{identity: _}}\ntls: {{key: k, cert: c}}\nkeystore:\n  {name}:\n    secret: ${{NOWHERE}}\n    secret: hunter2\n"
        );
        let begins = format!("k.yml:4:3: keystore.{name}: the KES keystore '{name}' is not supported");
        rejected(&text, &begins, "choose one of fs, sqlite, memory, postgres, vault, aws");
    }
}

#[test]
fn text_that_is_not_a_single_yaml_document_is_rejected() {
    for (text, begins, contains) in [
        ("a: [b\n", "k.yml:2:1: not valid YAML:", "quote values that contain ': '"),
        ("a:\n\tb: c\n", "k.yml:2:1: not valid YAML:", "indent with spaces"),
        ("a: !b c\n", "k.yml:1:4: YAML tags", "remove the tag"),
        ("a: b\n---\nc: d\n", "k.yml:3:1: a second YAML document", "must be a single document"),
        ("hello\n", "k.yml:1:1: expected a mapping", "write indented 'KEY: VALUE' lines"),
    ] {
        let error = parsed(text).unwrap_err();
        let first = error.problems()[0].to_string();
        assert!(first.starts_with(begins) && first.contains(contains), "{text}\n{first}");
    }
}

#[test]
fn all_errors_of_a_file_are_reported_at_once_in_its_order() {
    let error = parsed("cache:\n  expiry: {any: x, unused: y}\naddress: z\nkey: k\nlog: {error: maybe}\n").unwrap_err();
    let problems = lines(error.problems());
    let paths: Vec<_> = problems.iter().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(
        paths,
        [
            "admin.identity",
            "tls.key",
            "tls.cert",
            "keystore",
            "cache.expiry.any",
            "cache.expiry.unused",
            "address",
            "key",
            "log.error"
        ]
    );
    assert_eq!(error.to_string().lines().count(), paths.len());
    let nothing = parsed("").unwrap_err();
    assert_eq!(nothing.problems().len(), 4, "{nothing}");
}

#[test]
fn an_error_in_an_aliased_mapping_has_the_position_of_the_anchor() {
    let error = with_head("policy:\n  a: &a\n    allow: [~]\n  b: *a\n").unwrap_err();
    let problems = lines(error.problems());
    assert!(problems[0].starts_with("k.yml:7:13: policy.a.allow[0]:"), "{problems:?}");
    assert!(problems[1].starts_with("k.yml:7:13: policy.b.allow[0]:"), "{problems:?}");
}

#[test]
fn many_errors_are_all_reported_the_last_ones_without_a_line() {
    let keys: Vec<_> = (0..200).map(|i| format!("key-{i}: x\n")).collect();
    let problems = lines(with_head(&keys.concat()).unwrap_err().problems());
    assert_eq!(problems.len(), 200);
    assert!(problems[0].starts_with("k.yml:5:1: key-0:"), "{}", problems[0]);
    assert!(problems[199].starts_with("k.yml: key-199:"), "{}", problems[199]);
}

#[test]
fn what_kes_starts_with_is_read_with_a_warning_at_most() {
    let vault = "vault: {endpoint: 'https://v', ";
    let identity = "6c7c845d739de0dbb5510d5ed635f9040fa6945c23111e6f5790c3db91604a63";
    let with = |store: String, rest: &str| {
        format!("admin: {{identity: disabled}}\ntls: {{key: k, cert: c}}\nkeystore:\n  {store}\n{rest}\n")
    };
    let fs = || "fs: {path: keys}".to_owned();
    let rule = |list: &str, rule: &str| with(fs(), &format!("policy: {{p: {{{list}: ['{rule}'], identities: }}}}"));
    let mut cases = vec![
        (with(format!("{vault}approle: {{id: a, secret: b, retry: 15s}}}}"), ""), 1),
        (with(format!("{vault}kubernetes: {{role: kes, jwt: eyJ.e30.x, retry: 15s}}}}"), ""), 1),
        (with(fs(), "log: {error: 4}"), 0),
        (with(fs(), "log: {error: true, audit: false}"), 0),
        (with(fs(), "api: {/version: {skip_auth: true}}"), 1),
        (with(fs(), "api: {/ready: {timeout: 5s}}"), 1),
        (with("fs: {path: keys}\n  azure: {}\n  gcp:".to_owned(), ""), 2),
        (with(fs(), &format!("policy: {{p: {{allow: [/v1/status], identities: [{identity}, _]}}}}")), 1),
        (with(fs(), &format!("policy: {{p: {{identities: [{}]}}}}", identity.to_uppercase())), 1),
    ];
    for path in ["bulk/decrypt", "list", "creat"].map(|api| format!("/v1/key/{api}")).into_iter().chain(
        [
            "/v1/policy/list",
            "/v1/policy/show",
            "/v1/policy/write",
            "/v1/identity/list",
            "/v1/log/errot",
            "/v1/secret/read",
        ]
        .map(str::to_owned),
    ) {
        let works = |path: &str| {
            let list = path.contains("list");
            usize::from(!(list && path.rsplit_once("/list").is_some_and(|(_, rest)| rest.starts_with('/'))))
        };
        for rest in ["", "/", "/*", "/my-key"] {
            cases.push((rule("allow", &format!("{path}{rest}")), works(&format!("{path}{rest}"))));
            cases.push((rule("deny", &format!("{path}{rest}")), works(&format!("{path}{rest}"))));
        }
    }
    cases.push((rule("deny", "/v1/key/*/my-key-internal"), 1));
    for (text, warnings) in cases {
        let config = parsed(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert_eq!(config.warnings.len(), warnings, "{text}\n{:#?}", lines(&config.warnings));
        for warning in lines(&config.warnings) {
            assert!(warning.contains("k.yml:") && warning.contains(": "), "{warning}");
        }
    }
}

#[test]
fn probable_mistakes_are_warnings() {
    let capitals = A.to_uppercase();
    let both = format!(
        "admin: {{identity: {A}}}\ntls: {{key: k, cert: c}}\nkeystore:\n  memory:\npolicy: {{p: {{identities: [{A}]}}}}"
    );
    let nobody = "admin: {identity: root}\ntls: {key: k, cert: c}\nkeystore: {memory: }".to_owned();
    let head = |text: &str| format!("{HEAD}{text}");
    for (text, begins, contains) in [
        (both, "k.yml:5:27: policy.p.identities[0]:", "is the admin identity"),
        (nobody, "k.yml:1:19: admin.identity:", "matches no client; use 64 hex digits"),
        (head("policy: {p: {identities: [x]}}"), "k.yml:5:27: policy.p.identities[0]:", "matches no client"),
        (
            head(&format!("policy: {{p: {{identities: [{capitals}]}}}}")),
            "k.yml:5:27: policy.p.identities[0]:",
            "write it in lower case",
        ),
        (
            head("policy: {p: {allow: [/v1/policy/write/x]}}"),
            "k.yml:5:22: policy.p.allow[0]:",
            "'/v1/policy/write/x' allows nothing: KES has removed this API; policies and identities are changed in the config",
        ),
        (head("policy: {p.q: }"), "k.yml:5:10: policy.p.q:", "is not a valid policy name in the API"),
        (
            head("policy: {p: {allow: ['${SECRET}']}}\n"),
            "k.yml:5:22: policy.p.allow[0]:",
            "the value of ${SECRET} allows nothing: it matches no API path; use a path such as",
        ),
        (head("api: {/v1/redy: }\n"), "k.yml:5:7: api./v1/redy:", "has no effect; did you mean '/v1/ready'?"),
        (head("api: {/ready: }\n"), "k.yml:5:7: api./ready:", "is an alias of /v1/ready; use /v1/ready instead"),
        (
            head("api: {/version: {skip_auth: on}}\n"),
            "k.yml:5:29: api./version.skip_auth:",
            "is open to everyone; remove",
        ),
        (
            head("policy: {p: {deny: [/v1/key/creat/x*]}}\n"),
            "k.yml:5:21: policy.p.deny[0]:",
            "denies nothing: it matches no API path; did you mean '/v1/key/create/x*'?",
        ),
        (
            head("policy: {p: {allow: ['/v1/*/create/x']}}\n"),
            "k.yml:5:22: policy.p.allow[0]:",
            "a wildcard only at the end of a rule",
        ),
        (head("policy: {p: {paths: [/v1/status]}}"), "k.yml:5:14: policy.p.paths:", "was renamed to allow"),
        (head("root: x"), "k.yml:5:1: root:", "was renamed to admin.identity"),
        (head("cache: {expiry: {all: 5m}}"), "k.yml:5:18: cache.expiry.all:", "was renamed to any"),
    ] {
        let warnings = lines(&parsed(&text).unwrap().warnings);
        assert_eq!(warnings.len(), 1, "{text}\n{warnings:#?}");
        assert!(warnings[0].starts_with(begins) && warnings[0].contains(contains), "{text}\n{}", warnings[0]);
    }
}

#[test]
fn no_error_contains_a_possible_secret() {
    let tls = "admin: {identity: _}\nkeystore: {memory: }\n";
    for text in [
        format!("{tls}tls:\n  password: [hunter2]\n"),
        format!("{tls}tls:\n  password: {{x: hunter2}}\n"),
        format!("{tls}tls:\n  password: !x hunter2\n"),
        format!("{tls}tls:\n  password: !!int hunter2\n"),
        format!("{tls}tls:\n  password: hunter2: x\n"),
        format!("{tls}tls:\n  password: \"hunter2\n"),
        format!("{tls}tls:\n  password: @hunter2\n"),
        format!("{tls}tls:\n  password: *hunter2\n"),
        format!("{tls}tls:\n  password: %hunter2\n"),
        format!("{tls}tls: password hunter2\n"),
        format!("{tls}tls:\n  passwort: hunter2\n"),
        format!("{tls}password: hunter2\n"),
        format!("{tls}tls: hunter2\n"),
        format!("{tls}tls: {{password: hunter2, password: hunter2}}\n"),
        "admin: {identity: 'kes:v1:hunter2'}\ntls: {key: k, cert: c}\nkeystore: {memory: }\n".to_owned(),
        "admin: hunter2\n".to_owned(),
        "keystore: hunter2\n".to_owned(),
        "keystore: {vault: {approle: {id: hunter2, secret: hunter2, secret: hunter2}}}\n".to_owned(),
        "keystore: {vault: hunter2}\n".to_owned(),
        "keystore: {fs: hunter2}\n".to_owned(),
        "keystore: {gcp: {secretmanager: {credentials: {private_key: hunter2}}}}\n".to_owned(),
        "keystore: {fs: {path: [hunter2]}}\n".to_owned(),
        "keystore: {fs: {path: x, token: hunter2}}\n".to_owned(),
        "keys: [hunter2]\n".to_owned(),
        "policy: {p: {allow: ['kes:v1:hunter2'], identities: ['kes:v1:hunter2']}}\n".to_owned(),
        "address: ${SECRET}\ncache: {expiry: {any: '${SECRET}'}}\nversion: ${SECRET}\n".to_owned(),
        "log: {error: '${SECRET}', format: '${SECRET}'}\nkeys: [{name: '${SECRET} '}]\n".to_owned(),
        "api: {/v1/ready: {skip_auth: '${SECRET}', timeout: '${SECRET}'}}\n".to_owned(),
    ] {
        let error = parsed(&text).expect_err(&text);
        assert!(!error.to_string().contains("hunter2"), "{text}\n{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{text}\n{error:?}");
    }
}

#[test]
fn an_api_key_instead_of_an_identity_is_rejected() {
    rejected(
        &format!("{HEAD}policy: {{p: {{identities: ['kes:v1:AAAA']}}}}\n"),
        "k.yml:5:27: policy.p.identities[0]:",
        "is an API key",
    );
}

#[test]
fn the_error_for_an_unreadable_file_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keyway.yml");
    let error = read(&file).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot read the file: ", file.display())), "{error}");
    fs::write(&file, b"address: :1\nlog: \xff\n").unwrap();
    let error = read(&file).unwrap_err().to_string();
    assert_eq!(error, format!("{}:2:6: not valid UTF-8; save the file as UTF-8", file.display()));
    fs::write(&file, HEAD).unwrap();
    assert_eq!(read(&file).unwrap().keystore, BackendConfig::Memory);
}

#[test]
fn the_example_configs_are_valid() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let env = |name: &str| (name.starts_with("KEYWAY_") || name.starts_with("AWS_")).then(|| A.to_owned());
        let config = parse_with(&file, &text, &Overrides::default(), &env).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.warnings, [], "{}", file.display());
        assert_eq!(config.admin, Identity::from_text(A));
        names.push(file.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["aws.yml", "fs.yml", "keyway.yml", "memory.yml", "postgres.yml", "sqlite.yml", "vault.yml"]);
}

#[test]
fn the_reference_config_shows_every_key_with_its_default() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/keyway.yml");
    let text = fs::read_to_string(&file).unwrap();
    for key in sections::keys_of_the_reference() {
        let shown = text.lines().any(|line| line.trim_start_matches([' ', '#', '-']).starts_with(&format!("{key}:")));
        assert!(shown, "config/keyway.yml does not show {key}");
    }
    let config = parse_with(&file, &text, &Overrides::default(), &|_| Some(A.to_owned())).unwrap();
    let default = with_head("").unwrap();
    assert_eq!((config.address, config.cache, config.log), (default.address, default.cache, default.log));
    assert_eq!((config.tls.auth, config.tls.ca, config.tls.proxy), (false, None, None));
    assert!(config.tls.password.is_none());
    assert!(config.api.values().all(|api| !api.skip_auth));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic_or_fail_without_a_message(text in r"([a-z]{1,8}|[ \n:\-{}\[\]&*!<'~,.]|: |\n  |- |admin|tls|policy|keys|keystore|\$\{SECRET\}){0,40}") {
        for config in [with_head(&text), parsed(&text)] {
            proptest::prop_assert!(config.err().is_none_or(|error| !error.to_string().is_empty()));
        }
    }
}
