//! The options of every command that sends requests to a server.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use super::terminal::{self, output};
use crate::client::settings::{Overrides, Trust};
use crate::client::{Client, ClientError, Settings};

/// Which server to use, and how to verify its certificate.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection (see also the environment variables in the main help)")]
pub(super) struct Connection {
    /// Server to connect to, overriding `KES_SERVER`; several, separated by commas, are tried in order.
    #[arg(short, long, value_name = "URL")]
    server: Option<String>,
    /// PEM file with the server's CA certificate, or with the server's own certificate.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Do not verify the server's certificate (testing only).
    #[arg(short = 'k', long, conflicts_with = "ca")]
    insecure: bool,
}

impl Connection {
    /// A client with these options and the environment variables. Warns about questionable credentials.
    #[expect(clippy::print_stderr, reason = "warnings belong on standard error")]
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let trust = match &self.ca {
            _ if self.insecure => Some(Trust::Insecure),
            ca => ca.clone().map(Trust::File),
        };
        let overrides = Overrides { server: self.server.as_deref(), trust, ..Overrides::default() };
        let settings = Settings::read(&overrides, &terminal::prompt_secret).map_err(ClientError::from)?;
        for warning in settings.credentials.iter().flat_map(|credentials| &credentials.warnings) {
            eprintln!("warning: {}", output::printable(warning));
        }
        Ok(Client::new(settings)?)
    }

    /// Runs a command with a client.
    pub(super) fn with_client<T>(&self, command: impl AsyncFnOnce(&Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let client = self.client()?;
        block_on(command(&client))
    }
}

/// The options of every command that prints the response of a server. A command describes its JSON with
/// `mut_arg("json", ...)`.
#[derive(Debug, clap::Args)]
pub(super) struct Query {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Query {
    /// Runs a command with a client and the output that its result goes to.
    pub(super) fn run(
        &self,
        command: impl AsyncFnOnce(&Client, &mut output::Output) -> anyhow::Result<ExitCode>,
    ) -> anyhow::Result<ExitCode> {
        let mut output = self.output();
        self.connection.with_client(async |client| command(client, &mut output).await)
    }

    /// The output that the result goes to.
    pub(super) fn output(&self) -> output::Output {
        output::Output::new(self.json)
    }

    /// The connection, for a command that does not always need one.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Runs a command that waits for a server.
pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
