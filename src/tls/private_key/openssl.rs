//! Runs the `openssl` program, which creates files for tests independently of our code.

use std::path::Path;
use std::process::Command;

/// Runs `openssl` in a directory, with arguments separated by single spaces. Returns its output.
pub(crate) fn openssl(directory: &Path, arguments: &str) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .expect("the tests need the openssl program: apt-get install openssl");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
