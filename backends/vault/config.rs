//! The settings for Vault: where it is, where in it the keys are, and how to log in.
//!
//! Checked here: what can be checked without the server. Not here: YAML.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;

use crate::{FileKind, NamedFile, Secret, StoreError};

/// The KV engine of a HashiCorp Vault or OpenBao server. The fields are named as in KES.
///
/// Environment variables are never read, neither `VAULT_*` nor those for HTTP proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `http://HOST:PORT` or `https://HOST:PORT`, without a path.
    pub endpoint: String,
    /// The mount path of the KV engine. KES's default: [`Config::DEFAULT_ENGINE`].
    pub engine: String,
    /// The version of that engine. KES's default: [`KvVersion::V1`].
    pub version: KvVersion,
    /// The namespace of the engine, and of the login unless that has its own. Default: the root namespace.
    pub namespace: Option<String>,
    /// A folder in the engine, such as `minio` or `prod/minio`. Default: empty, the top level of the engine.
    pub prefix: String,
    /// Encrypts values under a key of a transit engine in the same namespace. Default: no.
    pub transit: Option<Transit>,
    /// How to log in.
    pub login: Login,
    /// The TLS settings.
    pub tls: Tls,
}

impl Config {
    /// The engine's mount when none is given. Source: KES's configuration.
    pub const DEFAULT_ENGINE: &str = "kv";

    /// The files that the settings name.
    pub(crate) fn files(&self) -> Vec<NamedFile> {
        let Tls { key, cert, ca } = &self.tls;
        let tls = [
            NamedFile::of("tls.ca", ca.as_ref(), FileKind::Authorities),
            NamedFile::of("tls.cert", cert.as_ref(), FileKind::Certificate),
            NamedFile::of("tls.key", key.as_ref(), FileKind::PrivateKey),
        ];
        tls.into_iter().flatten().chain(self.login.file()).collect()
    }

    /// See [`crate::BackendConfig::dangers`].
    pub(crate) fn dangers(&self) -> Vec<(&'static str, String)> {
        let place = Place::of(self).ok().filter(Place::is_exposed);
        place.map(|place| ("endpoint", place.exposure())).into_iter().collect()
    }

    /// Whether both lead to the same folder of the same engine, as far as the settings show.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        fn place(config: &Config) -> ([&str; 4], KvVersion) {
            // Every field is named here, so that a new one has to be judged. With another version than that of the
            // engine, keys are in another folder.
            let Config { endpoint, engine, namespace, prefix, version, transit: _, login: _, tls: _ } = config;
            let texts = [endpoint, engine, namespace.as_deref().unwrap_or_default(), prefix];
            (texts.map(|text| text.trim_matches('/')), *version)
        }
        place(self) == place(other)
    }

    /// Checks all settings that can be checked without a file or the server. [`super::Vault::open`] does the same; this
    /// is for callers that only read a config.
    ///
    /// # Errors
    /// What is wrong, naming the setting. It never contains a secret.
    pub fn check(&self) -> Result<(), String> {
        Place::of(self).map(|_| ()).map_err(|error| match error {
            StoreError::Unavailable { reason, .. } => reason,
            other => other.to_string(),
        })
    }
}

/// The version of a KV engine. They differ in paths and bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvVersion {
    /// One value per path, without check-and-set.
    #[default]
    V1,
    /// Versioned values, check-and-set, and deletes that can be undone.
    V2,
}

impl fmt::Display for KvVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// The key that encrypts values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transit {
    /// The mount path of the transit engine. KES's default: [`Transit::DEFAULT_ENGINE`].
    pub engine: String,
    /// The name of its key, which must exist.
    pub key: String,
}

impl Transit {
    /// The engine's mount when none is given. Source: KES's configuration.
    pub const DEFAULT_ENGINE: &str = "transit";
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A token. It is renewed as long as Vault allows it, and never revoked by us.
    Token(Secret),
    /// A file that contains a token. It is read again when Vault refuses the token, and before the token expires.
    TokenFile(PathBuf),
    /// An `AppRole`.
    AppRole {
        /// The mount. KES's default: `approle`.
        engine: String,
        /// The namespace of the mount, `/` for the root namespace. Default: [`Config::namespace`].
        namespace: Option<String>,
        /// The ID of the role.
        id: String,
        /// The secret ID, or the file that contains it, read at each login.
        secret: Credential,
    },
    /// A Kubernetes service account.
    Kubernetes {
        /// The mount. KES's default: `kubernetes`.
        engine: String,
        /// The namespace of the mount, `/` for the root namespace. Default: [`Config::namespace`].
        namespace: Option<String>,
        /// The role.
        role: String,
        /// The service account's token, or its file, read at each login.
        jwt: Credential,
    },
    /// A JSON web token of another issuer.
    Jwt {
        /// The mount. Default: `jwt`.
        engine: String,
        /// The namespace of the mount, `/` for the root namespace. Default: [`Config::namespace`].
        namespace: Option<String>,
        /// The role. Default: the mount's own default role.
        role: Option<String>,
        /// The token, or its file, read at each login.
        jwt: Credential,
    },
    /// The TLS client certificate of [`Tls`].
    Cert {
        /// The mount. Default: `cert`.
        engine: String,
        /// The namespace of the mount, `/` for the root namespace. Default: [`Config::namespace`].
        namespace: Option<String>,
        /// The role. Default: any that accepts the certificate.
        role: Option<String>,
    },
}

