//! `keyway server --dev`: a server without a config, and the instructions that it prints.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::Program;

/// A development server, and its printed instructions.
struct Dev {
    program: Program,
    server: String,
    api_key: String,
    curl: String,
    directory: PathBuf,
}

impl Dev {
    fn start(data: Option<&Path>) -> Self {
        let mut arguments = vec!["server", "--dev", "--addr", "127.0.0.1:0"];
        arguments.extend(data.iter().flat_map(|data| ["--data", data.to_str().unwrap()]));
        Self::read(Program::start(arguments))
    }

    /// Reads the instructions that the program prints.
    fn read(mut program: Program) -> Self {
        let printed =
            program.wait_for(|program| program.stdout().contains("/v1/key/create/").then(|| program.stdout()));
        let line = |start: &str| {
            let found = printed.lines().map(str::trim).find(|line| line.starts_with(start));
            found.unwrap_or_else(|| panic!("no line {start:?} in {printed}")).to_owned()
        };
        let value = |start: &str| line(start)[start.len()..].to_owned();
        let keys = value("Keys: ");
        let directory = Path::new(keys.split(" (").next().unwrap()).parent().unwrap().to_owned();
        Self {
            server: value("export KES_SERVER="),
            api_key: value("export KES_API_KEY="),
            curl: line("curl "),
            directory,
            program,
        }
    }

    /// Runs a printed command line.
    fn shell(command: &str) -> (bool, String) {
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// The printed curl line with another method, path and body.
    fn call(&self, method: &str, path: &str, body: &str) -> Value {
        let (head, _) = self.curl.split_once(" -X ").unwrap();
        let (success, said) = Self::shell(&format!("{head} -sS -X {method} --data '{body}' {}{path}", self.server));
        assert!(success, "{said}; curl comes with ./setup --tests");
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{method} {path}: {said:?}"))
    }

    /// Stops the server and asserts that it succeeds.
    fn stop(mut self) {
        self.program.signal(Signal::TERM);
        let ended = self.program.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[test]
fn the_curl_line_that_it_prints_creates_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(Some(dir.path()));
    let (success, said) = Dev::shell(&format!("{} -sS -w '%{{http_code}}'", dev.curl));
    assert_eq!((success, said.as_str()), (true, "200"), "{}", dev.curl);
    assert_eq!(dev.call("GET", "/v1/key/describe/my-first-key", "")["name"], "my-first-key");
    let (_, said) = Dev::shell(&format!("{} -sS", dev.curl));
    assert!(said.contains("key already exists"), "{said}");
}

#[test]
fn it_prints_its_address_and_admin_identity() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(Some(dir.path()));
    let address: SocketAddr = dev.server.strip_prefix("https://").unwrap().parse().unwrap();
    assert!(address.port() != 0 && address.ip().is_loopback(), "{address}");
    assert!(dev.curl.contains(&dev.server), "{}", dev.curl);
    let key = keyway::identity::api_key::ApiKey::parse(&dev.api_key).unwrap();
    assert!(dev.program.stdout().contains(key.identity().as_str()), "{}", dev.program.stdout());
    assert_eq!(dev.call("GET", "/v1/identity/self/describe", "")["identity"], key.identity().as_str());
}

#[test]
fn a_new_development_server_starts_without_a_warning_and_one_that_lost_its_keys_with_one() {
    let dir = tempfile::tempdir().unwrap();
    for data in [None, Some(dir.path())] {
        let dev = Dev::start(data);
        assert!(!dev.program.stderr().contains("WARN"), "{}", dev.program.stderr());
        dev.stop();
    }
    std::fs::remove_file(dir.path().join("keys.db")).unwrap();
    let dev = Dev::start(Some(dir.path()));
    assert!(dev.program.stderr().contains("WARN created a new, empty key database"), "{}", dev.program.stderr());
}

#[test]
fn the_same_directory_keeps_api_key_certificate_and_keys() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a").join("data");
    let first = Dev::start(Some(&data));
    first.call("GET", "/v1/status", "");
    assert!(Dev::shell(&first.curl).0);
    let data_key = first.call("PUT", "/v1/key/generate/my-first-key", "");
    let files = ["server.cert", "server.key", "admin.cert", "admin.key"].map(|name| data.join(name));
    let before = files.each_ref().map(|file| std::fs::read(file).unwrap());
    let api_key = first.api_key.clone();
    first.stop();

