//! Who can open a backup: age recipients (X25519), or who knows a passphrase (scrypt).

use std::fmt;
use std::io::Read;
use std::iter;

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, EncryptError, Encryptor, IdentityFile};
use backends::Secret;

/// The cost of a passphrase, N = 2^18: a second or two, and 256 MiB. It does not depend on how busy the machine is.
const SCRYPT_COST: u8 = 18;

/// The cost that is accepted: another program may have chosen a higher one. 2^22 takes 4 GiB.
const SCRYPT_COST_MAX: u8 = 22;

/// What a backup is encrypted to.
pub enum Lock {
    /// Public keys; the secret key of any one of them opens it.
    Recipients(Vec<age::x25519::Recipient>),
    /// A passphrase.
    Passphrase(Secret),
}

/// What opens a backup.
pub enum Key {
    /// Secret keys; those that do not fit are passed over.
    Identities(Vec<Box<dyn age::Identity + Send + Sync>>),
    /// A passphrase.
    Passphrase(Secret),
}

/// Why a text holds no recipients or identities. Quotes nothing of what may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLock {
    /// Not `age1...`
    #[error("'{0}' is no age recipient; one begins with age1 and is what age-keygen calls the public key")]
    Recipient(String),
    /// A secret key where a public one should be.
    #[error("this is a secret key; to encrypt, give its public key, which `age-keygen -y` shows")]
    SecretKey,
    /// A file without any.
    #[error("there is no recipient in it; write one age1... a line")]
    NoRecipient,
    /// A file without any.
    #[error("there is no identity in it; age-keygen writes such files: a line AGE-SECRET-KEY-1...")]
    NoIdentity,
    /// A line that is neither.
    #[error("it holds something else than identities of age (AGE-SECRET-KEY-1...); other kinds of keys cannot be used")]
    Identity,
}

/// Why a file does not open.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Something else.
    #[error("it is not a backup (an age file), or its beginning is damaged")]
    NotAge,
    /// The wrong kind of key.
    #[error("it is encrypted with a passphrase; give --passphrase or --passphrase-file in place of --identity")]
    NeedsPassphrase,
    /// The wrong kind of key.
    #[error("it is encrypted to recipients; give --identity in place of a passphrase")]
    NeedsIdentity,
    /// None of the keys.
    #[error("none of the identities fits, or its beginning is damaged")]
    NoMatch,
    /// The passphrase.
    #[error("the passphrase is wrong, or its beginning is damaged")]
    WrongPassphrase,
    /// The beginning was altered.
    #[error("its beginning has been altered")]
    Altered,
    /// A passphrase that would take for ever.
    #[error(
        "its passphrase asks for more work than this release does (scrypt 2^{SCRYPT_COST_MAX}); is it what you made?"
    )]
    TooCostly,
    /// The file could not be read.
    #[error("it cannot be read: {0}")]
    Read(std::io::Error),
}

/// Reads a recipient.
///
/// # Errors
/// [`InvalidLock`]
pub fn recipient(text: &str) -> Result<age::x25519::Recipient, InvalidLock> {
    if text.trim().to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return Err(InvalidLock::SecretKey);
    }
    // Only what begins like one is quoted: anything else may be a passphrase in the wrong place.
    let shown = if text.trim().starts_with("age1") { text.trim() } else { "this" };
    text.trim().parse().map_err(|_| InvalidLock::Recipient(shown.escape_debug().to_string()))
}

/// Reads a file of recipients: one a line, `#` before comments.
///
/// # Errors
/// [`InvalidLock`]
pub fn recipients(text: &str) -> Result<Vec<age::x25519::Recipient>, InvalidLock> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let recipients = lines.map(recipient).collect::<Result<Vec<_>, _>>()?;
    if recipients.is_empty() { Err(InvalidLock::NoRecipient) } else { Ok(recipients) }
}

/// Reads a file of identities, as `age-keygen` writes it.
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
    /// Makes ready to encrypt. With a passphrase, takes a second of work.
    ///
    /// # Errors
    /// age's.
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
    /// Opens an age file; what is read from it then is authentic chunk by chunk.
    ///
    /// # Errors
    /// [`LockError`]
    pub fn open<R: Read>(&self, input: R) -> Result<impl Read + use<R>, LockError> {
        let decryptor = Decryptor::new(input).map_err(|error| refused(error, None))?;
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
        opened.map_err(|error| refused(error, Some(self)))
    }
}

fn refused(error: DecryptError, key: Option<&Key>) -> LockError {
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
    fn recipients_are_read_with_comments_and_secret_keys_are_refused() {
        let identity = age::x25519::Identity::generate();
        let public = identity.to_public().to_string();
        assert_eq!(recipients(&format!("# ops\n\n{public}\n {public} \n")).unwrap().len(), 2);
        assert_eq!(recipients("# nobody\n").map(|_| ()), Err(InvalidLock::NoRecipient));
        assert_eq!(recipient("age1xyz").map(|_| ()), Err(InvalidLock::Recipient("age1xyz".to_owned())));
        let error = recipient(identity.to_string().expose_secret()).map(|_| ()).unwrap_err();
        assert_eq!(error, InvalidLock::SecretKey);
    }

    #[test]
    fn identities_are_read_and_what_is_none_is_not_repeated() {
        let identity = age::x25519::Identity::generate();
        let text = format!("# created: today\n{}\n", identity.to_string().expose_secret());
        assert_eq!(identities(&text).unwrap().len(), 1);
        assert_eq!(identities("# nothing\n").map(|_| ()), Err(InvalidLock::NoIdentity));
        assert_eq!(identities("hunter2\n").map(|_| ()), Err(InvalidLock::Identity));
    }
}
