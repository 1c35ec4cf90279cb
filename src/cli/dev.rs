//! `keyway server --dev`: creates everything that a server needs, in one directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use x509_parser::extensions::GeneralName;

use crate::config::{self, Config};
use crate::identity::api_key::ApiKey;

/// The default address of a development server.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7373);

/// The file with the keys.
const DATABASE: &str = "keys.db";

/// The file with the admin's API key.
const API_KEY: &str = "admin.api-key";

/// The data directory of a development server, and its admin.
pub(super) struct Dev {
    directory: PathBuf,
    /// Removes a temporary directory when dropped.
    temporary: Option<tempfile::TempDir>,
    address: SocketAddr,
    admin: ApiKey,
}

impl Dev {
    /// Creates whatever is missing in the directory, or in a new temporary one: the admin's API key, its certificate
    /// for curl, and the server's certificate.
    pub(super) fn prepare(directory: Option<PathBuf>, address: Option<SocketAddr>) -> anyhow::Result<Self> {
        let address = address.unwrap_or(ADDRESS);
        let (directory, temporary) = if let Some(directory) = directory {
            let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            created.with_context(|| format!("cannot create the data directory {}", directory.display()))?;
            (directory, None)
        } else {
            let temporary = tempfile::Builder::new()
                .prefix("keyway-dev-")
                .permissions(fs::Permissions::from_mode(0o700))
                .tempdir()?;
            (temporary.path().to_owned(), Some(temporary))
        };
        let directory = directory.canonicalize()?;
        check_owner(&directory)?;
        for companion in ["-wal", "-shm", "-journal"] {
            is_own(&directory.join(format!("{DATABASE}{companion}")))?; // SQLite follows links
        }
        let database = directory.join(DATABASE);
        let (has_key, has_database) = (is_own(&directory.join(API_KEY))?, is_own(&database)?);
        if !has_key && !has_database {
            write_private(&database, b"")?; // else the store would warn that its database is a new one
        }
        let admin = admin(&directory)?;
        server_certificate(&directory, address.ip())?;
        Ok(Self { directory, temporary, address, admin })
    }

    /// The config of the server: only an admin, keys in SQLite.
    pub(super) fn config(&self) -> Config {
        Config {
            address: self.address,
            admin: self.admin.identity(),
            tls: config::Tls {
                key: self.directory.join("server.key"),
                cert: self.directory.join("server.cert"),
                password: None,
                ca: None,
                auth: false,
                proxy: None,
            },
            api: BTreeMap::new(),
            policies: BTreeMap::new(),
            identities: BTreeMap::new(),
            cache: config::Cache::default(),
            probe: None,
            limits: config::Limits::default(),
            startup: config::Startup::Fail,
            log: config::Log::default(),
            keys: Vec::new(),
            protect: Vec::new(),
            trash: None,
            keystore: backends::BackendConfig::Sqlite { path: self.directory.join(DATABASE) },
            included: Vec::new(),
            warnings: Vec::new(),
            source: config::Source::default(),
        }
    }

    /// Prints how to connect to the server, ready to paste.
    #[expect(clippy::print_stdout, reason = "the command's output")]
    pub(super) fn print(&self, address: SocketAddr, as_kes: bool) {
        let host = if address.ip().is_unspecified() { SocketAddr::new(ADDRESS.ip(), address.port()) } else { address };
        let directory = self.directory.display();
        let retention = match &self.temporary {
            Some(_) => "deleted when the server stops; use --data DIR to keep them",
            None => "kept",
        };
        println!(
            "\nKeyway {version}, a development server on https://{host}\n\
             Keys: {directory}/{DATABASE} ({retention})\n\
             Admin identity: {identity}\n{api_key_line}\
             \n\
             To connect with a KES client or with keyway (keyway key create my-key):\n\
             \n    export KES_SERVER=https://{host}\
             \n    export KES_API_KEY={api_key}\
             \n    export KEYWAY_CA={directory}/server.cert\n\
             \n\
             To create a first key with curl:\n\
             \n    curl --cacert {directory}/server.cert --cert {directory}/admin.cert --key {directory}/admin.key \
             -X PUT https://{host}/v1/key/create/my-first-key\n",
            version = crate::VERSION,
            identity = self.admin.identity(),
            // As KES prints it, for scripts.
            api_key_line =
                if as_kes { format!("API Key    {}\n", self.admin.to_text().as_str()) } else { String::new() },
            api_key = self.admin.to_text().as_str(),
        );
    }
}

