//! What may not be in the dependency tree: a second TLS stack, a second provider, abandoned and unsound crates.

use std::collections::BTreeSet;
use std::process::Command;

/// Every crate that is built for any of our packages on any system, tests and build scripts included: `name vX.Y.Z`.
fn tree() -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["tree", "--workspace", "--locked", "--offline", "--edges", "all", "--prefix", "none"];
    let output = Command::new(cargo).args(arguments).args(["--format", "{p}"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// The versions of a crate in the tree.
fn versions<'a>(tree: &'a BTreeSet<String>, name: &str) -> Vec<&'a str> {
    tree.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(" v")).collect()
}

#[test]
fn no_refused_crate_is_in_the_tree() {
    let tree = tree();
    let refused = ["ring", "openssl", "openssl-sys", "native-tls", "schannel", "boring", "rustls-pemfile", "serde_yml"];
    for name in refused {
        assert!(versions(&tree, name).is_empty(), "{name} is in the tree; `cargo tree -i {name}` says why");
    }
}

#[test]
fn there_is_one_tls_stack_and_one_http_stack() {
    let tree = tree();
    for name in ["rustls", "aws-lc-rs", "hyper", "h2", "axum", "tokio"] {
        let versions = versions(&tree, name);
        assert_eq!(versions.len(), 1, "{name}: {versions:?}; `cargo tree -d` says why");
    }
}
