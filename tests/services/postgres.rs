//! A real PostgreSQL server, from the newest of `/usr/lib/postgresql/*/bin`.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::eventually::until_blocking;
use super::ports::four_free;

/// The administrator of every server here, and its password.
pub const ADMIN: &str = "postgres";
/// See [`ADMIN`].
pub const PASSWORD: &str = "correct-horse-battery";

/// A server with its data. It is stopped, and the data removed, when dropped.
#[derive(Debug)]
pub struct Postgres {
    directory: tempfile::TempDir,
    port: u16,
    account: Option<(u32, u32)>,
    child: Option<Child>,
    frozen: Vec<Pid>,
}

impl Postgres {
    /// A new server on a free loopback port, which answers. It asks everyone for a password (SCRAM).
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with settings of its own, such as `"wal_level=logical"`.
    pub fn start_with(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The server refuses to run as root, and its own account must get in.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let port = four_free();
        let account = geteuid().is_root().then(|| (id("-u"), id("-g")));
        let mut server = Self { directory, port, account, child: None, frozen: Vec::new() };
        let password = server.directory.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let initdb = server
            .command("initdb")
            .args(["--no-sync", "-A", "scram-sha-256", "-U", ADMIN, "-E", "UTF8", "--locale=C.UTF-8", "-D"])
            .arg(server.data())
            .arg("--pwfile")
            .arg(&password)
            .output()
            .unwrap();
        assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        let mut config = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nfsync = off\n\
             max_connections = 60\nshared_buffers = '16MB'\n",
            server.directory.path().display()
        );
        for setting in settings {
            config.push_str(setting);
            config.push('\n');
        }
        server.configure(&config);
        server.resume();
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A folder that the server can read, for certificates and the like; its data is in `data` below.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The user and group that its programs run as, where that is not our own.
    pub fn account(&self) -> Option<(u32, u32)> {
        self.account
    }

    /// Appends to its configuration, from the next start or [`Self::reload`] on.
    pub fn configure(&self, lines: &str) {
        let path = self.data().join("postgresql.auto.conf");
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, config + lines + "\n").unwrap();
    }

    /// Gives a file to the account that the server runs as, readable only by it.
    pub fn own(&self, path: &Path) {
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = self.account {
            std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// Makes it read its configuration again.
    pub fn reload(&self) {
        kill_process(self.pid().unwrap(), Signal::HUP).unwrap();
    }

    /// Stops it like an administrator who cannot wait: open connections are ended. The data stays.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Stops it like a power cut.
    pub fn crash(&mut self) {
        self.end(Signal::QUIT);
    }

    /// Starts it again on the same port and data, and waits until it answers.
    pub fn resume(&mut self) {
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        let child =
            self.command("postgres").arg("-D").arg(self.data()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        // Its first line is the server's process, its eighth says when it takes connections.
        let (file, pid) = (self.data().join("postmaster.pid"), self.child.as_ref().unwrap().id().to_string());
        until_blocking(
            Duration::from_secs(30),
            || format!("the server does not start: {}", log()),
            || {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                let mut lines = text.lines().map(str::trim);
                lines.next() == Some(&pid) && lines.nth(6) == Some("ready")
            },
        );
    }

    /// Stops all of its processes where they are: connections stay open, and nobody answers.
    pub fn freeze(&mut self) {
        let parent = self.pid().unwrap();
        kill_process(parent, Signal::STOP).unwrap();
        self.frozen = children(parent);
        self.frozen.push(parent);
        for pid in &self.frozen {
            let _ = kill_process(*pid, Signal::STOP);
        }
    }

    /// Lets them go on.
    pub fn thaw(&mut self) {
        for pid in self.frozen.drain(..) {
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    /// Runs SQL as the administrator; the answer is one line per row.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let (is_done, output) = self.try_sql(ADMIN, PASSWORD, database, sql);
        assert!(is_done, "{sql}: {output}");
        output
    }

    /// Runs SQL as anyone: whether it worked, and what came out.
    pub fn try_sql(&self, user: &str, password: &str, database: &str, sql: &str) -> (bool, String) {
        let output = self
            .command("psql")
            .env("PGPASSWORD", password)
            .env("PGCONNECT_TIMEOUT", "2")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h"])
            .arg(self.directory.path())
            .args(["-p", &self.port.to_string(), "-U", user, "-d", database, "-c", sql])
            .output()
            .unwrap();
        let text = if output.status.success() { &output.stdout } else { &output.stderr };
        (output.status.success(), String::from_utf8_lossy(text).trim().to_owned())
    }

    /// A server that follows this one as a hot standby: it can be read, and it lags.
    pub fn standby(&self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let port = four_free();
        let mut standby = Self { directory, port, account: self.account, child: None, frozen: Vec::new() };
        let copied = self
            .command("pg_basebackup")
            .env("PGPASSWORD", PASSWORD)
            .args(["--no-sync", "-R", "-c", "fast", "-h", "127.0.0.1", "-U", ADMIN, "-p"])
            .arg(self.port.to_string())
            .arg("-D")
            .arg(standby.data())
            .output()
            .unwrap();
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        standby.configure(&format!(
            "port = {port}\nunix_socket_directories = '{}'\nhot_standby = on",
            standby.directory.path().display()
        ));
        standby.resume();
        standby
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.as_ref()?.id().try_into().unwrap())
    }

    fn end(&mut self, signal: Signal) {
        self.thaw();
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// A program of PostgreSQL, run as an account that it accepts and without settings of ours.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir(self.directory.path());
        command.stdin(Stdio::null());
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end(Signal::QUIT);
    }
}

/// Where the server's programs are.
fn programs() -> PathBuf {
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|path| path.join("postgres").exists())
        .collect();
    versions.sort();
    versions.pop().expect("PostgreSQL is not installed; run ./setup --tests")
}

/// A number of the account that comes with the package.
fn id(kind: &str) -> u32 {
    let output = Command::new("id").args([kind, "postgres"]).output().unwrap();
    let number = String::from_utf8_lossy(&output.stdout).trim().parse();
    number.expect("there is no account 'postgres'; run ./setup --tests")
}

fn children(parent: Pid) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            // PID (NAME) STATE PARENT; the name may hold anything.
            let pid = stat.split(' ').next()?.parse().ok()?;
            let found: i32 = stat.rsplit_once(')')?.1.split(' ').nth(2)?.parse().ok()?;
            if found == parent.as_raw_nonzero().get() { Pid::from_raw(pid) } else { None }
        })
        .collect()
}