/// The admin's API key from an earlier start, or a new one.
fn admin(directory: &Path) -> anyhow::Result<ApiKey> {
    let file = directory.join(API_KEY);
    if is_own(&file)? {
        let text = zeroize::Zeroizing::new(fs::read_to_string(&file)?);
        return ApiKey::parse(text.trim()).with_context(|| {
            format!("{} does not contain a valid API key; delete it to create a new one", file.display())
        });
    }
    let admin = ApiKey::generate()?;
    write_private(&directory.join("admin.key"), admin.key_pem().as_bytes())?;
    write_private(&directory.join("admin.cert"), admin.certificate_pem().as_bytes())?;
    write_private(&file, format!("{}\n", admin.to_text().as_str()).as_bytes())?;
    Ok(admin)
}

/// Creates the server's certificate, unless there is a valid one for this address.
fn server_certificate(directory: &Path, ip: IpAddr) -> anyhow::Result<()> {
    let (key_file, cert_file) = (directory.join("server.key"), directory.join("server.cert"));
    if is_own(&key_file)? && is_own(&cert_file)? && fs::read(&cert_file).is_ok_and(|pem| covers(&pem, ip)) {
        return Ok(());
    }
    let mut names = vec!["localhost".to_owned()];
    names.extend(rustix::system::uname().nodename().to_str().ok().map(str::to_owned));
    let mut params = CertificateParams::new(names)?;
    let loopback: [IpAddr; 2] = [std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()];
    params.subject_alt_names.extend(loopback.map(SanType::IpAddress));
    if !ip.is_unspecified() && !loopback.contains(&ip) {
        params.subject_alt_names.push(SanType::IpAddress(ip));
    }
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "keyway development server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write_private(&key_file, key.serialize_pem().as_bytes())?;
    write_private(&cert_file, certificate.pem().as_bytes())
}

/// Whether a certificate is valid now, and for this address.
fn covers(pem: &[u8], ip: IpAddr) -> bool {
    let octets = match ip {
        _ if ip.is_unspecified() => return true,
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pem) else { return false };
    let Ok(certificate) = pem.parse_x509() else { return false };
    let names = certificate.subject_alternative_name().ok().flatten();
    certificate.validity().is_valid()
        && names.is_some_and(|names| names.value.general_names.contains(&GeneralName::IPAddress(&octets)))
}

/// Refuses a directory in which others can put files, or replace ours.
fn check_owner(directory: &Path) -> anyhow::Result<()> {
    let (found, path) = (fs::metadata(directory)?, directory.display());
    let (owner, own) = (found.uid(), geteuid().as_raw());
    anyhow::ensure!(owner == own, "{path} belongs to another user ({owner}, not {own}); use a directory of your own");
    anyhow::ensure!(
        found.mode() & 0o002 == 0,
        "{path} is writable by everyone; use a directory that is not (chmod o-w)"
    );
    Ok(())
}

/// Whether the file exists.
///
/// # Errors
/// If it is not a file of this user alone: a link could lead elsewhere, and another user could read what is written.
fn is_own(file: &Path) -> anyhow::Result<bool> {
    match fs::symlink_metadata(file) {
        Ok(found) => check_own(file, &found).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Refuses links, and files of other users.
fn check_own(file: &Path, found: &fs::Metadata) -> anyhow::Result<()> {
    let file = file.display();
    anyhow::ensure!(found.is_file(), "{file} is not a regular file but a link or something else; remove it");
    anyhow::ensure!(found.nlink() == 1, "{file} has another name (a hard link); remove it");
    anyhow::ensure!(found.uid() == geteuid().as_raw(), "{file} belongs to another user; remove it");
    Ok(())
}

/// Writes a file that is readable only by its owner. Never through a link, nor into a file of another user.
fn write_private(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    is_own(file)?;
    let open = || {
        let no_links = OFlags::NOFOLLOW.bits().cast_signed(); // one may have been created just now
        let mut open = fs::OpenOptions::new();
        open.write(true).create(true).mode(0o600).custom_flags(no_links).open(file)
    };
    let mut opened = open().with_context(|| format!("cannot write {}", file.display()))?;
    check_own(file, &opened.metadata()?)?;
    let mut write = || -> std::io::Result<()> {
        let file = &mut opened;
        file.set_len(0)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}
