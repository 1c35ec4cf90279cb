//! Where the database is and how it is used: the settings, the connection URL, and their conversion for the driver.
//!
//! The driver would take what is left out from `PG*` variables and `~/.pgpass`. A gateway that silently uses another
//! database than its config names is worse than one that does not start, so every field is set here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use zeroize::Zeroizing;

use crate::{FileKind, NamedFile, Secret, StoreError};

/// The port when none is given. Source: <https://www.iana.org/assignments/service-names-port-numbers>
const DEFAULT_PORT: u16 = 5432;

/// How a table of a PostgreSQL database is reached and used.
///
/// The server is given either by `url` or by `host`, `port`, `database` and `user`. The environment (`PGHOST` and so
/// on) and `~/.pgpass` are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=...&sslrootcert=...`, percent-encoded. Other parameters
    /// are errors. The whole URL is a secret, because it may contain the password.
    pub url: Option<Secret>,
    /// A host name, an IP address, or the directory of a Unix socket, which begins with `/`. A single server, which
    /// must be the primary.
    pub host: Option<String>,
    /// Default 5432.
    pub port: Option<u16>,
    /// The database, which must exist.
    pub database: Option<String>,
    /// The role to log in as.
    pub user: Option<String>,
    /// The password of the role, also in addition to a `url` without one. None for servers that do not ask for one.
    pub password: Option<Secret>,
    /// How strictly TLS is used. Default [`SslMode::VerifyFull`]; a Unix socket never has TLS.
    pub sslmode: Option<SslMode>,
    /// A PEM file with the certificate authorities to trust for the server's certificate. It is read once, by `open`.
    /// The driver always trusts its built-in public authorities (webpki-roots) as well, and none of the operating
    /// system's. A public authority does not issue certificates for names that are not public.
    pub ca: Option<PathBuf>,
    /// A PEM file with the client certificate, for servers that ask for one; together with `key`.
    pub cert: Option<PathBuf>,
    /// A PEM file with the client certificate's private key (not encrypted).
    pub key: Option<PathBuf>,
    /// The schema that contains the table `keys`: 1 to 56 of `a-z 0-9 _`, not beginning with a digit or `pg_`. Gateways
    /// with the same schema share their keys. Default `keyway`.
    pub schema: String,
    /// Whether to create the schema and the table when absent, and to migrate them. Default true. When false, nothing
    /// is ever created, and a missing table is an error that shows the SQL to run.
    pub migrate: bool,
    /// The maximum number of connections, 1 to 1000, not including the one that listens. Default 10.
    pub connections: u32,
    /// The time limit for establishing a connection, including TLS and login, and for waiting for a free one. Default 2
    /// s; at most half of `timeout`.
    pub connect_timeout: Duration,
    /// The time limit for an operation, including its one retry: 1 s to 14 s. Default 7 s.
    pub timeout: Duration,
    /// Where to listen for changes by other gateways. Default [`Listen::Same`].
    pub listen: Listen,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            port: None,
            database: None,
            user: None,
            password: None,
            sslmode: None,
            ca: None,
            cert: None,
            key: None,
            schema: "keyway".to_owned(),
            migrate: true,
            connections: 10,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(7),
            listen: Listen::default(),
        }
    }
}

impl Config {
    /// The PEM files that the settings name.
    pub(crate) fn files(&self) -> Vec<NamedFile> {
        let ca = Server::of(self).ok().and_then(|server| server.ca);
        let key_of_ca = if self.ca.is_some() { "ca" } else { "url" };
        let files = [
            NamedFile::of(key_of_ca, ca.as_ref(), FileKind::Authorities),
            NamedFile::of("cert", self.cert.as_ref(), FileKind::Certificate),
            NamedFile::of("key", self.key.as_ref(), FileKind::PrivateKey),
        ];
        files.into_iter().flatten().collect()
    }