    let second = Dev::start(Some(&data));
    assert_eq!(second.api_key, api_key);
    assert_eq!(files.each_ref().map(|file| std::fs::read(file).unwrap()), before);
    let body = serde_json::json!({ "ciphertext": data_key["ciphertext"] }).to_string();
    assert_eq!(second.call("PUT", "/v1/key/decrypt/my-first-key", &body)["plaintext"], data_key["plaintext"]);
    second.stop();
}

#[test]
fn its_files_are_readable_only_by_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let dev = Dev::start(Some(&data));
    assert!(Dev::shell(&dev.curl).0);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&data), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&data).unwrap() {
        let file = entry.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        names.push(file.file_name().unwrap().to_str().unwrap().to_owned());
    }
    assert!(names.iter().any(|name| name == "keys.db") && names.len() >= 5, "{names:?}");
}

#[test]
fn without_a_directory_it_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let program = Program::start_with(["server", "--dev", "--addr", "127.0.0.1:0"], |command| {
        command.env("TMPDIR", temporary.path());
    });
    let dev = Dev::read(program);
    assert!(dev.directory.starts_with(temporary.path().canonicalize().unwrap()), "{}", dev.directory.display());
    assert!(dev.directory.join("keys.db").exists());
    let mode = std::fs::metadata(&dev.directory).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o700);
    assert!(Dev::shell(&dev.curl).0);
    dev.stop();
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "the temporary directory is left behind");
}

#[test]
fn without_a_directory_it_leaves_nothing_behind_even_when_it_is_stopped_at_once() {
    let temporary = tempfile::tempdir().unwrap();
    let program = Program::start_with(["server", "--dev", "--addr", "127.0.0.1:0"], |command| {
        command.env("TMPDIR", temporary.path());
    });
    let mut dev = Dev::read(program);
    let (head, _) = dev.curl.split_once(" -X ").unwrap();
    // A request whose body does not end.
    let mut endless = Command::new("sh");
    endless.args(["-c", &format!("sleep 15 | {head} -sS -T - {}/v1/key/encrypt/my-first-key", dev.server)]);
    let endless = Program::spawn(endless);
    let start = Instant::now();
    while !Dev::shell(&format!("{head} -sS {}/v1/metrics", dev.server)).1.contains("kes_http_request_active 2") {
        assert!(start.elapsed().as_secs() < 10, "the request does not arrive: {}", endless.stderr());
    }
    dev.program.signal(Signal::TERM);
    dev.program.wait_for(|program| program.stderr().contains("stopping").then_some(()));
    dev.program.signal(Signal::TERM);
    assert_ne!(dev.program.end().code, Some(0));
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "keys and the API key are left behind in {left:?}");
}

#[test]
fn the_api_key_is_the_only_secret_that_it_prints() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(Some(dir.path()));
    assert!(Dev::shell(&dev.curl).0);
    let data_key = dev.call("PUT", "/v1/key/generate/my-first-key", "");
    let (stdout, stderr) = (dev.program.stdout(), dev.program.stderr());
    assert_eq!(stdout.matches(&dev.api_key).count(), 1, "{stdout}");
    let secret = dev.api_key.strip_prefix("kes:v1:").unwrap();
    assert!(!stderr.contains(secret), "{stderr}");
    let mut secrets = vec![data_key["plaintext"].as_str().unwrap().to_owned()];
    for name in ["admin.key", "server.key"] {
        let pem = std::fs::read_to_string(dir.path().join(name)).unwrap();
        secrets.extend(pem.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned));
    }
    for secret in secrets {
        assert!(!stdout.contains(&secret) && !stderr.contains(&secret), "{secret}");
    }
}

