//! The compared programs: building, configuring and starting them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::certificates::Certificates;
use crate::cores::Cores;
use crate::load::{Http1, connect};
use crate::request::Request;

/// Time limit for the first response of a server.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// The interval between requests to a server that is starting.
const POLL: Duration = Duration::from_micros(250);

/// A kind of program that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// This repository's server.
    Keyway,
    /// Another build of it.
    Before,
    /// Only TLS and HTTP.
    Floor,
    /// The server that Keyway replaces.
    Kes,
}

/// A program on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Which one.
    pub(crate) kind: Kind,
    path: PathBuf,
}

/// The configuration of a server. The floor uses only the threads.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The YAML under `keystore:`; `@dir@` stands for the directory of the server.
    pub(crate) keystore: String,
    /// The YAML of the policies.
    pub(crate) policies: String,
    /// The number of threads and of cores.
    pub(crate) threads: usize,
}

/// A running server, which is killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// The program.
    pub(crate) kind: Kind,
    /// Its address.
    pub(crate) address: SocketAddr,
    /// The time from its start to its first response.
    pub(crate) started_in: Duration,
    /// Its number of threads.
    pub(crate) threads: usize,
    child: Child,
}

impl Kind {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keyway => "keyway",
            Self::Before => "before",
            Self::Floor => "floor",
            Self::Kes => "kes",
        }
    }

    /// The kind with this name. Tables show programs in the order of this type.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Self::Keyway, Self::Before, Self::Floor, Self::Kes].into_iter().find(|kind| kind.name() == name)
    }
}

impl Setup {
    /// With this keystore, one thread and no policies.
    pub(crate) fn on(keystore: &str) -> Self {
        Self { keystore: keystore.to_owned(), policies: String::new(), threads: 1 }
    }

    /// Keys in files, which KES supports too.
    pub(crate) fn fs() -> Self {
        Self::on("fs:\n    path: '@dir@/keys'")
    }

    /// Keys in an embedded database.
    pub(crate) fn sqlite() -> Self {
        Self::on("sqlite:\n    path: '@dir@/keys.sqlite'")
    }

    /// Keys in memory.
    pub(crate) fn memory() -> Self {
        Self::on("memory: {}")
    }

    fn yaml(&self, kind: Kind, directory: &Path, certificates: &Certificates) -> String {
        let (cert, key, admin) = (&certificates.cert, &certificates.key, &certificates.admin.identity);
        let mut yaml = format!(
            "version: v1\nadmin:\n  identity: {admin}\ntls:\n  key: '{}'\n  cert: '{}'\n",
            key.display(),
            cert.display()
        );
        // Nothing expires during a measurement; loads from the store have their own section.
        yaml.push_str("cache:\n  expiry:\n    any: 1h\n    unused: 1h\n");
        if kind != Kind::Kes {
            yaml.push_str("  max_entries: 2000000\nlimits:\n  connections: 20000\n  requests: 20000\n");
        }
        let keystore = self.keystore.replace("@dir@", &directory.display().to_string());
        let _ = write!(yaml, "log:\n  error: on\n  audit: off\n{}keystore:\n  {keystore}\n", self.policies);
        yaml
    }
}

impl Program {
    /// Builds the programs of this repository, without output.
    pub(crate) fn build() -> anyhow::Result<Vec<Self>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate has no parent directory")?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.current_dir(root).args(["build", "--release", "--quiet", "-p", "keyway", "-p", "bench", "--bins"]);
        if !build.status().context("cannot run cargo")?.success() {
            bail!("cargo build --release failed");
        }
        let own = std::env::current_exe()?;
        let target = own.ancestors().nth(2).context("this program is not in a target directory")?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| target.to_owned(), |set| root.join(set));
        [(Kind::Keyway, "keyway"), (Kind::Floor, "floor")]
            .into_iter()
            .map(|(kind, name)| Self::at(kind, target.join("release").join(name)))
            .collect()
    }

    /// An existing program.
    pub(crate) fn at(kind: Kind, path: PathBuf) -> anyhow::Result<Self> {
        if !path.is_file() {
            bail!("{} does not exist or is not a file", path.display());
        }
        Ok(Self { kind, path })
    }

    /// The version that the program prints.
    pub(crate) fn version(&self) -> String {
        if self.kind == Kind::Floor {
            return env!("CARGO_PKG_VERSION").to_owned();
        }
        let output = Command::new(&self.path).arg("--version").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("unknown").trim().to_owned()
    }

    /// Starts a server with its keys and files in `directory`, and waits for its first response.
    ///
    /// # Errors
    /// The output of the server if it exits, or that it does not respond.
    pub(crate) fn start(
        &self,
        setup: &Setup,
        directory: &Path,
        certificates: &Certificates,
        cores: &Cores,
    ) -> anyhow::Result<Server> {
        fs::create_dir_all(directory)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = directory.join("config.yml");
        fs::write(&config, setup.yaml(self.kind, directory, certificates))?;
        let log = directory.join("log");
        let mut command = Command::new(&self.path);
        match self.kind {
            Kind::Keyway | Kind::Before | Kind::Kes => command.arg("server").arg("--config").arg(&config),
            Kind::Floor => command.arg("--cert").arg(&certificates.cert).arg("--key").arg(&certificates.key),
        };
        command.args(["--addr", &address.to_string()]);
        if self.kind == Kind::Kes {
            command.env("GOMAXPROCS", setup.threads.to_string());
        }
        command
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tls = certificates.client_config(&certificates.admin, false)?;
        let start = Instant::now();
        let child = cores.on_server(setup.threads, || command.spawn())?;
        let child = child.with_context(|| format!("cannot start {}", self.path.display()))?;
        let mut server = Server { kind: self.kind, address, started_in: Duration::ZERO, threads: setup.threads, child };
        let first = Request::get("/version").http1(0);
        loop {
            let status: anyhow::Result<u16> =
                runtime.block_on(async { Http1::new(connect(address, tls.clone()).await?).exchange(&first).await });
            match status {
                Ok(200) => break,
                Ok(status) => bail!("{}: the first response has status {status}", self.kind.name()),
                Err(error) if start.elapsed() > START_TIMEOUT => {
                    return Err(error.context("the server does not respond"));
                }
                Err(_) => std::thread::sleep(POLL),
            }
            if let Some(status) = server.child.try_wait()? {
                let output = fs::read_to_string(&log).unwrap_or_default();
                bail!("{} exited with {status} during its start:\n{output}", self.kind.name());
            }
        }
        server.started_in = start.elapsed();
        Ok(server)
    }
}

impl Server {
    /// Its process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have exited
        let _ = self.child.wait();
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
