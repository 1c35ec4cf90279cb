//! Exit codes: what scripts see of how a command ended.

use std::io;
use std::process::ExitCode;

use crate::client::ClientError;

/// It was not done.
pub(super) const FAILED: u8 = 1;
/// The command line or a variable is wrong. Nothing was tried.
pub(super) const USAGE: u8 = 2;
/// The server does not let this client do it.
pub(super) const DENIED: u8 = 3;
/// What was asked for does not exist.
pub(super) const NOT_FOUND: u8 = 4;
/// No server answered, or none that can be trusted.
pub(super) const UNREACHABLE: u8 = 5;
/// Ctrl-C, or a second signal to a server; as shells count it: 128 and the number of the signal.
pub(super) const INTERRUPTED: u8 = 130;

/// The reader of the output has left; as shells count the signal that ends other programs then.
pub(super) const BROKEN_PIPE: u8 = 141;

/// The end of the help.
pub(super) const HELP: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line or a variable is wrong
  3  not authorized
  4  a key, policy or identity does not exist
  5  no server could be reached, or none that can be trusted
  130  interrupted

Variables of the commands that ask a server:
  KES_SERVER       https://HOST:PORT; several, separated by commas, are tried in turn
                   (default https://127.0.0.1:7373)
  KES_API_KEY      who you are: an API key; or
  KES_CLIENT_KEY   a file with a private key, and
  KES_CLIENT_CERT  the file with its certificate
  KEYWAY_CLIENT_KEY_PASSWORD, KEYWAY_CLIENT_KEY_PASSWORD_FILE
                   the password of an encrypted private key; without it, a terminal is asked
  KEYWAY_CA        a file with the CA of the server's certificate, as --ca
  NO_COLOR         no colours on a terminal

Example, with a server started by keyway server --dev:
  keyway key create my-key && keyway key ls";

/// The command line is wrong in a way that its parser does not see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// Who reads the output has left, as `head` does: nobody to tell, and no success to claim.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The exit code of an error.
pub(super) fn code(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::from(BROKEN_PIPE);
    }
    let mut systems = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    if systems.any(|error| error.kind() == io::ErrorKind::Interrupted) {
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
        ClientError::Endpoints(failures) if failures.iter().any(|(_, failure)| failure.is_refused()) => DENIED,
        ClientError::Endpoints(_) => UNREACHABLE,
        ClientError::Api(failure) if failure.is_denied() => DENIED,
        ClientError::Api(failure) if failure.is_not_found() => NOT_FOUND,
        ClientError::Api(_) | ClientError::Unknown { .. } | ClientError::Malformed { .. } => FAILED,
    }
}
