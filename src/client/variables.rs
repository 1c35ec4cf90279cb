//! The environment variables of clients: those of KES, which existing scripts set, and Keyway's own.

use std::env::VarError;

/// Server endpoints, separated by commas.
pub const SERVER: &str = "KES_SERVER";
/// An API key, one of the two kinds of credentials.
pub const API_KEY: &str = "KES_API_KEY";
/// A file with a private key; together with [`CLIENT_CERT`], the other kind.
pub const CLIENT_KEY: &str = "KES_CLIENT_KEY";
/// A file with the certificate of [`CLIENT_KEY`].
pub const CLIENT_CERT: &str = "KES_CLIENT_CERT";
/// The password of an encrypted [`CLIENT_KEY`]. KES has no such variable and always prompts.
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