    /// Whether both lead to the same table, whoever connects, as far as the settings show.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        // Every field is named here, so that a new one has to be judged.
        let Self {
            url,
            host,
            port,
            database,
            schema,
            user: _,
            password: _,
            sslmode: _,
            ca: _,
            cert: _,
            key: _,
            migrate: _,
            connections: _,
            connect_timeout: _,
            timeout: _,
            listen: _,
        } = self;
        (url, host, port, database, schema) == (&other.url, &other.host, &other.port, &other.database, &other.schema)
    }

    /// The same without creating anything: a missing table is then an error with [`AbsentStore`](crate::AbsentStore) as
    /// its cause.
    pub(crate) fn without_migration(self) -> Self {
        Self { migrate: false, ..self }
    }

    /// The same without notifications, which only caches need.
    pub(crate) fn for_bulk(self) -> Self {
        Self { listen: Listen::Off, ..self }
    }

    /// Checks all settings that can be checked without a file or the server. [`super::Postgres::open`] does the same;
    /// this is for callers that only read a config.
    ///
    /// # Errors
    /// What is wrong, naming the setting. It never contains a secret.
    pub fn check(&self) -> Result<(), String> {
        check_bounds(self)?;
        if self.cert.is_some() != self.key.is_some() {
            return Err("cert and key must be given together".to_owned());
        }
        Server::of(self).map(|_| ())
    }
}

/// Where `LISTEN` is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// At the address of the database. Not behind a pooler in transaction mode, such as `PgBouncer`, which does not
    /// deliver notifications. That is detected and logged, and the store stays without notifications.
    #[default]
    Same,
    /// At the server itself, bypassing the pooler; everything else (database, user, TLS) as for the other connections.
    At {
        /// A host name, an IP address, or the directory of a Unix socket.
        host: String,
        /// The port.
        port: u16,
    },
    /// Not at all: caches then rely on the age of their entries.
    Off,
}

/// How strictly TLS is used. The modes that silently fall back to plain text are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// `disable`: plain text.
    Disable,
    /// `require`: encrypted, without verifying the server's certificate.
    Require,
    /// `verify-ca`: the server's certificate must come from a trusted authority.
    VerifyCa,
    /// `verify-full`: it must also be for the host that is connected to.
    VerifyFull,
}

impl FromStr for SslMode {
    type Err = String;

    /// Parses the name that PostgreSQL uses.
    ///
    /// # Errors
    /// A message that lists the valid names.
    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "disable" => Self::Disable,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            "allow" | "prefer" => {
                return Err(format!(
                    "sslmode '{word}' may silently use no TLS; use verify-full, verify-ca, require or disable"
                ));
            }
            _ => return Err("sslmode is not one of verify-full, verify-ca, require and disable".to_owned()),
        })
    }
}

/// A checked [`Config`], as the driver needs it.
pub(super) struct Resolved {
    /// How to connect.
    pub(super) options: PgConnectOptions,
    /// How to connect for `LISTEN`; `None` when that is off.
    pub(super) listen: Option<PgConnectOptions>,
    /// The database in messages: `'DATABASE' at HOST:PORT`.
    pub(super) place: String,
}

