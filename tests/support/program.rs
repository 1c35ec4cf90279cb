//! The program as people type it: run to its end, or left running.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::eventually_blocking;
use super::server::{assert_no_panic, program};

/// When a command counts as hanging: some write thousands of durable keys, on a disk that other tests use too.
const PATIENCE: Duration = Duration::from_mins(1);

/// A child process. Dropping it kills it, and fails the test if it panicked.
pub struct Program {
    child: Child,
    files: TempDir,
}

/// What a command left behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    /// Starts `keyway` with these arguments.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::start_with(arguments, |_| {})
    }

    /// Starts `keyway` with these arguments in an environment to taste.
    pub fn start_with<S: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = S>,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(program());
        command.args(arguments);
        change(&mut command);
        Self::spawn(command)
    }

    /// Starts any command, with its output where it can be read.
    pub fn spawn(mut command: Command) -> Self {
        let files = tempfile::tempdir().unwrap();
        let output = |name: &str| File::create(files.path().join(name)).unwrap();
        command.stdin(Stdio::null()).stdout(output("stdout")).stderr(output("stderr"));
        Self { child: command.spawn().unwrap(), files }
    }

    /// The address of a server that writes its log as text, once it serves.
    pub fn address(&mut self) -> SocketAddr {
        self.wait_for(|program| {
            let log = program.stderr();
            let (_, rest) = log.split_once("serving address=")?;
            rest.split_once(' ')?.0.parse().ok()
        })
    }

    /// What it wrote to standard output.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.files.path().join("stdout")).unwrap()
    }

    /// What it wrote to standard error.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.files.path().join("stderr")).unwrap()
    }

    /// Waits until `found` finds something, and answers with it.
    pub fn wait_for<T>(&mut self, found: impl Fn(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended with {ended:?}:\n{}\n{}", self.stdout(), self.stderr());
            assert!(start.elapsed() < PATIENCE, "it did not come:\n{}\n{}", self.stdout(), self.stderr());
            // No longer: tests kill it in the middle of what they wait for.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(&mut self) -> Ended {
        let (child, files) = (&mut self.child, self.files.path());
        let read = |name: &str| fs::read_to_string(files.join(name)).unwrap();
        let missing = || format!("it does not end:\n{}\n{}", read("stdout"), read("stderr"));
        let status = eventually_blocking(PATIENCE, missing, || child.try_wait().unwrap());
        Ended { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            assert_no_panic(&self.stderr());
        }
    }
}

/// Runs `keyway` with these arguments to its end.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    Program::start(arguments).end()
}

/// Asserts that `keyway check` and `keyway server` refuse a config in the same words and with exit code 1, before
/// anything is bound or created; answers with the words. `@dir@` is `dir`; `@address@` an address that is taken, so that
/// a server which binds too early complains about that.
pub fn refusal(dir: &Path, config: &str) -> String {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = dir.join("config.yml");
    fs::write(&file, config.replace("@dir@", &dir.display().to_string()).replace("@address@", &address)).unwrap();
    let before = names(dir);
    let check = run(["check".as_ref(), file.as_os_str()]);
    let server = run(["server".as_ref(), "--config".as_ref(), file.as_os_str()]);
    for (command, ended) in [("check", &check), ("server", &server)] {
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "keyway {command} on\n{config}\n{ended:?}");
    }
    let words = |ended: &Ended| {
        let start = ended.stderr.find("error: ").unwrap_or_else(|| panic!("no error: {:?}", ended.stderr));
        ended.stderr[start..].to_owned()
    };
    assert_eq!(words(&check), words(&server), "check and server say the same of\n{config}");
    assert_eq!(names(dir), before, "nothing is created by a config that is refused");
    words(&check)
}

/// What is in a directory.
fn names(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}
