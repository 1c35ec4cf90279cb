//! Real MinIO servers that keep the keys of their objects in a gateway.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::eventually::until_blocking;
use super::ports::four_free;

/// How long a server may take to start: two must find each other.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// The administrator of every server here.
pub const USER: &str = "minio-admin";

/// Where a server's keys are, and how it proves who it is.
#[derive(Clone, Debug)]
pub struct Kms {
    /// URLs of gateways, separated by commas.
    pub endpoint: String,
    /// The certificate that the gateways' certificates are trusted by.
    pub ca: PathBuf,
    /// What it proves its identity with.
    pub credential: Credential,
    /// The default key.
    pub key: String,
}

/// See [`Kms::credential`].
#[derive(Clone, Debug)]
pub enum Credential {
    /// `kes:v1:...`
    ApiKey(String),
    /// Files of certificate and private key.
    Certificate(PathBuf, PathBuf),
}

/// A server with its drives. It is killed, and the drives removed, when dropped.
#[derive(Debug)]
pub struct Minio {
    child: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
    /// The administrator's password.
    pub password: String,
}

impl Minio {
    /// A server of one drive, which serves.
    pub fn start(kms: &Kms) -> Self {
        let mut server = Self::start_with(kms, &[]);
        server.wait();
        server
    }

    /// A server of one drive with settings in its environment; an empty value takes one away. It may not serve yet.
    pub fn start_with(kms: &Kms, settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, four_free()));
        let drive = directory.path().join("drive").display().to_string();
        Self::spawn(kms, directory, address, &[drive], &password(), settings)
    }

    /// Two servers of two drives each, which are one store, started at once. They may not serve yet.
    pub fn pair(kms: [&Kms; 2]) -> [Self; 2] {
        let password = password();
        let nodes = [(); 2].map(|()| (tempfile::tempdir().unwrap(), SocketAddr::new(own_address(), four_free())));
        let drives: Vec<_> = nodes
            .iter()
            .flat_map(|(directory, address)| {
                ["drive-1", "drive-2"]
                    .map(|drive| format!("http://{address}{}", directory.path().join(drive).display()))
            })
            .collect();
        let mut kms = kms.into_iter();
        nodes.map(|(directory, address)| Self::spawn(kms.next().unwrap(), directory, address, &drives, &password, &[]))
    }

    fn spawn(
        kms: &Kms,
        directory: tempfile::TempDir,
        address: SocketAddr,
        drives: &[String],
        password: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let path = directory.path();
        let log = std::fs::File::create(path.join("log")).unwrap();
        let mut command = Command::new(program());
        command
            .args(["server", "--address", &address.to_string(), "--certs-dir"])
            .arg(path.join("certs"))
            .args(drives)
            .env_clear()
            .env("HOME", path)
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", password)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            // Without it a server refuses a drive that shares its disk with the system.
            .env("MINIO_CI_CD", "on")
            .env("MINIO_KMS_KES_ENDPOINT", &kms.endpoint)
            .env("MINIO_KMS_KES_CAPATH", &kms.ca)
            .env("MINIO_KMS_KES_KEY_NAME", &kms.key);
        match &kms.credential {
            Credential::ApiKey(key) => command.env("MINIO_KMS_KES_API_KEY", key),
            Credential::Certificate(cert, key) => {
                command.env("MINIO_KMS_KES_CERT_FILE", cert).env("MINIO_KMS_KES_KEY_FILE", key)
            }
        };
        for (name, value) in settings {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { child, address, directory, password: password.to_owned() }
    }

    /// Waits until it serves, its keys included.
    pub fn wait(&mut self) {
        self.wait_for("cluster");
        self.wait_for("ready");
    }

    /// Waits for one of its probes: `cluster` when its drives are there, `ready` when its keys are too.
    pub fn wait_for(&mut self, probe: &str) {
        let (child, log) = (&mut self.child, self.directory.path().join("log"));
        let log = || std::fs::read_to_string(&log).unwrap_or_default();
        until_blocking(
            START_TIMEOUT,
            || format!("MinIO does not serve:\n{}", log()),
            || {
                assert!(child.try_wait().unwrap().is_none(), "MinIO has ended:\n{}", log());
                health(self.address, probe) == 200
            },
        );
    }

    /// The status of one of its probes; 0 stands for none.
    pub fn health(&self, probe: &str) -> u16 {
        health(self.address, probe)
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its drives are in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn health(address: SocketAddr, probe: &str) -> u16 {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET /minio/health/{probe} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().ok().and_then(|answer| answer.split(' ').nth(1)?.parse().ok()).unwrap_or(0)
}

fn program() -> PathBuf {
    let program = super::tools().join("minio");
    assert!(program.is_file(), "MinIO is not at {}: run ./setup --tests", program.display());
    program
}

/// The address of this machine by which others would reach it; loopback where there is none. In a container, servers
/// wait permanently for a name that leads to loopback to lead elsewhere.
fn own_address() -> IpAddr {
    // Nothing is sent: the system only chooses the address (RFC 5737 keeps the other one for documentation).
    let chosen = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("203.0.113.1:9")?;
        socket.local_addr()
    });
    chosen.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

/// The servers of a pair listen on more than loopback.
fn password() -> String {
    let mut random = [0; 16];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    random.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