/// Checks a config and reads the files that it names.
pub(super) async fn resolve(config: &Config) -> Result<Resolved, StoreError> {
    check_bounds(config).map_err(invalid)?;
    let server = Server::of(config).map_err(invalid)?;
    let options = PgConnectOptions::new_without_pgpass();
    if options.get_options().is_some() {
        return Err(invalid("the environment variable PGOPTIONS is set, which the driver cannot ignore; unset it"));
    }
    let (cert, key) = (config.cert.as_deref(), config.key.as_deref());
    let options = match (cert, key) {
        (Some(cert), Some(key)) => {
            let (cert, key) =
                (read_pem(cert, "cert", "CERTIFICATE").await?, read_pem(key, "key", "PRIVATE KEY").await?);
            options.ssl_client_cert_from_pem(&*cert).ssl_client_key_from_pem(&*key)
        }
        (None, None) if std::env::var_os("PGSSLCERT").is_some() || std::env::var_os("PGSSLKEY").is_some() => {
            return Err(invalid(
                "the environment variable PGSSLCERT or PGSSLKEY is set, which the driver cannot ignore; unset it",
            ));
        }
        (None, None) => options,
        _ => return Err(invalid("cert and key must be given together")),
    };
    let ca = match &server.ca {
        Some(path) => read_pem(path, "ca", "CERTIFICATE").await?.to_vec(),
        None => Vec::new(),
    };
    let options = options
        .host(&server.host)
        .port(server.port)
        .database(&server.database)
        .username(&server.user)
        .password(server.password.as_ref().map_or("", Secret::expose))
        .ssl_root_cert_from_pem(ca)
        .ssl_mode(server.driver_sslmode(&server.host))
        .application_name("keyway")
        // PgBouncer does not keep session state: statements end with their transaction, and only parameters that it
        // knows.
        .statement_cache_capacity(0)
        .extra_float_digits(None)
        .disable_statement_logging();
    let listen = match &config.listen {
        Listen::Same => Some(options.clone()),
        Listen::At { host, port } => Some(options.clone().host(host).port(*port).ssl_mode(server.driver_sslmode(host))),
        Listen::Off => None,
    };
    let place = format!("'{}' at {}:{}", server.database, server.host, server.port);
    Ok(Resolved { options, listen, place })
}

const UNUSABLE: &str = "the PostgreSQL settings are invalid";

fn invalid(what: impl fmt::Display) -> StoreError {
    StoreError::unavailable(format!("{UNUSABLE}: {what}"))
}

fn check_bounds(config: &Config) -> Result<(), String> {
    let schema = config.schema.as_bytes();
    // 56: the channel of notifications is `keyway_` followed by this, and PostgreSQL's names have at most 63 bytes.
    if !matches!(schema, [b'a'..=b'z' | b'_', rest @ ..]
        if rest.len() < 56 && rest.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')))
    {
        return Err("schema is not 1 to 56 characters of a-z, 0-9 and _, or begins with a digit".to_owned());
    }
    if config.schema.starts_with("pg_") {
        return Err("schema begins with pg_, which is reserved by PostgreSQL".to_owned());
    }
    if !(1..=1000).contains(&config.connections) {
        return Err("connections is out of range; use a number from 1 to 1000".to_owned());
    }
    if !(Duration::from_secs(1)..=Duration::from_secs(14)).contains(&config.timeout) {
        return Err("timeout is out of range; use a duration from 1s to 14s".to_owned());
    }
    if config.connect_timeout.is_zero() || config.connect_timeout > config.timeout / 2 {
        return Err("connect_timeout is out of range; use a duration above 0s, and at most half of timeout".to_owned());
    }
    Ok(())
}

async fn read_pem(path: &Path, field: &str, label: &str) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    match tokio::fs::read(path).await.map(Zeroizing::new) {
        Ok(pem)
            if String::from_utf8_lossy(&pem)
                .lines()
                .any(|line| line.starts_with("-----BEGIN ") && line.contains(label)) =>
        {
            Ok(pem)
        }
        Ok(_) => Err(invalid(format!("{field} '{}' contains no PEM block '{label}'", path.display()))),
        Err(error) => {
            let reason = format!("{UNUSABLE}: cannot read {field} '{}': {error}", path.display());
            Err(StoreError::unavailable(reason).caused_by(error))
        }
    }
}

/// What identifies the server, from the URL and the other fields.
struct Server {
    host: String,
    port: u16,
    database: String,
    user: String,
    password: Option<Secret>,
    sslmode: Option<SslMode>,
    ca: Option<PathBuf>,
}

