//! The config file: from YAML in the format of KES (`version: v1`) to a [`Config`].
//!
//! The whole file is checked before any of it is used. All errors are reported in one run, each with its line, its key
//! path and what to do. `config/keyway.yml` is the reference for users.
//!
//! `node.rs` parses the text to a tree. `sections.rs`, and for `keystore` also `keystores.rs` and `vault.rs`, read the
//! tree key by key, with `section.rs`, `field.rs` and the value parsers in `values.rs`. `rules.rs` checks policies
//! against the API, and `report.rs` collects the errors, with the positions that `locate.rs` finds. `source.rs` keeps the
//! positions that later checks need.

mod address;
pub mod duration;
mod history;
mod keystores;
mod level;
mod policies;
mod rules;
mod sections;
mod source;
mod values;
mod vault;
mod yaml;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use backends::{BackendConfig, Name, Secret};
use zeroize::Zeroizing;

use crate::glob::Glob;
use crate::identity::Identity;
use crate::policy::Policy;
use crate::routes::{Api, Route};
use yaml::field::{self, Field};
use yaml::node::{self, ParseError};
use yaml::report::Report;

pub use address::{InvalidAddress, parse_address};
pub use level::Level;
pub use source::Source;
pub use yaml::report::{ConfigError, Problem, Warning};

/// The content of a config file. Relative paths are relative to the working directory of the process, as in KES.
#[derive(Clone, Debug)]
pub struct Config {
    /// `address`: the listen address. Default 0.0.0.0:7373. `localhost` is 127.0.0.1; without a host it is 0.0.0.0.
    pub address: SocketAddr,
    /// `admin.identity`: the identity that may do everything. Required.
    pub admin: Identity,
    /// `tls`: the server's certificate, and how client certificates are checked.
    pub tls: Tls,
    /// `api`: options of individual APIs.
    pub api: BTreeMap<Api, ApiOptions>,
    /// `policy`: rules by policy name.
    pub policies: BTreeMap<String, Policy>,
    /// `policy.NAME.identities`: the name of the one policy of each identity.
    pub identities: BTreeMap<Identity, String>,
    /// `cache`: how long keys stay in memory.
    pub cache: Cache,
    /// `probe.address`: the listen address for probes over plain HTTP. Default none.
    pub probe: Option<SocketAddr>,
    /// `limits`: how much the server does concurrently.
    pub limits: Limits,
    /// `startup`: what the server does if its keystore is not ready at startup. Default `wait`. Not a key of KES.
    pub startup: Startup,
    /// `log`: the console logs.
    pub log: Log,
    /// `keys`: keys that are created at start if they do not exist.
    pub keys: Vec<Name>,
    /// `protect`: keys that cannot be deleted through the API, not even by the admin. Default none. Not a key of KES.
    pub protect: Vec<Glob>,
    /// `keystore`: where keys are stored. Required, exactly one.
    pub keystore: BackendConfig,
    /// `keystore.trash`: how long deleted keys stay in the keystore, to be restored. Default: they do not. Not in KES.
    pub trash: Option<Duration>,
    /// The files whose contents are values of the config (`${file:PATH}`).
    pub included: Vec<PathBuf>,
    /// Settings that are valid but probably not intended.
    pub warnings: Vec<Warning>,
    /// Where the settings are in the file.
    pub source: Source,
}

/// `tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `tls.key`: PEM file with the private key of the server. Required.
    pub key: PathBuf,
    /// `tls.cert`: PEM file with its certificate, followed by the intermediate certificates. Required.
    pub cert: PathBuf,
    /// `tls.password`: decrypts the private key. Default none.
    pub password: Option<Secret>,
    /// `tls.ca`: PEM file or directory with CAs for client certificates, in addition to those of the system. Default
    /// none.
    pub ca: Option<PathBuf>,
    /// `tls.auth`: whether the chain of client certificates is verified. Default off: only the key counts.
    pub auth: bool,
    /// `tls.proxy`: proxies that forward requests of other clients. Default none.
    pub proxy: Option<Proxy>,
}

/// `tls.proxy`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// `tls.proxy.identities`: the identities of the proxies; at least one.
    pub identities: Vec<Identity>,
    /// `tls.proxy.header.cert`: the name of the header in which they send the client's certificate.
    pub header: String,
}

/// `api.PATH`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiOptions {
    /// `skip_auth`: whether clients without a certificate may call it. Default off; only for APIs without key material.
    pub skip_auth: bool,
    /// `timeout`: the maximum duration of a request; zero: no limit. Default: that of the API.
    pub timeout: Option<Duration>,
}

/// `cache`. `off` disables it: all durations are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// `expiry.any`: how long a key is served before it is read again; zero: not cached. Default 5 minutes.
    pub any: Duration,
    /// `expiry.unused`: the same, since its last use. Default 30 seconds.
    pub unused: Duration,
    /// `expiry.offline`: how long keys are served while the keystore is down, since its last response; zero: not at
    /// all. Default zero.
    pub offline: Duration,
    /// `max_entries`: the maximum number of keys in memory. Default 100,000. Not in KES.
    pub max_entries: u64,
}

