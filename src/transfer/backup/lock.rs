//! What a backup is encrypted to and decrypted with: age recipients and identities (X25519), or a passphrase (scrypt).

use std::fmt;
use std::io::Read;
use std::iter;

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, EncryptError, Encryptor, IdentityFile};
use backends::Secret;

/// The scrypt work factor for a passphrase, N = 2^18: one or two seconds, and 256 MiB. Fixed, so that it does not
/// depend on the load of the machine.
const SCRYPT_COST: u8 = 18;

/// The highest work factor that is accepted: another program may have used a higher one. 2^22 takes 4 GiB.
const SCRYPT_COST_MAX: u8 = 22;

/// What a backup is encrypted to.
pub enum Lock {
    /// Public keys; the secret key of any one of them decrypts it.
    Recipients(Vec<age::x25519::Recipient>),
    /// A passphrase.
    Passphrase(Secret),
}

/// What a backup is decrypted with.
pub enum Key {
    /// Secret keys; those that do not match are skipped.
    Identities(Vec<Box<dyn age::Identity + Send + Sync>>),
    /// A passphrase.
    Passphrase(Secret),
}

/// Why a text is not a list of recipients or identities. Quotes nothing that may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLock {
    /// It is not a recipient.
    #[error("'{0}' is not a valid age recipient; use the public key printed by age-keygen, which begins with age1")]
    Recipient(String),
    /// It is a secret key.
    #[error("a recipient is a public key, but this is a secret key; `age-keygen -y` prints its public key")]
    SecretKey,
    /// The file has no recipients.
    #[error("it contains no recipients; add one age1... per line")]
    NoRecipient,
    /// The file has no identities.
    #[error("it contains no identities; use a file created by age-keygen, with a line AGE-SECRET-KEY-1...")]
    NoIdentity,
    /// The file has something else.
    #[error("it contains something other than age identities (AGE-SECRET-KEY-1...); other key types are not supported")]
    Identity,
}

/// Why a file cannot be decrypted.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It is not an age file.
    #[error("it is not an age file, or its header is damaged; check the path, or use another copy")]
    NotAge,
    /// It needs a passphrase, not an identity.
    #[error("it is encrypted with a passphrase; use --passphrase or --passphrase-file instead of --identity")]
    NeedsPassphrase,
    /// It needs an identity, not a passphrase.
    #[error("it is encrypted to recipients; use --identity instead of a passphrase")]
    NeedsIdentity,
    /// No identity matches.
    #[error("none of the identities matches, or its header is damaged; use the secret key of one of its recipients")]
    NoMatch,
    /// The passphrase is wrong.
    #[error(
        "the passphrase is wrong, or its header is damaged; use the passphrase it was created with, or another copy"
    )]
    WrongPassphrase,
    /// The header was modified.
    #[error("its header was modified; use another copy")]
    Altered,
    /// The scrypt work factor is too high.
    #[error(
        "its scrypt work factor exceeds the limit of this release (2^{SCRYPT_COST_MAX}); check that this is your backup"
    )]
    TooCostly,
    /// Reading the file failed.
    #[error("it cannot be read: {0}")]
    Read(std::io::Error),
}

/// Parses a recipient.
///
/// # Errors
/// [`InvalidLock`]
pub fn recipient(text: &str) -> Result<age::x25519::Recipient, InvalidLock> {
    if text.trim().to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return Err(InvalidLock::SecretKey);
    }
    // Only text that begins like a recipient is quoted: anything else may be a misplaced passphrase.
    let shown = if text.trim().starts_with("age1") { text.trim() } else { "..." };
    text.trim().parse().map_err(|_| InvalidLock::Recipient(shown.escape_debug().to_string()))
}

/// Parses a file of recipients: one per line, `#` begins a comment.
///
/// # Errors
/// [`InvalidLock`]
pub fn recipients(text: &str) -> Result<Vec<age::x25519::Recipient>, InvalidLock> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let recipients = lines.map(recipient).collect::<Result<Vec<_>, _>>()?;
    if recipients.is_empty() { Err(InvalidLock::NoRecipient) } else { Ok(recipients) }
}

