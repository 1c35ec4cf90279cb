//! Exit codes, for scripts.

use std::io;
use std::process::ExitCode;

use crate::client::ClientError;

/// The command failed.
pub(super) const FAILED: u8 = 1;
/// The command line or an environment variable is invalid. Nothing was attempted.
pub(super) const USAGE: u8 = 2;
/// The server denied access.
pub(super) const DENIED: u8 = 3;
/// The key, policy or identity does not exist.
pub(super) const NOT_FOUND: u8 = 4;
/// No server could be reached, or none with a trusted certificate.
pub(super) const UNREACHABLE: u8 = 5;
/// Ctrl-C, or a second signal to a server: 128 plus the signal number, as shells report it.
pub(super) const INTERRUPTED: u8 = 130;

/// The reader of the output closed the pipe: 128 plus SIGPIPE, as shells report it.
pub(super) const BROKEN_PIPE: u8 = 141;

/// What follows the options in the main help.
pub(super) const HELP: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line or an environment variable is invalid
  3  not authorized
  4  a key, policy or identity does not exist
  5  no server could be reached, or none with a trusted certificate
  130  interrupted

Environment variables of the commands that connect to a server:
  KES_SERVER       https://HOST:PORT; several, separated by commas, are tried in order
                   (default https://127.0.0.1:7373)
  KES_API_KEY      API key to authenticate with, or
  KES_API_KEY_FILE file with an API key, or
  KES_CLIENT_KEY   file with a private key, and
  KES_CLIENT_CERT  file with its certificate
  KEYWAY_CLIENT_KEY_PASSWORD, KEYWAY_CLIENT_KEY_PASSWORD_FILE
                   password of an encrypted private key, or a file with it; by default you are
                   prompted for it on the terminal
  KEYWAY_CA        file with the server's CA certificate, like --ca
  NO_COLOR         disables colored output

Example, with a server started by keyway server --dev:
  keyway key create my-key && keyway key ls";

/// The command line is invalid in a way that its parser does not detect.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// Whether the reader of the output closed the pipe, as `head` does. There is no one to report an error to.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The exit code of an error.
pub(super) fn code(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::from(BROKEN_PIPE);
    }
    let mut io_errors = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    if io_errors.any(|error| error.kind() == io::ErrorKind::Interrupted) {
        return ExitCode::from(INTERRUPTED);
    }
    ExitCode::from(match error.downcast_ref::<ClientError>() {
        Some(error) => of_client(error),
        None if error.is::<Usage>() => USAGE,
        None => FAILED,
    })
}

/// The exit code of a request that failed.
pub(super) fn of_client(error: &ClientError) -> u8 {
    match error {
        ClientError::Settings(_) => USAGE,
        ClientError::Endpoints(failures) if failures.iter().any(|(_, failure)| failure.is_rejected()) => DENIED,
        ClientError::Endpoints(_) => UNREACHABLE,
        ClientError::Api(failure) if failure.is_denied() => DENIED,
        ClientError::Api(failure) if failure.is_not_found() => NOT_FOUND,
        ClientError::Api(_) | ClientError::OutcomeUnknown { .. } | ClientError::Malformed { .. } => FAILED,
    }
}