/// `limits`: requests and connections over a limit are rejected or wait, which bounds memory. Not in KES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `connections`: open connections. Default 10,000.
    pub connections: usize,
    /// `requests`: concurrent requests of all clients. Default 4,096.
    pub requests: usize,
    /// `requests_per_identity`: concurrent requests of each client. Default none.
    pub requests_per_identity: Option<usize>,
    /// `subscribers`: subscribers of each of the two log streams. Default 64.
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
    /// `error`: the lowest level of the server's log. Default on.
    pub error: Level,
    /// `audit`: the audit events that are shown. Default the changes, as in KES.
    pub audit: Audit,
    /// `format`: the format of both. Default text. Not in KES.
    pub format: Format,
}

/// `log.audit`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// `changes`: keys that were created, imported or deleted.
    Changes,
    /// A [`Level`]: one event per request from this level on; success is INFO, a rejected request WARN, a failure ERROR.
    From(Level),
}

/// `log.format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `text`: human-readable lines.
    #[default]
    Text,
    /// `json`: one object per line.
    Json,
}

impl Config {
    /// Whether TLS requires a client certificate: unless an API can be called without one (as in KES).
    pub fn certificate_required(&self) -> bool {
        !self.api.values().any(|api| api.skip_auth)
    }

    /// The maximum duration of a request; zero: no limit.
    pub fn timeout_of(&self, route: &Route) -> Duration {
        self.api.get(&route.api).and_then(|options| options.timeout).unwrap_or(route.timeout)
    }

    /// Whether clients without a certificate may call this API.
    pub fn skips_auth(&self, route: &Route) -> bool {
        self.api.get(&route.api).is_some_and(|options| options.skip_auth)
    }

    /// Whether any identity may use keys: the admin, or one with a policy.
    pub fn has_clients(&self) -> bool {
        self.admin.can_match() || self.identities.keys().any(Identity::can_match)
    }

    /// Whether this identity is a proxy, which may forward the certificates of other clients.
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
        Self { error: Level::ON, audit: Audit::Changes, format: Format::Text }
    }
}

/// The options of a server's command line that override the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Overrides `address`.
    pub address: Option<SocketAddr>,
    /// Overrides `tls.key`.
    pub tls_key: Option<PathBuf>,
    /// Overrides `tls.cert`.
    pub tls_cert: Option<PathBuf>,
}

/// Reads a config file, with the environment variables of the process.
///
/// # Errors
/// [`ConfigError`] with all errors in the file, or why it cannot be read.
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

/// Reads only the keystore of a config file: copying keys needs no certificates or policies, nor the environment
/// variables for them.
///
/// # Errors
/// [`ConfigError`] with the errors of `version`, `keystore` and unknown keys, or why the file cannot be read.
pub fn read_keystore(file: &Path) -> Result<(BackendConfig, Vec<Warning>), ConfigError> {
    let (keystore, warnings, _) = tree(file, &text(file)?, &|name| std::env::var(name).ok(), sections::keystore_only)?;
    Ok((keystore, warnings))
}

/// As [`read`], but from a stream. `name` stands for the file in messages.
///
/// # Errors
/// As [`read`].
pub fn read_from(name: &Path, mut input: impl io::Read) -> Result<Config, ConfigError> {
    let mut bytes = Zeroizing::new(Vec::new());
    input
        .read_to_end(&mut bytes)
        .map_err(|error| ConfigError::unreadable(name, None, format!("cannot read the config: {error}")))?;
    parse(name, &decode(name, &bytes)?)
}

fn text(file: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let bytes = fs::read(file).map(Zeroizing::new).map_err(|error| {
        ConfigError::unreadable(file, None, format!("cannot read the file: {error}; check its path and permissions"))
    })?;
    decode(file, &bytes)
}

fn decode(file: &Path, bytes: &[u8]) -> Result<Zeroizing<String>, ConfigError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let mut lines = before.rsplit(|byte| *byte == b'\n');
        let column = 1 + lines.next().map_or(0, <[u8]>::len);
        let position = (1 + lines.count(), column);
        ConfigError::unreadable(file, Some(position), "not valid UTF-8; save the file as UTF-8".into())
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Parses the text of a config file; `file` is its name in error messages.
///
/// # Errors
/// [`ConfigError`] with all errors.
pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    parse_with(file, text, &Overrides::default(), &|name| std::env::var(name).ok())
}

fn parse_with(file: &Path, text: &str, overrides: &Overrides, env: field::Env<'_>) -> Result<Config, ConfigError> {
    let (config, warnings, mut source) = tree(file, text, env, |root| {
        let included = root.included_files();
        sections::config(root, overrides).map(|config| Config { included, ..config })
    })?;
    if overrides.tls_key.is_some() {
        source.forget("tls.key");
    }
    if overrides.tls_cert.is_some() {
        source.forget("tls.cert");
    }
    Ok(Config { warnings, source, ..config })
}

/// Parses the text to a tree, from which `read` takes a value.
fn tree<T>(
    file: &Path,
    text: &str,
    env: field::Env<'_>,
    read: impl FnOnce(Field<'_>) -> Option<T>,
) -> Result<(T, Vec<Warning>, Source), ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text); // a byte order mark, which some editors add
    let root = node::read(text).map_err(|ParseError(position, text)| ConfigError::unreadable(file, position, text))?;
    let report = Report::new(file, text);
    let value = read(Field::root(&report, env, &root));
    let (value, warnings, positions) = report.finish(value)?;
    Ok((value, warnings, Source::new(file, positions)))
}

#[cfg(test)]
mod tests;
