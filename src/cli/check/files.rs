//! The files that a config names: whether they can be read, and whether others can read secrets in them. The
//! certificate and the CAs of the server are checked by `tls`.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use backends::path::parent;
use backends::{FileKind, Name, NamedFile};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::key_of;
use super::report::Report;
use crate::config::Config;
use crate::tls::certificates::load_certificates;
use crate::tls::pair::certified_key;
use crate::tls::private_key::{PrivateKeyProblem, load};
use crate::tls::{pem_file, provider};

/// The permissions of the group and of all others to read or write.
const OTHERS: u32 = 0o066;

/// What is wrong at a path, and what to do.
enum Finding {
    Error(String),
    Warning(String),
}

use Finding::{Error, Warning};

/// Checks the files of the keystore, and the permissions of the server's private key.
pub(super) fn check(config: &Config, report: &mut Report) {
    if let Some(text) = loose_private_key(&config.tls.key) {
        report.warn(config, "tls.key", &text);
    }
    let files = config.keystore.files();
    let mut add = |key: &str, finding: Finding| match finding {
        Error(text) => report.error(config, &key_of(config, key), &text),
        Warning(text) => report.warn(config, &key_of(config, key), &text),
    };
    for file in &files {
        for finding in find(file) {
            add(file.key, finding);
        }
    }
    let of_kind = |kind| files.iter().find(|file| file.kind == kind);
    if let (Some(certificate), Some(key)) = (of_kind(FileKind::Certificate), of_kind(FileKind::PrivateKey))
        && let Some(finding) = mismatch(certificate, key)
    {
        add(key.key, finding);
    }
}

/// What is wrong with a file.
fn find(file: &NamedFile) -> Vec<Finding> {
    let path = file.path.as_path();
    let problem = match file.kind {
        FileKind::Authorities | FileKind::Certificate => load_certificates(path).err().map(|error| error.to_string()),
        FileKind::PrivateKey => private_key(path),
        FileKind::Credential | FileKind::ServiceAccountToken => credential(path),
        FileKind::KeyDirectory => return directory(path),
        FileKind::Database => return database(path),
    };
    let permissions = match file.kind {
        FileKind::PrivateKey => loose_private_key(path),
        FileKind::Credential => loose(path),
        // Not secret, or with permissions that the operator does not decide.
        FileKind::Authorities
        | FileKind::Certificate
        | FileKind::ServiceAccountToken
        | FileKind::KeyDirectory
        | FileKind::Database => None,
    };
    problem.map(Error).into_iter().chain(permissions.map(Warning)).collect()
}

/// The problem of a private key that the keystore needs.
fn private_key(path: &Path) -> Option<String> {
    let error = load(path, None).err()?;
    Some(match error.problem {
        PrivateKeyProblem::NoPassword => {
            let path = path.display();
            format!("{path}: the private key is encrypted, which is not supported here; decrypt it with openssl pkey")
        }
        _ => error.to_string(),
    })
}

/// The problem of a client certificate and its key, if both are valid by themselves.
fn mismatch(certificate: &NamedFile, key: &NamedFile) -> Option<Finding> {
    let (chain, loaded) = (load_certificates(&certificate.path).ok()?, load(&key.path, None).ok()?);
    let problem = certified_key(chain, loaded, &provider()).err()?;
    let (certificate, key) = (certificate.path.display(), key.path.display());
    Some(Error(format!("{key}, with the certificate {certificate}: {problem}; configure files that belong together")))
}

/// The problem of a file with a token or a secret ID.
fn credential(path: &Path) -> Option<String> {
    let problem = match pem_file::read_bytes(path) {
        Ok(bytes) if std::str::from_utf8(&bytes).is_ok_and(|text| !text.trim().is_empty()) => return None,
        Ok(_) => "the file is empty or not text; write the credential to it".to_owned(),
        Err(problem) => problem.to_string(),
    };
    Some(format!("{}: {problem}", path.display()))
}

/// What is wrong with a directory of keys.
fn directory(path: &Path) -> Vec<Finding> {
    match existing(path) {
        Err(finding) => vec![finding],
        Ok(metadata) if !metadata.is_dir() => {
            vec![Error(format!("{} is not a directory; configure the path of a directory", path.display()))]
        }
        Ok(_) => {
            let read = denied(path, Access::READ_OK | Access::EXEC_OK).map(Error);
            // A server starts on it, as on a mount that is read-only.
            let write =
                || denied(path, Access::WRITE_OK).map(|text| Warning(format!("{text}, or keys can only be used")));
            read.or_else(write)
                .into_iter()
                .chain(loose(path).map(Warning))
                .chain(loose_keys(path).map(Warning))
                .collect()
        }
    }
}