impl Login {
    /// The name of this method in messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Token(_) => "the token",
            Self::TokenFile(_) => "the token file",
            Self::AppRole { .. } => "AppRole",
            Self::Kubernetes { .. } => "Kubernetes",
            Self::Jwt { .. } => "JWT",
            Self::Cert { .. } => "the TLS certificate",
        }
    }

    /// The mount to log in at; `None` for tokens.
    pub(super) fn engine(&self) -> Option<&str> {
        match self {
            Self::Token(_) | Self::TokenFile(_) => None,
            Self::AppRole { engine, .. }
            | Self::Kubernetes { engine, .. }
            | Self::Jwt { engine, .. }
            | Self::Cert { engine, .. } => Some(engine),
        }
    }

    /// The file with the credential.
    fn file(&self) -> Option<NamedFile> {
        match self {
            Self::TokenFile(path) => NamedFile::of("token_file", Some(path), FileKind::Credential),
            Self::AppRole { secret, .. } => {
                NamedFile::of("approle.secret_id_file", secret.file(), FileKind::Credential)
            }
            Self::Kubernetes { jwt, .. } => NamedFile::of("kubernetes.jwt", jwt.file(), FileKind::ServiceAccountToken),
            Self::Jwt { jwt, .. } => NamedFile::of("jwt.jwt", jwt.file(), FileKind::Credential),
            Self::Token(_) | Self::Cert { .. } => None,
        }
    }

    fn namespace(&self) -> Option<&str> {
        match self {
            Self::Token(_) | Self::TokenFile(_) => None,
            Self::AppRole { namespace, .. }
            | Self::Kubernetes { namespace, .. }
            | Self::Jwt { namespace, .. }
            | Self::Cert { namespace, .. } => namespace.as_deref(),
        }
    }
}

/// A credential, or the file that contains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The credential itself.
    Text(Secret),
    /// A file that contains it. White space around it is ignored.
    File(PathBuf),
}

impl Credential {
    /// KES's `jwt` is "a token or a path": what contains a `/` or is the name of a file is a path, because a JWT never
    /// contains a `/`.
    pub fn token_or_path(text: &str) -> Self {
        if text.contains('/') || std::path::Path::new(text).is_file() {
            Self::File(text.into())
        } else {
            Self::Text(Secret::from(text.to_owned()))
        }
    }

    /// The file, if it is in one.
    fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Text(_) => None,
            Self::File(path) => Some(path),
        }
    }
}

/// The TLS settings for Vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the client's private key: PKCS#8, PKCS#1 or SEC1, not encrypted. Together with [`Tls::cert`].
    pub key: Option<PathBuf>,
    /// PEM file of the client's certificate, followed by its chain.
    pub cert: Option<PathBuf>,
    /// PEM file of the only certificate authorities to trust. Default: those of the system.
    pub ca: Option<PathBuf>,
}

/// The folder of an engine of version 2 that has the values, in the paths of the API.
const DATA: &str = "data";

/// A checked [`Config`]: slashes trimmed, the address parsed, namespaces resolved.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: Url,
    pub(super) engine: String,
    pub(super) version: KvVersion,
    pub(super) prefix: String,
    /// Whether values are written as KES does with `version: v2` on an engine of version 1, see [`Place::on_v1`].
    pub(super) nested: bool,
    /// `None`: the root namespace.
    pub(super) namespace: Option<String>,
    /// That of the login, and so of the token.
    pub(super) login_namespace: Option<String>,
    pub(super) transit: Option<Transit>,
}

