//! The options of every command that asks a server.

use std::future::Future;
use std::path::PathBuf;

use super::terminal::{self, output};
use crate::client::settings::{Overrides, Trust};
use crate::client::{Client, ClientError, Settings};

/// Whom to ask, and whether to believe that it is the one.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection, besides the variables that the main help lists")]
pub(super) struct Connection {
    /// Ask this server instead of that of the environment; several, separated by commas, are tried in turn.
    #[arg(short, long, value_name = "URL")]
    server: Option<String>,
    /// PEM file with the CA of the server's certificate, or with that certificate itself.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Believe whatever certificate the server has: for tests.
    #[arg(short = 'k', long, conflicts_with = "ca")]
    insecure: bool,
}

impl Connection {
    /// A client with these options and the variables. What is doubtful about them is told.
    #[expect(clippy::print_stderr, reason = "warnings belong on standard error")]
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let trust = match &self.ca {
            _ if self.insecure => Some(Trust::Anything),
            ca => ca.clone().map(Trust::File),
        };
        let settings = Settings::read(
            &Overrides { server: self.server.as_deref(), trust, ..Overrides::default() },
            &terminal::ask_secret,
        )
        .map_err(ClientError::from)?;
        for warning in settings.credentials.iter().flat_map(|credentials| &credentials.warnings) {
            eprintln!("warning: {}", output::printable(warning));
        }
        Ok(Client::new(settings)?)
    }
}

/// Runs a command that waits for a server.
pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