/// What is wrong with the file of a database.
fn database(path: &Path) -> Vec<Finding> {
    match existing(path) {
        Err(finding) => vec![finding],
        Ok(metadata) if !metadata.is_file() => {
            vec![Error(format!("{} is not a regular file; configure the path of a file", path.display()))]
        }
        Ok(_) => {
            // The log of the database is created next to it.
            let access = denied(path, Access::READ_OK | Access::WRITE_OK)
                .or_else(|| denied(parent(path), Access::WRITE_OK | Access::EXEC_OK));
            access.map(Error).into_iter().chain(loose(path).map(Warning)).collect()
        }
    }
}

/// The metadata of what the server creates when it is absent, or what that means.
fn existing(path: &Path) -> Result<Metadata, Finding> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata),
        Err(_) if path.is_symlink() => Err(Error(format!(
            "{shown} is a symbolic link to something that does not exist or cannot be accessed; configure another path, \
             or repair the link"
        ))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Err(absent(path)),
        Err(error) => {
            let remedy = "check the path, and give the user that runs the server access to it";
            Err(Error(format!("{shown} cannot be accessed: {error}; {remedy}")))
        }
    }
}

/// What it means that a directory or database does not exist. The server creates it, with its parents.
fn absent(path: &Path) -> Finding {
    let shown = path.display();
    let mut above = parent(path);
    while fs::symlink_metadata(above).is_err() && parent(above) != above {
        above = parent(above);
    }
    if !above.is_dir() {
        let above = above.display();
        return Error(format!("{shown} cannot be created: {above} is not a directory; configure another path"));
    }
    match denied(above, Access::WRITE_OK | Access::EXEC_OK) {
        Some(reason) => Error(format!("{shown} does not exist and cannot be created: {reason}")),
        None => Warning(format!(
            "{shown} does not exist yet; the server creates it, without keys; if it should already contain keys, check \
             the path, and that its volume is mounted"
        )),
    }
}

/// Why the user of this process cannot use a path in this way.
fn denied(path: &Path, access: Access) -> Option<String> {
    let error = accessat(CWD, path, access, AtFlags::EACCESS).err()?;
    let way = if access.contains(Access::READ_OK) { "read and written" } else { "written" };
    let (path, error) = (path.display(), std::io::Error::from(error));
    Some(format!("{path} cannot be {way} by this user: {error}; give the user that runs the server access to it"))
}

/// The warning about a secret that other users can read or change.
fn loose(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let who = if mode & 0o006 == 0 { "its group" } else { "all users" };
    let what = match (mode & 0o044, mode & 0o022) {
        (0, 0) => return None,
        (_, 0) => "read",
        (0, _) => "changed",
        (_, _) => "read and changed",
    };
    let path = path.display();
    Some(format!("{path} can be {what} by {who} (mode {mode:04o}); run: chmod go-rwx {path}"))
}

/// The same for a file that should contain a private key; none if it is a readable file of something else.
fn loose_private_key(path: &Path) -> Option<String> {
    let is_private_key = |section: &pem::Pem| section.tag().ends_with("PRIVATE KEY");
    let has_none = pem_file::read(path).is_ok_and(|sections| !sections.iter().any(is_private_key));
    if has_none { None } else { loose(path) }
}

/// The warning about files in a directory of keys.
fn loose_keys(directory: &Path) -> Option<String> {
    let is_loose = |entry: &fs::DirEntry| {
        let is_key = entry.file_name().to_str().is_some_and(|name| Name::parse(name).is_ok());
        is_key && fs::metadata(entry.path()).is_ok_and(|it| it.is_file() && it.permissions().mode() & OTHERS != 0)
    };
    let mut names: Vec<_> = fs::read_dir(directory).ok()?.flatten().filter(is_loose).map(|it| it.file_name()).collect();
    names.sort();
    let (first, directory) = (names.first()?.display(), directory.display());
    let files = match names.len() {
        1 => format!("the key file {first}"),
        count => format!("{count} key files, such as {first},"),
    };
    Some(format!("{directory}: {files} can be read or changed by other users; run: chmod go-rwx {directory}/*"))
}