impl Place {
    pub(super) fn of(config: &Config) -> Result<Self, StoreError> {
        let address = address(&config.endpoint)?;
        let namespace = match config.namespace.as_deref() {
            Some(text) => path("namespace", text)?,
            None => String::new(),
        };
        let login_namespace = match config.login.namespace() {
            Some(text) => path("namespace of the login", text)?,
            None => namespace.clone(),
        };
        let engine = mount("engine", &config.engine)?;
        if let Some(engine) = config.login.engine() {
            mount("engine of the login", engine)?;
        }
        let transit = match &config.transit {
            Some(transit) => {
                let key = mount("transit key", &transit.key)?;
                if key.contains('/') {
                    return Err(StoreError::unavailable(format!(
                        "the transit key '{key}' contains a '/'; configure just the name of the key"
                    )));
                }
                Some(Transit { engine: mount("transit engine", &transit.engine)?, key })
            }
            None => None,
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        Ok(Self {
            address,
            engine,
            version: config.version,
            prefix: path("prefix", &config.prefix)?,
            nested: false,
            namespace: some(namespace),
            login_namespace: some(login_namespace),
            transit,
        })
    }

    /// The same settings when the engine has version 1 although `version: v2` is configured: an engine of version 1 takes
    /// the requests for version 2 as well, so that KES's keys are in a folder `data`, each with the body of its request
    /// around it.
    pub(super) fn on_v1(&mut self) {
        self.prefix = self.path_of_v2("");
        self.version = KvVersion::V1;
        self.nested = true;
    }

    /// Where in the engine `leaf` is when requests for version 2 were sent to an engine of version 1.
    pub(super) fn path_of_v2(&self, leaf: &str) -> String {
        format!("{DATA}/{}", self.path(leaf)).trim_end_matches('/').to_owned()
    }

    /// The place next to ours where KES put keys when `version` did not have the value of the engine; with the settings
    /// that lead there.
    pub(super) fn other_path(&self, leaf: &str) -> (String, String) {
        if self.nested {
            let prefix = self.prefix.strip_prefix(DATA).unwrap_or_default().trim_start_matches('/');
            let path = if prefix.is_empty() { leaf.to_owned() } else { format!("{prefix}/{leaf}") };
            (path, "version: v1".to_owned())
        } else {
            (self.path_of_v2(leaf), format!("prefix: {}", self.path_of_v2("")))
        }
    }

    /// Whether keys and tokens cross a network without TLS.
    pub(super) fn is_exposed(&self) -> bool {
        let is_loopback = self.address.host_str().is_some_and(|host| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        });
        self.address.scheme() == "http" && !is_loopback
    }

    /// What [`Place::is_exposed`] means, and what to do.
    pub(super) fn exposure(&self) -> String {
        format!("keys and tokens are sent to {self} without TLS; configure an https endpoint")
    }

    /// The path of the API, without `/v1/`, of the value at a path within the engine.
    pub(super) fn value_path(&self, path: &str) -> String {
        match self.version {
            KvVersion::V1 => format!("{}/{path}", self.engine),
            KvVersion::V2 => format!("{}/{DATA}/{path}", self.engine),
        }
    }

