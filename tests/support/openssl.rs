//! The openssl program: it creates what operators have, and speaks what rustls refuses to.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Without the sections that openssl.cnf has: certificates get only the extensions that the command line names.
const CONFIG: &str = "[req]\ndistinguished_name = dn\n[dn]\n";

/// Runs openssl in a directory with arguments that are separated by spaces, to success; answers with its output.
pub fn openssl(dir: &Path, arguments: &str) -> String {
    let output = run(dir, arguments, b"");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs openssl with this input, however it ends; answers with all that it says.
pub fn talk(dir: &Path, arguments: &str, input: &[u8]) -> String {
    let output = run(dir, arguments, input);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn run(dir: &Path, arguments: &str, input: &[u8]) -> Output {
    std::fs::write(dir.join("openssl.cnf"), CONFIG).unwrap();
    let mut child = Command::new("openssl")
        .args(arguments.split(' '))
        .env("OPENSSL_CONF", dir.join("openssl.cnf"))
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program openssl; install it with ./setup --tests");
    let _ = child.stdin.take().unwrap().write_all(input); // it may have ended without reading
    child.wait_with_output().unwrap()
}