impl Server {
    fn of(config: &Config) -> Result<Self, String> {
        let url = config.url.as_ref().map(|url| Url::parse(url.expose())).transpose()?.unwrap_or_default();
        let server = Self {
            host: one("host", url.host, config.host.clone())?.ok_or("host is missing")?,
            port: one("port", url.port, config.port)?.unwrap_or(DEFAULT_PORT),
            database: one("database", url.database, config.database.clone())?.ok_or("database is missing")?,
            user: one("user", url.user, config.user.clone())?.ok_or("user is missing")?,
            password: one("password", url.password, config.password.clone())?,
            sslmode: one("sslmode", url.sslmode, config.sslmode)?,
            ca: one("ca", url.ca, config.ca.clone())?,
        };
        if server.host.contains(',') {
            return Err("host lists more than one server; use a single address that leads to the primary".to_owned());
        }
        if server.ca.is_some() && matches!(server.sslmode, Some(SslMode::Disable | SslMode::Require)) {
            return Err(
                "ca is set, but this sslmode does not verify the certificate; use verify-full or verify-ca".to_owned()
            );
        }
        Ok(server)
    }

    fn driver_sslmode(&self, host: &str) -> PgSslMode {
        match self.sslmode {
            _ if host.starts_with('/') => PgSslMode::Disable,
            Some(SslMode::Disable) => PgSslMode::Disable,
            Some(SslMode::Require) => PgSslMode::Require,
            Some(SslMode::VerifyCa) => PgSslMode::VerifyCa,
            Some(SslMode::VerifyFull) | None => PgSslMode::VerifyFull,
        }
    }
}

fn one<T>(field: &str, url: Option<T>, own: Option<T>) -> Result<Option<T>, String> {
    match (url, own) {
        (Some(_), Some(_)) => Err(format!("{field} is set both in url and separately; remove one of the two")),
        (url, own) => Ok(url.or(own)),
    }
}

/// The parts of a connection URL. Source: <https://www.postgresql.org/docs/current/libpq-connect.html>, 34.1.1.2
#[derive(Default)]
struct Url {
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
    sslmode: Option<SslMode>,
    ca: Option<PathBuf>,
}

impl Url {
    /// Messages contain no part of the URL except the names of parameters: a password with a stray `/` or `@` in it
    /// would show up as a host or database.
    fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or("url does not begin with postgres://")?;
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // A '?' in a password makes the rest of it a query, which then contains the '@'.
        if rest.contains('#') || path.contains(['/', '@', ':']) || query.contains('@') {
            return Err("url has a misplaced '/', '@', ':' or '#'; percent-encode them in user, password and database"
                .to_owned());
        }
        let (login, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        let (host, port) = match address.strip_prefix('[').and_then(|address| address.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => {
                (host, Some(port.strip_prefix(':').ok_or("url has something other than a port after the address")?))
            }
            None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
        };
        let port =
            port.map(|port| port.parse().map_err(|_| "the port in url is not a number; percent-encode the password"));
        let mut url = Self {
            host: non_empty(decode(host)?),
            port: port.transpose()?,
            database: non_empty(decode(path)?),
            user: non_empty(decode(user)?),
            password: password.map(decode).transpose()?.map(Secret::from),
            ..Self::default()
        };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = decode(value)?;
            match key {
                "sslmode" => url.sslmode = Some(value.parse()?),
                "sslrootcert" => url.ca = Some(value.into()),
                _ if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                    return Err(format!(
                        "url has the unknown parameter '{key}'; supported are sslmode and sslrootcert"
                    ));
                }
                _ => return Err("url has an unknown parameter; supported are sslmode and sslrootcert".to_owned()),
            }
        }
        Ok(url)
    }
}

fn non_empty(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}

