//! Why an operation of a store failed, and [`chain`]: an error with its causes on one line.

use std::error::Error;

use crate::tls_failure;

/// Why an operation of a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is something under the name already; it was not changed.
    #[error("key already exists")]
    AlreadyExists,
    /// There is certainly nothing under the name.
    #[error("key does not exist")]
    NotFound,
    /// There is something under the name, but it is not a value: a directory, more than
    /// [`Value::MAX_LEN`](crate::Value::MAX_LEN) bytes.
    #[error("stored key is damaged: {reason}")]
    Damaged {
        /// What is there, where, and what to do.
        reason: String,
    },
    /// There is a value under the name that the store does not return now: it is deleted but restorable, scheduled for
    /// deletion, or created incompletely. It was not changed, and the name cannot be used until that is resolved.
    #[error("key is not available: {reason}")]
    Withheld {
        /// Why, and how to restore it.
        reason: String,
    },
    /// There was no response.
    #[error("key store is not reachable: {reason}")]
    Unreachable {
        /// What did not respond, where, and what to do.
        reason: String,
        /// The driver's error.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The store responded that it cannot serve yet: it is sealed, not initialized, or starting. Waiting helps.
    #[error("key store is unavailable: {reason}")]
    NotReady {
        /// What it waits for, and what to do.
        reason: String,
        /// The driver's error.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The store responded, but not as it should: it refused, is read-only, full, locked, or not the one it was before.
    #[error("key store is unavailable: {reason}")]
    Unavailable {
        /// What failed, where, and what to do.
        reason: String,
        /// The driver's error.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl StoreError {
    /// [`StoreError::Unreachable`] without a cause.
    pub fn unreachable(reason: impl Into<String>) -> Self {
        Self::Unreachable { reason: reason.into(), source: None }
    }

    /// [`StoreError::NotReady`] without a cause.
    pub fn not_ready(reason: impl Into<String>) -> Self {
        Self::NotReady { reason: reason.into(), source: None }
    }

    /// [`StoreError::Unavailable`] without a cause.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// The same with the driver's error as its source. Errors about one key have none.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = Some(cause.into());
        match self {
            Self::Unreachable { reason, .. } => Self::Unreachable { reason, source },
            Self::NotReady { reason, .. } => Self::NotReady { reason, source },
            Self::Unavailable { reason, .. } => Self::Unavailable { reason, source },
            about_key @ (Self::AlreadyExists | Self::NotFound | Self::Damaged { .. } | Self::Withheld { .. }) => {
                about_key
            }
        }
    }

    /// The same error for one more caller; its causes become part of the reason.
    pub(crate) fn again(&self) -> Self {
        let with_causes = |reason: &str| match self.source() {
            Some(source) if !reason.contains(&source.to_string()) => format!("{reason}: {}", chain(source)),
            _ => reason.to_owned(),
        };
        match self {
            Self::Unreachable { reason, .. } => Self::unreachable(with_causes(reason)),
            Self::NotReady { reason, .. } => Self::not_ready(with_causes(reason)),
            Self::Unavailable { reason, .. } => Self::unavailable(with_causes(reason)),
            Self::AlreadyExists | Self::NotFound | Self::Damaged { .. } | Self::Withheld { .. } => {
                Self::unavailable(self.to_string())
            }
        }
    }

    /// Whether the error is about the store and not about the key: the same operation may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotReady { .. } | Self::Unavailable { .. } => true,
            Self::AlreadyExists | Self::NotFound | Self::Damaged { .. } | Self::Withheld { .. } => false,
        }
    }

    /// Whether there was no response from the store's address.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::NotReady { .. }
            | Self::Unavailable { .. }
            | Self::AlreadyExists
            | Self::NotFound
            | Self::Damaged { .. }
            | Self::Withheld { .. } => false,
        }
    }

    /// Whether waiting helps, without a change to the config or to rights: there was no response, or the store is not
    /// ready.
    pub fn is_worth_waiting(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotReady { .. } => true,
            Self::Unavailable { .. }
            | Self::AlreadyExists
            | Self::NotFound
            | Self::Damaged { .. }
            | Self::Withheld { .. } => false,
        }
    }

    /// Whether the store to open does not exist yet, where opening it may not create it.
    pub fn is_absent_store(&self) -> bool {
        match self {
            Self::Unavailable { source, .. } => source.as_ref().is_some_and(|source| source.is::<AbsentStore>()),
            Self::Unreachable { .. }
            | Self::NotReady { .. }
            | Self::AlreadyExists
            | Self::NotFound
            | Self::Damaged { .. }
            | Self::Withheld { .. } => false,
        }
    }
}

/// The cause of [`StoreError::Unavailable`] when a store does not exist and may not be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keystore does not exist")]
pub struct AbsentStore;

/// An error and its causes on one line. A cause that the text already contains is left out, and TLS failures are in
/// plain words.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = in_words(error);
    let mut source = error.source();
    while let Some(cause) = source {
        let words = in_words(cause);
        text = text.replace(&cause.to_string(), &words);
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

fn in_words(error: &(dyn Error + 'static)) -> String {
    tls_failure::find(error).map_or_else(|| error.to_string(), tls_failure::text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_the_driver_is_the_source() {
        let disk = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = StoreError::unavailable("no space in '/keys'").caused_by(disk);
        assert_eq!(error.to_string(), "key store is unavailable: no space in '/keys'");
        assert_eq!(error.source().unwrap().to_string(), "no storage space");
        assert_eq!(chain(&error), "key store is unavailable: no space in '/keys': no storage space");
    }

    #[test]
    fn a_tls_failure_is_in_plain_words_wherever_it_is() {
        let tls = || rustls::Error::from(rustls::CertificateError::UnknownIssuer);
        let words = "the certificate is not valid (unknown issuer)";
        assert_eq!(chain(&tls()), words);
        assert_eq!(chain(&std::io::Error::other(tls())), words);
        let quoted = StoreError::unavailable(format!("cannot connect: {}", tls())).caused_by(tls());
        assert_eq!(chain(&quoted), format!("key store is unavailable: cannot connect: {words}"));
        assert_eq!(
            chain(&StoreError::unavailable("x").caused_by(std::io::Error::other(tls()))),
            format!("key store is unavailable: x: {words}")
        );
    }

    #[test]
    fn an_error_about_a_key_is_not_transient_and_has_no_cause() {
        for error in [StoreError::NotFound, StoreError::AlreadyExists] {
            assert!(!error.is_transient() && error.caused_by(AbsentStore).source().is_none());
        }
        assert!(StoreError::not_ready("sealed").is_worth_waiting() && StoreError::not_ready("sealed").is_transient());
        assert!(!StoreError::unavailable("denied").is_worth_waiting());
        assert!(StoreError::unavailable("no table").caused_by(AbsentStore).is_absent_store());
    }

    #[test]
    fn a_chain_contains_every_cause_once() {
        let inner = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(chain(&std::io::Error::other(inner)), "connection refused");
    }
}
