//! The environment variables of clients: those of KES, which existing scripts set, and Keyway's own.

use std::env::VarError;

/// The variables of one setting. KES and MinIO renamed them over the years; the first one that is set is used.
pub type Names = &'static [&'static str];

/// Server endpoints, separated by commas.
pub const SERVER: Names = &["KES_SERVER", "MINIO_KES_SERVER", "MINIO_KMS_KES_ENDPOINT"];
/// An API key, one of the two kinds of credentials.
pub const API_KEYS: Names = &[API_KEY, "MINIO_KES_API_KEY", "MINIO_KMS_KES_API_KEY"];
/// A file with an API key, in place of the key itself. KES has no such variable.
pub const API_KEY_FILE: &str = "KES_API_KEY_FILE";
/// A file with a private key; together with [`CLIENT_CERTS`], the other kind.
pub const CLIENT_KEYS: Names = &[CLIENT_KEY, "MINIO_KES_CLIENT_KEY", "MINIO_KES_KEY_FILE", "KES_CLIENT_TLS_KEY_FILE"];
/// A file with the certificate of [`CLIENT_KEYS`].
pub const CLIENT_CERTS: Names =
    &[CLIENT_CERT, "MINIO_KES_CLIENT_CERT", "MINIO_KES_CERT_FILE", "KES_CLIENT_TLS_CERT_FILE"];
/// The name of [`API_KEYS`] in messages.
pub const API_KEY: &str = "KES_API_KEY";
/// The name of [`CLIENT_KEYS`] in messages.
pub const CLIENT_KEY: &str = "KES_CLIENT_KEY";
/// The name of [`CLIENT_CERTS`] in messages.
pub const CLIENT_CERT: &str = "KES_CLIENT_CERT";
/// The password of an encrypted private key. KES has no such variable and always prompts.
pub const KEY_PASSWORD: &str = "KEYWAY_CLIENT_KEY_PASSWORD";
/// A file with that password.
pub const KEY_PASSWORD_FILE: &str = "KEYWAY_CLIENT_KEY_PASSWORD_FILE";
/// A file with the server's CA certificates. KES has no such variable.
pub const CA: &str = "KEYWAY_CA";

/// A variable that is not valid UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0} is not valid UTF-8")]
pub struct NotUtf8(&'static str);

/// The value of a variable; an empty one counts as unset.
///
/// # Errors
/// [`NotUtf8`]
pub fn variable(name: &'static str) -> Result<Option<String>, NotUtf8> {
    match std::env::var(name) {
        Ok(value) if value.trim().is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(NotUtf8(name)),
    }
}

/// The value of the first of several variables that is set.
///
/// # Errors
/// [`NotUtf8`]
pub fn first_of(names: Names) -> Result<Option<String>, NotUtf8> {
    Ok(first_named(names)?.map(|(_, value)| value))
}

/// The same with its name.
///
/// # Errors
/// [`NotUtf8`]
pub fn first_named(names: Names) -> Result<Option<(&'static str, String)>, NotUtf8> {
    names.iter().find_map(|name| variable(name).map(|value| Some((*name, value?))).transpose()).transpose()
}
