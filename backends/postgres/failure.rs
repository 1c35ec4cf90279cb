//! What can go wrong between the gateway and the server, and the only function that turns it into a [`StoreError`].
//!
//! Of an error of the server only the code and the message are kept: its details may quote the row, and so a key.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::StoreError;

/// SQLSTATE codes. Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
mod code {
    pub(super) const READ_ONLY_TRANSACTION: &str = "25006";
    pub(super) const INVALID_AUTHORIZATION: &str = "28000";
    pub(super) const INVALID_PASSWORD: &str = "28P01";
    pub(super) const INVALID_CATALOG: &str = "3D000";
    pub(super) const INVALID_SCHEMA: &str = "3F000";
    pub(super) const INSUFFICIENT_PRIVILEGE: &str = "42501";
    pub(super) const UNDEFINED_COLUMN: &str = "42703";
    pub(super) const UNDEFINED_TABLE: &str = "42P01";
    pub(super) const DISK_FULL: &str = "53100";
    pub(super) const TOO_MANY_CONNECTIONS: &str = "53300";
    pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
    pub(super) const QUERY_CANCELED: &str = "57014";
    pub(super) const CANNOT_CONNECT_NOW: &str = "57P03";
    pub(super) const PROTOCOL_VIOLATION: &str = "08P01";
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection was free in time.
    Busy(Duration),
    /// The store was closed.
    Closed,
    /// The server, or the network in between, does not respond.
    ConnectTimeout(Duration),
    /// The connection could not be established; no request was sent.
    Connect(sqlx::Error),
    /// Connected, but there was no response.
    Timeout(Duration),
    /// Connected, but the response was an error, or the connection was lost.
    Query(sqlx::Error),
    /// The server is a standby: it may not have the newest keys.
    Standby,
}

impl Failure {
    /// Whether the connection is at fault and not the request: another connection may work.
    pub(super) fn is_lost_connection(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::Query(error) => match server_code(error) {
                // Class 08: the connection. 57P01 to 57P05: the server ends its sessions.
                Some(code) => code.starts_with("08") || code.starts_with("57P"),
                None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_)),
            },
            _ => false,
        }
    }

    /// The SQLSTATE code of the server's response, if there was one.
    pub(super) fn code(&self) -> Option<String> {
        match self {
            Self::Connect(error) | Self::Query(error) => server_code(error),
            _ => None,
        }
    }

    /// Whether there was no response, so that the failure is [`StoreError::Unreachable`].
    fn is_unreachable(&self) -> bool {
        match self {
            Self::ConnectTimeout(_) | Self::Timeout(_) => true,
            // The driver reports a failed TLS handshake as invalid data: there was a response.
            Self::Connect(sqlx::Error::Io(error)) | Self::Query(sqlx::Error::Io(error)) => {
                error.kind() != io::ErrorKind::InvalidData
            }
            _ => false,
        }
    }

    fn advice(&self, schema: &str) -> String {
        let error = match self {
            Self::Connect(error) | Self::Query(error) => error,
            Self::Busy(_) => return "raise connections, or check why the server is slow".to_owned(),
            Self::Closed => return "it was closed because the gateway is stopping".to_owned(),
            Self::Standby => return "configure the address of the primary, or promote the server".to_owned(),
            Self::ConnectTimeout(_) | Self::Timeout(_) => {
                return "check that the server is running and that no firewall is in between".to_owned();
            }
        };
        if let sqlx::Error::Io(error) = error {
            return match error.kind() {
                io::ErrorKind::InvalidData => {
                    "check that 'ca' contains the authority that signed the server's certificate, and that the \
                     certificate is valid for the host in the config"
                        .to_owned()
                }
                _ => "check that the server is running and that the address is correct".to_owned(),
            };
        }
        if let sqlx::Error::Tls(_) = error {
            return "enable TLS on the server (ssl = on), or set sslmode: disable if the network is trusted".to_owned();
        }
        match server_code(error).as_deref() {
            Some(code::INVALID_PASSWORD | code::INVALID_AUTHORIZATION) => {
                "check user and password in the config, and pg_hba.conf on the server".to_owned()
            }
            Some(code::INVALID_CATALOG) => {
                "configure another database, or create this one with CREATE DATABASE".to_owned()
            }
            Some(code::INSUFFICIENT_PRIVILEGE) => format!(
                "run as the owner, for the gateway's role: GRANT USAGE ON SCHEMA \"{schema}\" TO ...; GRANT SELECT, \
                 INSERT, DELETE ON \"{schema}\".keys TO ..."
            ),
            Some(code::UNDEFINED_TABLE | code::INVALID_SCHEMA | code::UNDEFINED_COLUMN) => format!(
                "the table \"{schema}\".keys existed when the gateway started; restore it from a backup, or restart \
                 the gateway if this was intended"
            ),
            Some(code::READ_ONLY_TRANSACTION) => {
                "configure the address of the primary, or end the server's read-only mode".to_owned()
            }
            Some(code::TOO_MANY_CONNECTIONS) => {
                "raise max_connections on the server, or lower connections in the config".to_owned()
            }
            Some(code::DISK_FULL) => "free some disk space on the server".to_owned(),
            Some(code::LOCK_NOT_AVAILABLE | code::QUERY_CANCELED) => {
                format!("find out in pg_locks and pg_stat_activity which session locks \"{schema}\".keys")
            }
            Some(code::CANNOT_CONNECT_NOW) => "wait until the server has started".to_owned(),
            Some(code::PROTOCOL_VIOLATION) => "check the log of the pooler in between".to_owned(),
            _ => "check the server's log".to_owned(),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Query(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(waited) => write!(f, "all connections were busy for {waited:?}"),
            Self::Closed => f.write_str("it is closed"),
            Self::ConnectTimeout(waited) => write!(f, "no connection within {waited:?}"),
            Self::Timeout(waited) => write!(f, "no response within {waited:?}"),
            Self::Standby => f.write_str("the server is a standby, which may not have the newest keys"),
            Self::Connect(error) | Self::Query(error) => match error.as_database_error() {
                Some(response) => write!(f, "{}", ServerError::from(response)),
                None => write!(f, "{error}"),
            },
        }
    }
}

