//! Every flag and every variable that any KES release knew. The rows are in `tests/vectors`.

use std::collections::BTreeMap;

use keyway::identity::api_key::ApiKey;
use serde::Deserialize;

use super::{kes, server};
use crate::support::{Server, Shell};

#[derive(Deserialize)]
struct Flags {
    rows: Vec<Row>,
}

/// Flags in the forms that scripts use, and how these command lines end.
#[derive(Deserialize)]
struct Row {
    flags: Vec<String>,
    now: String,
    lines: Vec<String>,
    exit: i32,
    /// The beginning.
    #[serde(default)]
    stdout: String,
    /// A part.
    #[serde(default)]
    stderr: String,
}

#[test]
fn every_flag_of_every_release_does_what_its_row_says() {
    let Flags { rows } = serde_json::from_str(include_str!("../../vectors/kes-flags.json")).unwrap();
    let server = server();
    let shell = kes(&server);
    let keystore = |path: &str| format!("keystore:\n  fs:\n    path: {path}\n");
    shell.file("from.yml", keystore(&server.dir.path().join("keys").display().to_string()));
    shell.file("to.yml", keystore(&shell.path("copy").display().to_string()));
    let api_key = ApiKey::generate().unwrap();
    let address = server.address.to_string();
    let filled = |text: &str| {
        let text = text.replace("${api_key}", api_key.to_text().as_str()).replace("${address}", &address);
        text.replace("${version}", keyway::VERSION)
    };
    let mut failures = Vec::new();
    for row in &rows {
        for line in &row.lines {
            let line = filled(line);
            let ended = shell.run(&line.split(' ').skip(1).collect::<Vec<_>>());
            let is_right = ended.code == Some(row.exit)
                && ended.stdout.starts_with(&filled(&row.stdout))
                && ended.stderr.contains(&filled(&row.stderr))
                && (row.exit == 0 || (ended.stderr.starts_with("Error: ") && ended.stdout.is_empty()));
            if !is_right {
                failures.push(format!("{line} ({}: {}): {ended:?}", row.flags.join(", "), row.now));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[derive(Deserialize)]
struct Variables {
    variables: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    now: Meaning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Meaning {
    #[serde(rename = "server")]
    Server,
    #[serde(rename = "API key")]
    ApiKey,
    #[serde(rename = "API key file")]
    ApiKeyFile,
    #[serde(rename = "private key")]
    PrivateKey,
    #[serde(rename = "certificate")]
    Certificate,
    #[serde(rename = "without effect")]
    WithoutEffect,
}

/// What a client of a server is told by variables.
struct Values {
    url: String,
    /// Of a client without a policy.
    api_key: String,
    certificate: String,
    key: String,
}

impl Values {
    fn of(server: &Server) -> Self {
        let (certificate, key) = server.admin.pem();
        let api_key = ApiKey::generate().unwrap().to_text().to_string();
        Self { url: server.url(""), api_key, certificate, key }
    }

    /// The value of a variable with this meaning.
    fn of_meaning(&self, meaning: Meaning, shell: &Shell) -> String {
        match meaning {
            Meaning::Server => self.url.clone(),
            Meaning::ApiKey => self.api_key.clone(),
            Meaning::ApiKeyFile => shell.file("api.key", format!("{}\n", self.api_key)),
            Meaning::PrivateKey => shell.file("k", &self.key),
            Meaning::Certificate => shell.file("c", &self.certificate),
            Meaning::WithoutEffect => "x".to_owned(),
        }
    }

    /// A shell that lacks only a variable with this meaning.
    fn others(&self, meaning: Meaning, is_kes: bool) -> Shell {
        let mut shell = Shell::new();
        if is_kes {
            shell = shell.called("kes");
        }
        let needed: &[_] = match meaning {
            Meaning::ApiKey | Meaning::ApiKeyFile => &[("KES_SERVER", Meaning::Server)],
            _ => &[
                ("KES_SERVER", Meaning::Server),
                ("KES_CLIENT_KEY", Meaning::PrivateKey),
                ("KES_CLIENT_CERT", Meaning::Certificate),
            ],
        };
        for (name, other) in needed.iter().filter(|(_, other)| *other != meaning) {
            let value = self.of_meaning(*other, &shell);
            shell = shell.set(name, &value);
        }
        shell
    }
}

/// Asserts that the variable was read: the server knows the client by it.
fn assert_read(server: &Server, shell: &Shell, meaning: Meaning, what: &str) {
    if matches!(meaning, Meaning::ApiKey | Meaning::ApiKeyFile) {
        let refused = shell.run(&["key", "ls", "-k"]);
        assert!(refused.code != Some(0) && refused.stderr.contains("not authorized"), "{what}: {refused:?}");
    } else {
        let ended = shell.run(&["identity", "info", "-k"]);
        assert!(ended.stdout.contains(server.admin.identity().as_str()), "{what}: {ended:?}");
    }
}

#[test]
fn every_variable_of_kes_and_of_minio_is_read_under_both_names() {
    let Variables { variables } = serde_json::from_str(include_str!("../../vectors/kes-variables.json")).unwrap();
    let server = server();
    let values = Values::of(&server);
    let mut names: BTreeMap<Meaning, Vec<&str>> = BTreeMap::new();
    for Variable { name, now } in &variables {
        names.entry(*now).or_default().push(name);
        for is_kes in [true, false] {
            let shell = values.others(*now, is_kes);
            let value = values.of_meaning(*now, &shell);
            assert_read(&server, &shell.set(name, &value), *now, name);
        }
    }
    let bare = server.address.to_string();
    for value in [bare.clone(), format!("http://{bare}"), format!("https://{bare}/")] {
        let shell = values.others(Meaning::Server, true).set("KES_SERVER", &value);
        assert_read(&server, &shell, Meaning::Server, &value);
    }
    // An empty variable counts as not set; of several, the first one that is set counts.
    for (meaning, names) in names.iter().filter(|(_, names)| names.len() > 1) {
        if *meaning == Meaning::WithoutEffect {
            continue;
        }
        let mut shell = values.others(*meaning, true);
        let value = values.of_meaning(*meaning, &shell);
        for (number, name) in names.iter().enumerate() {
            shell = shell.set(name, ["", &value, "none"][number.min(2)]);
        }
        assert_read(&server, &shell, *meaning, &format!("{names:?}"));
    }
}

#[test]
fn an_api_key_on_the_command_line_wins_over_every_variable() {
    let server = server();
    let values = Values::of(&server);
    let shell = kes(&server);
    let file = shell.file("api.key", "nonsense");
    let shell = shell.set("KES_API_KEY", "nonsense").set("KES_API_KEY_FILE", &file);
    let said = shell.fails(1, &["status", "-k"]);
    assert!(said.starts_with("Error: both KES_API_KEY and KES_API_KEY_FILE are set"), "{said}");
    let said = shell.fails(1, &["status", "-k", "-a", &values.api_key]);
    assert!(said.contains("not authorized"), "{said}");
    let said = shell.fails(1, &["status", "-k", "-a", "nonsense"]);
    assert!(said.starts_with("Error: --api-key: ") && !said.contains("nonsense"), "{said}");
    // As with KES_API_KEY, a private key and a certificate do not count beside it.
    let file = shell.file("good.key", &values.api_key);
    let shell = shell.unset("KES_API_KEY").set("KES_API_KEY_FILE", &file);
    assert!(shell.fails(1, &["status", "-k"]).contains("not authorized"));
}