#[test]
fn a_data_directory_that_is_damaged_or_impossible_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    Dev::start(Some(&data)).stop();
    let api_key = std::fs::read_to_string(data.join("admin.api-key")).unwrap();
    std::fs::write(data.join("admin.api-key"), format!("kes:v1:{}", &api_key.trim()[9..40])).unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    for (data, named) in [
        (data.clone(), "admin.api-key"),
        (dir.path().join("file"), "/file"),
        (dir.path().join("file/data"), "/file/data"),
    ] {
        let arguments = ["server", "--dev", "--addr", "127.0.0.1:0", "--data", data.to_str().unwrap()];
        let ended = Program::start(arguments).end();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.contains(named), "{named}: {}", ended.stderr);
        assert!(!ended.stderr.contains(&api_key.trim()[9..40]), "{}", ended.stderr);
    }
}

#[test]
fn a_port_in_use_leaves_nothing_behind() {
    let (temporary, taken) = (tempfile::tempdir().unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let address = taken.local_addr().unwrap().to_string();
    let mut program = Program::start_with(["server", "--dev", "--addr", &address], |command| {
        command.env("TMPDIR", temporary.path());
    });
    let ended = program.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

/// What it says when it refuses a directory.
fn refused(data: &Path) -> String {
    let arguments = ["server", "--dev", "--addr", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let ended = crate::support::program::run(arguments);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.stderr
}

#[test]
fn it_writes_no_key_through_a_link_and_reads_none_either() {
    for name in ["admin.api-key", "admin.key", "admin.cert", "server.key", "server.cert", "keys.db", "keys.db-wal"] {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = elsewhere.path().join("victim");
        for exists in [false, true] {
            if exists {
                std::fs::write(&victim, "mine").unwrap();
            }
            let link = dir.path().join(name);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(&victim, &link).unwrap();
            let said = refused(dir.path());
            assert!(said.contains(name) && said.contains("a link"), "{name}: {said}");
            let content = std::fs::read_to_string(&victim).ok();
            assert_eq!(content.as_deref(), exists.then_some("mine"), "{name}");
        }
    }
}

#[test]
fn it_uses_no_directory_of_another_user_and_none_that_everyone_may_write_to() {
    let dir = tempfile::tempdir().unwrap();
    let everyone = dir.path().join("everyone");
    std::fs::create_dir(&everyone).unwrap();
    std::fs::set_permissions(&everyone, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused(&everyone).contains("writable by everyone"));
    assert_eq!(std::fs::read_dir(&everyone).unwrap().count(), 0);
    let of_another = dir.path().join("of-another");
    std::fs::create_dir(&of_another).unwrap();
    // Only root can give a directory away; for others, one of root will do.
    let given = std::os::unix::fs::chown(&of_another, Some(12_345), None).is_ok();
    let said = refused(if given { &of_another } else { Path::new("/usr") });
    assert!(said.contains("belongs to another user"), "{said}");
    assert_eq!(std::fs::read_dir(&of_another).unwrap().count(), 0);
}

/// Kills a process that a test has not started itself, if it still runs.
struct End(String);

impl Drop for End {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0]).stderr(std::process::Stdio::null()).status();
    }
}

#[test]
fn on_a_terminal_it_ends_with_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!(
        "echo $$ > {dir}/pid; exec '{program}' server --dev --addr 127.0.0.1:0 --data {dir}/data 2> {dir}/log",
        dir = dir.path().display(),
        program = crate::support::server::program().display(),
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--command", &line, "/dev/null"]).env("SHELL", "/bin/sh");
    let mut terminal = Program::spawn(command);
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    terminal.wait_for(|_| log().contains("serving").then_some(()));
    let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap().trim().to_owned();
    let _end = End(pid.clone());
    terminal.signal(Signal::KILL); // closes the terminal
    let is_gone = || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    };
    crate::support::eventually_blocking(std::time::Duration::from_secs(15), log, is_gone);
    assert!(log().trim_end().ends_with("stopped"), "{}", log());
}
