//! The README's section "Configure", and the guides of KES, followed step by step.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::services::ports::four_free;
use crate::support::Program;
use crate::support::server::program;

/// The code blocks of a section, with their language.
fn blocks(section: &str) -> Vec<(&str, &str)> {
    let text = include_str!("../README.md");
    let (_, text) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let blocks = text.split("\n```").skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').unwrap()).collect()
}

/// Runs lines of a shell, in which `keyway` is the program, and with `exports` before them; what it printed.
fn shell(directory: &Path, exports: &str, lines: &str) -> String {
    let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let script = format!("set -e\n{exports}\n{lines}\nexport -p");
    let output = Command::new("sh").args(["-c", &script]).current_dir(directory).env("PATH", path).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout.clone(), output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{lines}\n{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of `export -p` that set these variables.
fn only(exports: &str, names: &[&str]) -> String {
    let lines = exports.lines().filter(|line| names.iter().any(|name| line.contains(&format!(" {name}="))));
    lines.collect::<Vec<_>>().join("\n")
}

/// Starts a server by a line of a shell, and waits until it serves.
fn spawn(directory: &Path, script: &str) -> Program {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(directory);
    let mut server = Program::spawn(command);
    server.address();
    server
}

/// What its getting-started guide and that for MinIO have in common: files in the working directory, no admin.
const KES_CONFIG: &str = "address: 0.0.0.0:7373
admin:
  identity: disabled
tls:
  key: private.key
  cert: public.crt
policy:
  my-app:
    allow:
    - /v1/key/create/my-key*
    - /v1/key/generate/my-key*
    - /v1/key/decrypt/my-key*
    identities:
    - ${APP_IDENTITY}
keystore:
  fs:
    path: ./keys
";

#[test]
fn the_steps_of_the_guides_of_kes_lead_to_a_server_that_creates_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let port = four_free().to_string();
    let kes = directory.join("kes");
    std::os::unix::fs::symlink(program(), &kes).unwrap();
    let exports = shell(
        directory,
        "",
        "./kes identity new --key private.key --cert public.crt --ip \"127.0.0.1\" localhost
         ./kes identity new --key=client.key --cert=client.crt MyApp
         export APP_IDENTITY=$(./kes identity of client.crt)",
    );
    fs::write(directory.join("config.yml"), KES_CONFIG.replace("7373", &port)).unwrap();
    let exports = only(&exports, &["APP_IDENTITY"]);
    let checked = shell(directory, &exports, "keyway check config.yml 2>&1");
    assert!(checked.contains("config.yml: ok"), "{checked}");
    let mut server = spawn(directory, &format!("{exports}\nexec ./kes server --config config.yml --auth off"));
    let said = shell(
        directory,
        &format!("export KES_SERVER=https://127.0.0.1:{port} KES_CLIENT_CERT=client.crt KES_CLIENT_KEY=client.key"),
        "./kes key create -k my-key-1
         ./kes key dek -k my-key-1
         ./kes key decrypt -k my-key-1 $(./kes key dek -k my-key-1 | sed 's/.*\"ciphertext\":\"\\([^\"]*\\)\".*/\\1/')",
    );
    assert_eq!(said.matches("\"plaintext\"").count(), 2, "{said}");
    assert!(directory.join("keys/my-key-1").is_file());
    server.signal(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn the_section_configure_leads_to_a_server_that_creates_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let port = four_free().to_string();
    let blocks = blocks("Configure");
    let [("sh", create), ("yaml", config), ("sh", start), ("sh", connect)] = blocks.as_slice() else {
        panic!("{blocks:?}");
    };
    let exports = shell(directory, "", create);
    let exports = only(&exports, &["KEYWAY_ADMIN", "MINIO_IDENTITY"]);
    fs::write(directory.join("keyway.yml"), config.replace("7373", &port)).unwrap();

    let (check, start) = start.split_once(" && ").unwrap();
    let checked = shell(directory, &exports, check);
    assert!(checked.contains("keyway.yml: ok"), "{checked}");
    assert_eq!(start.trim(), "keyway server --config keyway.yml");
    let script = format!("{exports}\nexec {} server --config keyway.yml", program().display());
    let mut server = spawn(directory, &script);

    shell(directory, "", &connect.replace("7373", &port));
    assert!(directory.join("keys/minio-1").is_file());
    server.signal(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
}