/// An error of the server without its details.
#[derive(Debug, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
pub(super) struct ServerError {
    code: String,
    message: String,
}

impl From<&dyn sqlx::error::DatabaseError> for ServerError {
    fn from(error: &dyn sqlx::error::DatabaseError) -> Self {
        Self { code: error.code().unwrap_or_default().into_owned(), message: error.message().to_owned() }
    }
}

fn server_code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Where the keys are, for messages.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `'DATABASE' at HOST:PORT`
    pub(super) database: String,
    /// The schema.
    pub(super) schema: String,
}

impl Place {
    /// The only place where failures become errors of a store. `doing` is what failed, such as `create key 'x'`.
    pub(super) fn error(&self, doing: &str, failure: Failure) -> StoreError {
        self.error_with(doing, failure, "")
    }

    /// The same, with a remark about what may have happened.
    pub(super) fn error_with(&self, doing: &str, failure: Failure, remark: &str) -> StoreError {
        let advice = failure.advice(&self.schema);
        let reason = format!("cannot {doing} in PostgreSQL {}: {failure}; {advice}{remark}", self.database);
        let error = match &failure {
            _ if failure.is_unreachable() => StoreError::unreachable(reason),
            _ if failure.code().as_deref() == Some(code::CANNOT_CONNECT_NOW) => StoreError::not_ready(reason),
            _ => StoreError::unavailable(reason),
        };
        match failure {
            Failure::Connect(cause) | Failure::Query(cause) => match cause.as_database_error() {
                Some(response) => error.caused_by(ServerError::from(response)),
                None => error.caused_by(cause),
            },
            Failure::Busy(_)
            | Failure::Closed
            | Failure::ConnectTimeout(_)
            | Failure::Timeout(_)
            | Failure::Standby => error,
        }
    }

    /// The database is there, but not as it should be.
    pub(super) fn refused(&self, what: &str) -> StoreError {
        StoreError::unavailable(format!("the PostgreSQL database {} {what}", self.database))
    }
}
