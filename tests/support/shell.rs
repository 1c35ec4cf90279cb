//! The command line with the environment variables of a client, an input, and optionally a terminal.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::Client;
use super::program::{Ended, Program};
use super::server::{Server, assert_no_panic, program};

/// How long a command at a terminal may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A directory, and variables.
pub struct Shell {
    pub dir: TempDir,
    env: BTreeMap<String, String>,
    program: PathBuf,
}

impl Shell {
    /// Without any of Keyway's variables.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), env: BTreeMap::new(), program: program() }
    }

    /// With the variables of a client of this server.
    pub fn of(server: &Server, client: &Client) -> Self {
        let shell = Self::new();
        let (certificate, key) = client.pem();
        let (certificate, key) = (shell.file("client.cert", certificate), shell.file("client.key", key));
        shell
            .set("KES_SERVER", &server.url(""))
            .set("KES_CLIENT_KEY", &key)
            .set("KES_CLIENT_CERT", &certificate)
            .set("KEYWAY_CA", &server.dir.path().join("server.cert").display().to_string())
    }

    /// With a variable.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Without a variable.
    pub fn unset(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// Under another name.
    pub fn called(mut self, name: &str) -> Self {
        self.program = self.dir.path().join(name);
        std::os::unix::fs::symlink(program(), &self.program).unwrap();
        self
    }

    /// Writes a file in the directory and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let file = self.dir.path().join(name);
        std::fs::write(&file, content).unwrap();
        file.display().to_string()
    }

    /// The path of a file of the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the program to its end, without a terminal and without input.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, b"")
    }

    /// Runs the program on this input.
    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ended {
        // A session of its own has no terminal to prompt on, even if the tests have one.
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(&self.program).args(arguments);
        self.environment(&mut command);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("setsid");
        let _ = child.stdin.take().unwrap().write_all(input); // it may have ended without reading
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        let ended = Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        assert_no_panic(&ended.stderr);
        ended
    }

    /// The standard output of a command that succeeds, without its last line break.
    pub fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}: {ended:?}");
        ended.stdout.trim_end_matches('\n').to_owned()
    }

    /// The standard error of a command that ends with this code, and prints nothing.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{arguments:?}: {ended:?}");
        ended.stderr
    }

    /// Starts the program, and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Program {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        self.spawn(command)
    }

    /// Starts any command with these variables, and leaves it running.
    pub fn spawn(&self, mut command: Command) -> Program {
        self.environment(&mut command);
        Program::spawn(command)
    }

    /// Runs the program on a terminal of 200 columns. Types each answer when the screen shows its prompt, in order. The
    /// output is everything that the terminal received.
    pub fn terminal(&self, arguments: &[&str], dialog: &[(&str, &str)]) -> Ended {
        let line = format!("stty cols 200 -onlcr; exec '{}' '{}'", self.program.display(), arguments.join("' '"));
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]).process_group(0);
        self.environment(&mut command);
        command.env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script");
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, screen) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut chunk) {
                let _ = sender.send(chunk[..len].to_vec());
            }
        });
        let (start, mut shown, mut seen) = (Instant::now(), Vec::new(), 0);
        for (question, answer) in dialog {
            loop {
                let text = String::from_utf8_lossy(&shown).into_owned();
                if let Some(at) = text.get(seen..).and_then(|rest| rest.find(question)) {
                    seen += at + question.len();
                    input.write_all(answer.as_bytes()).unwrap();
                    break;
                }
                let left = TIMEOUT.saturating_sub(start.elapsed());
                let chunk = screen.recv_timeout(left);
                shown.extend(chunk.unwrap_or_else(|_| panic!("{question:?} is not on the screen:\n{text}")));
            }
        }
        shown.extend(screen.iter().flatten());
        let status = child.wait().unwrap();
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert_no_panic(&shown);
        Ended { code: status.code(), stdout: shown, stderr: String::new() }
    }

    /// The variables of this shell, without those of Keyway and MinIO in the environment of the tests.
    fn environment(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["KES_", "KEYWAY_", "MINIO_", "NO_COLOR", "CLICOLOR", "HTTPS_PROXY", "https_proxy"]
                .iter()
                .any(|ours| name.starts_with(ours))
            {
                command.env_remove(name);
            }
        }
        command.envs(&self.env).current_dir(self.dir.path());
    }
}

/// A file's permissions, as `ls` counts them.
pub fn mode(file: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}
