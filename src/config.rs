//! The config file: YAML as KES reads it, `version: v1`, to a [`Config`].
//!
//! Everything is checked before anything is used, and everything that is wrong is told at once, each with its line,
//! its key path and what to do. `config/keyway.yml` is the reference for those who write config files. What a key
//! means to the server is not known here.
//!
//! The way of a file: `node.rs` makes a tree of the text, `sections.rs` and, for `keystore`, `keystores.rs` and
//! `vault.rs` go through it key by key with the means of `section.rs` and `field.rs` and the readers in `values.rs`, `rules.rs` compares policies with the API, and
//! `report.rs` collects what is wrong, at the lines that `locate.rs` finds.

mod address;
pub mod duration;
mod keystores;
mod level;
mod policies;
mod rules;
mod sections;
mod values;
mod vault;
mod yaml;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backends::{BackendConfig, Name, Secret};
use zeroize::Zeroizing;

use crate::identity::Identity;
use crate::policy::Policy;
use crate::routes::{Api, Route};
use yaml::field::{self, Field};
use yaml::node::{self, NoTree};
use yaml::report::Report;

pub use address::{InvalidAddress, parse_address};
pub use level::Level;
pub use yaml::report::{ConfigError, Problem, Warning};

/// All that a config file says. Relative paths are relative to the working directory of the process, as in KES.
#[derive(Clone, Debug)]
pub struct Config {
    /// `address`: where to listen. Default 0.0.0.0:7373. `localhost` is 127.0.0.1, and no host is 0.0.0.0.
    pub address: SocketAddr,
    /// `admin.identity`: who may do anything. Required.
    pub admin: Identity,
    /// `tls`: certificate of the server and treatment of those of clients.
    pub tls: Tls,
    /// `api`: options of single APIs.
    pub api: BTreeMap<Api, ApiOptions>,
    /// `policy`: rules by policy name.
    pub policies: BTreeMap<String, Policy>,
    /// `policy.NAME.identities`: the name of the one policy of each identity.
    pub identities: BTreeMap<Identity, String>,
    /// `cache`: which keys stay in memory, and how long.
    pub cache: Cache,
    /// `probe.address`: where to answer probes over plain HTTP. Default nowhere.
    pub probe: Option<SocketAddr>,
    /// `limits`: how much is done at the same time.
    pub limits: Limits,
    /// `startup`: what a server does whose keystore is not ready when it starts. Default `wait`. Not a key of KES.
    pub startup: Startup,
    /// `log`: what is written to the console.
    pub log: Log,
    /// `keys`: created at start when absent.
    pub keys: Vec<Name>,
    /// `keystore`: where keys are kept. Required, exactly one.
    pub keystore: BackendConfig,
    /// What is doubtful about the file.
    pub warnings: Vec<Warning>,
}

/// `tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `tls.key`: PEM file with the private key of the server. Required.
    pub key: PathBuf,
    /// `tls.cert`: PEM file with its certificate and those between it and the root. Required.
    pub cert: PathBuf,
    /// `tls.password`: decrypts the private key. Default none.
    pub password: Option<Secret>,
    /// `tls.ca`: PEM file or directory with roots for client certificates, besides those of the system. Default none.
    pub ca: Option<PathBuf>,
    /// `tls.auth`: whether the chain of client certificates is verified. Default off: the key decides.
    pub auth: bool,
    /// `tls.proxy`: who may speak for other clients. Default nobody.
    pub proxy: Option<Proxy>,
}

/// `tls.proxy`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// `tls.proxy.identities`: the proxies; at least one.
    pub identities: Vec<Identity>,
    /// `tls.proxy.header.cert`: the name of the header in which they pass on the certificate of the client.
    pub header: String,
}

/// `api.PATH`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiOptions {
    /// `skip_auth`: whether clients without a certificate may ask. Default off; only APIs without key material.
    pub skip_auth: bool,
    /// `timeout`: how long a request may take; zero: no limit. Default: the API's own.
    pub timeout: Option<Duration>,
}

/// `cache`. Written as `off`, nothing is kept: all durations are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// `expiry.any`: how long a key is served without asking the keystore again; zero: not at all. Default 5 minutes.
    pub any: Duration,
    /// `expiry.unused`: the same, counted from its last use. Default 30 seconds.
    pub unused: Duration,
    /// `expiry.offline`: how long keys are served while the keystore is down, counted from its last answer; zero: not
    /// at all. Default zero.
    pub offline: Duration,
    /// `max_entries`: keys in memory at most. Default 100,000. Not a key of KES.
    pub max_entries: u64,
}

/// `limits`: what is over them is refused or waits, so that memory has a bound. Not a section of KES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `connections`: open at a time. Default 10,000.
    pub connections: usize,
    /// `requests`: under way at a time, of all clients. Default 4,096.
    pub requests: usize,
    /// `requests_per_identity`: under way at a time, of each client. Default: only the above.
    pub requests_per_identity: Option<usize>,
    /// `subscribers`: of each of the two log streams. Default 64.
    pub subscribers: usize,
}

