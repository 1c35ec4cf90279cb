//! Calls only go downward: which room of `src/` may use which, and no circle between files.
//!
//! A new arrow between rooms is a line in [`ROOMS`], for a reviewer to see. A room may only use rooms that stand below
//! it in this list, so that there is no circle between rooms either.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms from top to bottom, each with those that it uses.
#[rustfmt::skip]
const ROOMS: &[(&str, &[&str])] = &[
    ("cli", &["api", "client", "config", "crypto", "glob", "identity", "policy", "process", "routes", "server", "state", "telemetry", "tls", "transfer", "wire"]),
    ("server", &["api", "config", "identity", "keys", "policy", "process", "routes", "state", "telemetry", "tls"]),
    ("api", &["crypto", "glob", "identity", "keys", "policy", "process", "routes", "state", "telemetry", "tls", "wire"]),
    ("state", &["config", "identity", "keys", "policy", "telemetry"]),
    ("keys", &["crypto", "telemetry"]),
    ("telemetry", &["config", "process", "wire"]),
    ("client", &["identity", "policy", "tls", "wire"]),
    ("tls", &["config", "identity"]),
    ("config", &["glob", "identity", "policy", "routes"]),
    ("policy", &["identity"]),
    ("identity", &["crypto", "wire"]),
    ("transfer", &["crypto", "glob", "wire"]),
    ("wire", &["crypto"]),
    ("crypto", &[]),
    ("glob", &[]),
    ("routes", &[]),
    ("process", &[]),
];

/// A file by its module path, as `server::router`; `lib` is the root.
type Module = String;

/// The modules that each module uses, tests left out. `use` and full paths count, `mod` lines do not.
fn arrows() -> BTreeMap<Module, BTreeSet<Module>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    read(&root, "", &mut files);
    files.remove("main");
    let modules: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    let uses = |module: &String, text: &str| {
        paths(text)
            .into_iter()
            .filter_map(|path| owner(&absolute(module, &path), &modules))
            .filter(|used| used != module)
            .collect()
    };
    files.iter().map(|(module, text)| (module.clone(), uses(module, text))).collect()
}

/// Reads the files of a directory, without their tests and comments.
fn read(directory: &Path, prefix: &str, files: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let module = format!("{prefix}{}", path.file_stem().unwrap().to_str().unwrap());
        if module.ends_with("tests") || module.ends_with("vectors") {
            continue;
        }
        if path.is_dir() {
            read(&path, &format!("{module}::"), files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            files.insert(module, code);
        }
    }
}

/// All paths that begin with `crate`, `self` or `super`, the groups of `use` taken apart.
fn paths(text: &str) -> Vec<String> {
    let start = regex::Regex::new(r"\b(?:crate|super|self)::").unwrap();
    let mut paths = Vec::new();
    for found in start.find_iter(text) {
        let rest = &text[found.start()..];
        let simple =
            rest.find(|char: char| !(char.is_alphanumeric() || char == '_' || char == ':')).unwrap_or(rest.len());
        let path = rest[..simple].trim_end_matches(':');
        if rest[simple..].starts_with('{') {
            expand(path, &rest[simple + 1..], &mut paths);
        } else {
            paths.push(path.to_owned());
        }
    }
    paths
}

/// The members of a group that begins here, each after `prefix`.
fn expand(prefix: &str, group: &str, paths: &mut Vec<String>) {
    let (mut depth, mut start) = (0, 0);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let member = group[start..at].trim();
                match member.split_once("::{") {
                    Some((head, inner)) => expand(&format!("{prefix}::{head}"), inner, paths),
                    None if !member.is_empty() => {
                        paths.push(format!("{prefix}::{}", member.trim_end_matches("::self")));
                    }
                    None => {}
                }
                start = at + 1;
                if char == '}' {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// A path as seen from the root of the crate.
fn absolute(module: &str, path: &str) -> Vec<String> {
    let mut at: Vec<&str> = module.split("::").collect();
    for part in path.split("::") {
        match part {
            "crate" => at.clear(),
            "super" => {
                at.pop();
            }
            "self" | "" => {}
            part => at.push(part),
        }
    }
    at.into_iter().map(str::to_owned).collect()
}

/// The module in whose file a path ends.
fn owner(path: &[String], modules: &BTreeSet<&str>) -> Option<Module> {
    (1..=path.len()).rev().map(|length| path[..length].join("::")).find(|module| modules.contains(module.as_str()))
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

#[test]
fn rooms_use_only_the_rooms_below_them_that_the_list_names() {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let arrows = arrows();
    for (module, used) in &arrows {
        let used = used.iter().map(|used| room(used)).filter(|used| *used != room(module) && *used != "lib");
        found.entry(room(module)).or_default().extend(used);
    }
    found.remove("lib");
    let listed: BTreeMap<&str, BTreeSet<&str>> =
        ROOMS.iter().map(|(room, uses)| (*room, uses.iter().copied().collect())).collect();
    let line = |(room, uses): (&&str, &BTreeSet<&str>)| format!("    ({room:?}, &{uses:?}),\n");
    let as_list = |rooms: &BTreeMap<&str, BTreeSet<&str>>| rooms.iter().map(line).collect::<String>();
    assert_eq!(as_list(&found), as_list(&listed), "the arrows in src/ (left) are not those of ROOMS (right)");
    for (place, (room, uses)) in ROOMS.iter().enumerate() {
        for used in *uses {
            let below = ROOMS.iter().position(|(room, _)| room == used).unwrap();
            assert!(below > place, "{room} uses {used}, which stands above it");
        }
    }
}

#[test]
fn no_circle_leads_through_several_files() {
    // A module and the modules declared in it may name each other: the parent re-exports, the children share its types.
    let arrows = arrows();
    let below = |module: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![module.to_owned()]);
        while let Some(module) = next.pop() {
            for used in &arrows[&module] {
                if seen.insert(used.clone()) {
                    next.push(used.clone());
                }
            }
        }
        seen
    };
    let circles: Vec<_> = arrows.keys().filter(|module| below(module).contains(*module)).collect();
    assert!(circles.is_empty(), "these files use themselves by way of others: {circles:?}");
}