/// Parses a file of identities, as created by `age-keygen`.
///
/// # Errors
/// [`InvalidLock`]
pub fn identities(text: &str) -> Result<Vec<Box<dyn age::Identity + Send + Sync>>, InvalidLock> {
    let identities = IdentityFile::from_buffer(text.as_bytes())
        .and_then(|file| file.into_identities().map_err(|error| std::io::Error::other(error.to_string())));
    let identities = identities.map_err(|_| InvalidLock::Identity)?;
    if identities.is_empty() { Err(InvalidLock::NoIdentity) } else { Ok(identities) }
}

impl Lock {
    /// An encryptor. With a passphrase this takes about a second of CPU time.
    ///
    /// # Errors
    /// Those of the age crate.
    pub fn encryptor(&self) -> Result<Encryptor, EncryptError> {
        match self {
            Self::Recipients(recipients) => {
                Encryptor::with_recipients(recipients.iter().map(|recipient| recipient as &dyn age::Recipient))
            }
            Self::Passphrase(passphrase) => {
                let mut recipient = age::scrypt::Recipient::new(secret(passphrase));
                recipient.set_work_factor(SCRYPT_COST);
                Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient))
            }
        }
    }
}

impl Key {
    /// A decrypting reader of an age file; each chunk is authenticated before it is returned.
    ///
    /// # Errors
    /// [`LockError`]
    pub fn open<R: Read>(&self, input: R) -> Result<impl Read + use<R>, LockError> {
        let decryptor = Decryptor::new(input).map_err(|error| lock_error(error, None))?;
        let opened = match (self, decryptor.is_scrypt()) {
            (Self::Identities(_), true) => return Err(LockError::NeedsPassphrase),
            (Self::Passphrase(_), false) => return Err(LockError::NeedsIdentity),
            (Self::Identities(identities), false) => {
                decryptor.decrypt(identities.iter().map(|identity| &**identity as &dyn age::Identity))
            }
            (Self::Passphrase(passphrase), true) => {
                let mut identity = age::scrypt::Identity::new(secret(passphrase));
                identity.set_max_work_factor(SCRYPT_COST_MAX);
                decryptor.decrypt(iter::once(&identity as &dyn age::Identity))
            }
        };
        opened.map_err(|error| lock_error(error, Some(self)))
    }
}

fn lock_error(error: DecryptError, key: Option<&Key>) -> LockError {
    match (error, key) {
        (DecryptError::Io(error), None) if error.kind() == std::io::ErrorKind::UnexpectedEof => LockError::NotAge,
        (DecryptError::Io(error), _) => LockError::Read(error),
        (DecryptError::ExcessiveWork { .. }, _) => LockError::TooCostly,
        (DecryptError::InvalidMac, _) => LockError::Altered,
        (_, None) => LockError::NotAge,
        (_, Some(Key::Identities(_))) => LockError::NoMatch,
        (_, Some(Key::Passphrase(_))) => LockError::WrongPassphrase,
    }
}

fn secret(passphrase: &Secret) -> SecretString {
    SecretString::from(passphrase.expose())
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recipients(recipients) => write!(f, "Lock({} recipients)", recipients.len()),
            Self::Passphrase(_) => f.write_str("Lock(passphrase)"),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identities(identities) => write!(f, "Key({} identities)", identities.len()),
            Self::Passphrase(_) => f.write_str("Key(passphrase)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn recipients_are_parsed_with_comments_and_secret_keys_are_rejected() {
        let identity = age::x25519::Identity::generate();
        let public = identity.to_public().to_string();
        assert_eq!(recipients(&format!("# ops\n\n{public}\n {public} \n")).unwrap().len(), 2);
        assert_eq!(recipients("# nobody\n").map(|_| ()), Err(InvalidLock::NoRecipient));
        assert_eq!(recipient("age1xyz").map(|_| ()), Err(InvalidLock::Recipient("age1xyz".to_owned())));
        let error = recipient(identity.to_string().expose_secret()).map(|_| ()).unwrap_err();
        assert_eq!(error, InvalidLock::SecretKey);
    }

    #[test]
    fn identities_are_parsed_and_other_text_is_rejected() {
        let identity = age::x25519::Identity::generate();
        let text = format!("# created: today\n{}\n", identity.to_string().expose_secret());
        assert_eq!(identities(&text).unwrap().len(), 1);
        assert_eq!(identities("# nothing\n").map(|_| ()), Err(InvalidLock::NoIdentity));
        assert_eq!(identities("hunter2\n").map(|_| ()), Err(InvalidLock::Identity));
    }
}