    /// The path of `leaf` within the engine.
    pub(super) fn path(&self, leaf: &str) -> String {
        if self.prefix.is_empty() { leaf.to_owned() } else { format!("{}/{leaf}", self.prefix) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.as_str().trim_end_matches('/');
        write!(f, "Vault at {address}, KV {} engine '{}'", self.version, self.engine)?;
        if let Some(namespace) = &self.namespace {
            write!(f, ", namespace '{namespace}'")?;
        }
        Ok(())
    }
}

fn address(text: &str) -> Result<Url, StoreError> {
    // The text is not repeated until it is known that it contains no password.
    let wrong = |why: &str| {
        StoreError::unavailable(format!(
            "the endpoint of Vault {why}; configure it as https://HOST:PORT, for example https://127.0.0.1:8200"
        ))
    };
    let url = Url::parse(text).map_err(|error| wrong(&format!("is not a URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("does not begin with http:// or https:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("contains a user or a password"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("contains more than a host and a port"));
    }
    Ok(url)
}

fn mount(what: &str, text: &str) -> Result<String, StoreError> {
    let text = path(what, text)?;
    if text.is_empty() {
        Err(StoreError::unavailable(format!("the {what} of Vault is empty; configure it")))
    } else {
        Ok(text)
    }
}

/// A path that URLs, proxies and Vault all interpret in the same way.
fn path(what: &str, text: &str) -> Result<String, StoreError> {
    let trimmed = text.trim_matches('/');
    let bad = |segment: &str| matches!(segment, "" | "." | "..") || segment.trim() != segment;
    if trimmed.chars().any(|c| c.is_control() || !c.is_ascii() || c == '\\')
        || (!trimmed.is_empty() && trimmed.split('/').any(bad))
    {
        return Err(StoreError::unavailable(format!(
            "the {what} '{}' of Vault is not a valid path: it has an empty part, a '.' or '..', or a character that is \
             not plain ASCII",
            text.escape_debug()
        )));
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            endpoint: "https://127.0.0.1:8200".into(),
            engine: "/kv/".into(),
            version: KvVersion::V2,
            namespace: Some("/team-a/".into()),
            prefix: "prod/minio/".into(),
            transit: None,
            login: Login::AppRole {
                engine: "approle".into(),
                namespace: Some("/".into()),
                id: "role".into(),
                secret: Credential::Text(Secret::from("s3cr3t".to_owned())),
            },
            tls: Tls::default(),
        }
    }

    #[test]
    fn slashes_around_paths_do_not_matter_and_a_single_slash_is_the_root_namespace() {
        let place = Place::of(&config()).unwrap();
        assert_eq!((place.engine.as_str(), place.prefix.as_str()), ("kv", "prod/minio"));
        assert_eq!(place.namespace.as_deref(), Some("team-a"));
        assert_eq!(place.login_namespace, None);
        assert_eq!(place.path("my-key"), "prod/minio/my-key");
        assert_eq!(place.to_string(), "Vault at https://127.0.0.1:8200, KV v2 engine 'kv', namespace 'team-a'");
    }

    #[test]
    fn a_login_without_a_namespace_has_that_of_the_engine() {
        let login = Login::Cert { engine: "cert".into(), namespace: None, role: None };
        let place = Place::of(&Config { login, ..config() }).unwrap();
        assert_eq!(place.login_namespace.as_deref(), Some("team-a"));
    }

    #[test]
    fn what_is_not_a_path_or_not_an_address_is_refused_with_the_reason() {
        for prefix in ["a/../b", "a//b", ".", "a\nb", "ü", "a/ /b", "a\\b"] {
            let error = Place::of(&Config { prefix: prefix.into(), ..config() }).unwrap_err().to_string();
            assert!(error.contains("is not a valid path"), "{prefix:?}: {error}");
        }
        for endpoint in ["", "127.0.0.1:8200", "ftp://h", "https://h/v1", "https://user:pass@h", "https://h?x=1"] {
            let error = Place::of(&Config { endpoint: endpoint.into(), ..config() }).unwrap_err().to_string();
            assert!(error.contains("https://HOST:PORT") && !error.contains("pass@"), "{endpoint:?}: {error}");
        }
        let error = Place::of(&Config { engine: "/".into(), ..config() }).unwrap_err().to_string();
        assert!(error.contains("is empty"), "{error}");
    }

    #[test]
    fn a_folder_is_the_same_with_or_without_slashes_and_whoever_logs_in() {
        let same = Config {
            endpoint: "https://127.0.0.1:8200/".into(),
            engine: "kv".into(),
            namespace: Some("team-a".into()),
            prefix: "/prod/minio".into(),
            login: Login::Token(Secret::from("other".to_owned())),
            ..config()
        };
        assert!(config().is_same_place(&same));
        assert!(!config().is_same_place(&Config { prefix: "prod".into(), ..config() }));
        assert!(!config().is_same_place(&Config { namespace: None, ..config() }));
    }

    #[test]
    fn each_file_is_listed_with_the_setting_that_names_it() {
        let tls = Tls { key: Some("k".into()), cert: Some("c".into()), ca: Some("a".into()) };
        let login = |jwt| Login::Jwt { engine: "jwt".into(), namespace: None, role: None, jwt };
        let with = |login| Config { login, tls: tls.clone(), ..config() };
        let keys = |config: Config| config.files().iter().map(|file| file.key).collect::<Vec<_>>();
        assert_eq!(keys(with(Login::TokenFile("t".into()))), ["tls.ca", "tls.cert", "tls.key", "token_file"]);
        assert_eq!(keys(Config { tls: Tls::default(), ..with(login(Credential::File("j".into()))) }), ["jwt.jwt"]);
        assert_eq!(keys(config()), [""; 0]);
    }

    #[test]
    fn only_http_to_another_machine_is_a_danger() {
        for (endpoint, is_exposed) in [
            ("http://vault.example.com:8200", true),
            ("http://10.1.2.3:8200", true),
            ("https://vault.example.com:8200", false),
            ("http://localhost:8200", false),
            ("http://127.0.0.2:8200", false),
            ("http://[::1]:8200", false),
        ] {
            let dangers = Config { endpoint: endpoint.into(), ..config() }.dangers();
            assert_eq!(dangers.len(), usize::from(is_exposed), "{endpoint}: {dangers:?}");
        }
    }

    #[test]
    fn debug_output_contains_no_secret() {
        let text = format!("{:?} {:?}", config(), Login::Token(Secret::from("s3cr3t".to_owned())));
        assert!(!text.contains("s3cr3t") && text.contains("Secret(..)"), "{text}");
    }

    #[test]
    fn a_jwt_with_a_slash_is_the_path_of_a_file() {
        assert!(matches!(Credential::token_or_path("/var/run/secrets/token"), Credential::File(_)));
        assert!(matches!(Credential::token_or_path("eyJhbGciOi.eyJzdWIi.c2ln"), Credential::Text(_)));
    }
}