/// `startup`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Startup {
    /// `wait`: it listens, says on `/ready` that the keystore is not ready, and tries again. As KES.
    #[default]
    Wait,
    /// `fail`: it ends with an error.
    Fail,
}

/// `log`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`: what the server says of itself, from this level on. Default on.
    pub error: Level,
    /// `audit`: one event per request: success is INFO, a refusal WARN, a failure ERROR. Default off.
    pub audit: Level,
    /// `format`: the form of both. Default text. Not a key of KES.
    pub format: Format,
}

/// `log.format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `text`: lines for people.
    #[default]
    Text,
    /// `json`: one object a line.
    Json,
}

impl Config {
    /// Whether TLS insists on a client certificate: unless some API lets clients without one ask (as in KES).
    pub fn certificate_required(&self) -> bool {
        !self.api.values().any(|api| api.skip_auth)
    }

    /// How long a request may take; zero: no limit.
    pub fn timeout_of(&self, route: &Route) -> Duration {
        self.api.get(&route.api).and_then(|options| options.timeout).unwrap_or(route.timeout)
    }

    /// Whether clients without a certificate may call this API.
    pub fn skips_auth(&self, route: &Route) -> bool {
        self.api.get(&route.api).is_some_and(|options| options.skip_auth)
    }

    /// Whether this identity is a proxy that may forward the certificates of other clients.
    pub fn is_proxy(&self, identity: &Identity) -> bool {
        self.tls.proxy.as_ref().is_some_and(|proxy| proxy.identities.contains(identity))
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            any: Duration::from_mins(5),
            unused: Duration::from_secs(30),
            offline: Duration::ZERO,
            max_entries: 100_000,
        }
    }
}

impl Cache {
    /// `cache: off`.
    pub const OFF: Self =
        Self { any: Duration::ZERO, unused: Duration::ZERO, offline: Duration::ZERO, max_entries: 100_000 };
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 10_000, requests: 4_096, requests_per_identity: None, subscribers: 64 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { error: Level::ON, audit: Level::Off, format: Format::Text }
    }
}

/// What the command line of a server says in place of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// In place of `address`.
    pub address: Option<SocketAddr>,
    /// In place of `tls.key`.
    pub tls_key: Option<PathBuf>,
    /// In place of `tls.cert`.
    pub tls_cert: Option<PathBuf>,
}

/// Reads a config file. Environment variables that it names are taken from the process.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong with the file, or why it cannot be read.
pub fn read(file: &Path) -> Result<Config, ConfigError> {
    read_with(file, &Overrides::default())
}

/// The same for a server, whose command line may say something else.
///
/// # Errors
/// As [`read`].
pub fn read_with(file: &Path, overrides: &Overrides) -> Result<Config, ConfigError> {
    parse_with(file, &text(file)?, overrides, &|name| std::env::var(name).ok())
}

/// Reads the keystore of a config file, and nothing else of it: whoever moves keys needs no certificates and policies,
/// and not the environment variables that they name.
///
/// # Errors
/// [`ConfigError`] as [`read`], of `version`, `keystore` and keys that no config has.
pub fn read_keystore(file: &Path) -> Result<(BackendConfig, Vec<Warning>), ConfigError> {
    tree(file, &text(file)?, &|name| std::env::var(name).ok(), sections::keystore_alone)
}

fn text(file: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let bytes = fs::read(file).map(Zeroizing::new).map_err(|error| {
        ConfigError::unreadable(file, None, format!("cannot be read: {error}; check the path and its permissions"))
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let mut lines = before.rsplit(|byte| *byte == b'\n');
        let column = 1 + lines.next().map_or(0, <[u8]>::len);
        let position = (1 + lines.count(), column);
        ConfigError::unreadable(file, Some(position), "is not UTF-8; save the file as UTF-8".into())
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads the text of a config file; `file` is its name in errors.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong.
pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    parse_with(file, text, &Overrides::default(), &|name| std::env::var(name).ok())
}

fn parse_with(file: &Path, text: &str, overrides: &Overrides, env: field::Env<'_>) -> Result<Config, ConfigError> {
    let (mut config, warnings) = tree(file, text, env, |root| sections::config(root, overrides))?;
    config.warnings = warnings;
    Ok(config)
}

/// What `read` makes of the tree of a text.
fn tree<T>(
    file: &Path,
    text: &str,
    env: field::Env<'_>,
    read: impl FnOnce(Field<'_>) -> Option<T>,
) -> Result<(T, Vec<Warning>), ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text); // a byte order mark, which editors may leave
    let root = node::read(text).map_err(|NoTree(position, why)| ConfigError::unreadable(file, position, why))?;
    let report = Report::new(file, text);
    let found = read(Field::root(&report, env, &root));
    report.finish(found)
}

#[cfg(test)]
mod tests;