fn decode(text: &str) -> Result<String, String> {
    let wrong =
        || "url has a '%' that does not begin valid percent-encoded UTF-8; write a '%' itself as %25".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or_else(wrong)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        Config { url: Some(Secret::from(url.to_owned())), ..Config::default() }
    }

    #[test]
    fn a_url_is_parsed_and_decoded() {
        let server = Server::of(&config(
            "postgres://gate%40way:p%2Fw%25@[::1]:6432/key%20s?sslmode=verify-ca&sslrootcert=/etc/ca.pem",
        ))
        .unwrap();
        assert_eq!((server.host.as_str(), server.port), ("::1", 6432));
        assert_eq!((server.user.as_str(), server.database.as_str()), ("gate@way", "key s"));
        assert_eq!(server.password.unwrap().expose(), "p/w%");
        assert_eq!(server.sslmode, Some(SslMode::VerifyCa));
        assert_eq!(server.ca, Some(PathBuf::from("/etc/ca.pem")));
        let server = Server::of(&config("postgresql://user@db.example/keys")).unwrap();
        assert_eq!((server.host.as_str(), server.port, &server.password), ("db.example", 5432, &None));
        assert!(matches!(server.driver_sslmode(&server.host), PgSslMode::VerifyFull));
        assert!(matches!(server.driver_sslmode("/run/postgresql"), PgSslMode::Disable));
    }

    #[test]
    fn an_invalid_url_is_refused_without_revealing_the_password() {
        for (url, why) in [
            ("mysql://user:hunter2@host/db", "begin with"),
            ("postgres://user:hun/ter2@host/db", "misplaced"),
            ("postgres://user:1/hunter2@host", "misplaced"),
            ("postgres://user:hunter2#@host/db", "misplaced"),
            ("postgres://user:x?hunter=2@host/db", "misplaced"),
            ("postgres://user:hunter2%zz@host/db", "'%'"),
            ("postgres://user:hunter2@host:port/db", "port"),
            ("postgres://user:hunter2@host/db?sslmode=prefer", "may silently use no TLS"),
            ("postgres://user:hunter2@host/db?options=x", "'options'"),
            ("postgres://user:hunter2@a,b/db", "more than one"),
            ("postgres://user:hunter2@/db", "host is missing"),
            ("postgres://user:hunter2@host", "database is missing"),
            ("postgres://host/db", "user is missing"),
            ("postgres://user:hunter2@host/db?sslmode=require&sslrootcert=x", "does not verify the certificate"),
        ] {
            let message = Server::of(&config(url)).map(|_| ()).unwrap_err();
            assert!(message.contains(why), "{url}: {message}");
            assert!(!message.contains("hun") && !message.contains("ter2"), "{message}");
        }
    }

    #[test]
    fn what_the_url_contains_cannot_be_given_again() {
        let twice = Config { database: Some("b".to_owned()), ..config("postgres://user@host/a") };
        assert_eq!(
            Server::of(&twice).map(|_| ()).unwrap_err(),
            "database is set both in url and separately; remove one of the two"
        );
        let password = Some(Secret::from("pw".to_owned()));
        let separately = Config { password: password.clone(), ..config("postgres://user@host/a") };
        assert_eq!(Server::of(&separately).unwrap().password, password);
    }

    #[test]
    fn names_that_are_not_plain_identifiers_are_refused_as_schema() {
        for good in ["keyway", "_", "a1_b", &"s".repeat(56)] {
            check_bounds(&Config { schema: good.to_owned(), ..Config::default() }).unwrap();
        }
        for bad in ["", "1a", "A", "a-b", "a\"b", "a.b", "ä", "pg_keys", &"s".repeat(57)] {
            check_bounds(&Config { schema: bad.to_owned(), ..Config::default() }).unwrap_err();
        }
    }

    #[test]
    fn debug_output_contains_no_secret() {
        let config =
            Config { password: Some(Secret::from("hunter2".to_owned())), ..config("postgres://user:hunter2@host/db") };
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(format!("{config:?}").contains("Secret(..)"));
    }
}
