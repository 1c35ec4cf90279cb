//! The options of every command of KES that sends requests to a server.

use std::process::ExitCode;

use anyhow::anyhow;

use crate::cli::connection::block_on;
use crate::cli::terminal;
use crate::client::settings::{Overrides, Trust};
use crate::client::{Client, ClientError, Settings};

/// Which server to use, and as which client.
#[derive(Debug, clap::Args)]
pub(super) struct Connection {
    /// `--server` in short.
    #[arg(short, hide = true, value_name = "HOST[:PORT]")]
    s: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// The same without `-s`, which has another meaning in `kes status`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Use this server instead of that of the environment.
    #[arg(long, value_name = "HOST[:PORT]")]
    server: Option<String>,
    /// The API key to authenticate with.
    #[arg(short, long, value_name = "KEY")]
    api_key: Option<String>,
    /// Do not verify the server's certificate.
    #[arg(short = 'k', long)]
    insecure: bool,
    /// Without effect: servers have no enclaves any more.
    #[arg(short, long, hide = true)]
    enclave: Option<String>,
    /// Without effect: nothing is coloured here.
    #[arg(long, hide = true)]
    color: Option<String>,
}

impl Connection {
    /// Runs a command with a client.
    pub(super) fn with_client(
        &self,
        command: impl AsyncFnOnce(Client) -> anyhow::Result<()>,
    ) -> anyhow::Result<ExitCode> {
        run(self.options.client(self.s.as_deref())?, command)
    }
}

impl Options {
    /// Runs a command with a client.
    pub(super) fn with_client(
        &self,
        command: impl AsyncFnOnce(Client) -> anyhow::Result<()>,
    ) -> anyhow::Result<ExitCode> {
        run(self.client(None)?, command)
    }

    /// A client with these options and the environment.
    fn client(&self, server: Option<&str>) -> anyhow::Result<Client> {
        let overrides = Overrides {
            server: self.server.as_deref().or(server),
            trust: self.insecure.then_some(Trust::Insecure),
            api_key: self.api_key.as_deref(),
            api_key_wins: true,
        };
        let settings = Settings::read(&overrides, &terminal::prompt_secret).map_err(ClientError::from)?;
        if settings.credentials.is_none() {
            return Err(anyhow!("no API key specified. Consider setting MINIO_KES_API_KEY"));
        }
        Ok(Client::new(settings)?)
    }
}

fn run(client: Client, command: impl AsyncFnOnce(Client) -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    block_on(command(client))?;
    Ok(ExitCode::SUCCESS)
}

/// An error with KES's words for what failed before it.
pub(super) fn failed(what: impl std::fmt::Display) -> impl FnOnce(ClientError) -> anyhow::Error {
    move |error| match error {
        ClientError::Api(failure) => anyhow!("{what}: {}", failure.message),
        other => anyhow!("{what}: {other}"),
    }
}

/// The flag of commands that print JSON.
#[derive(Debug, clap::Args)]
pub(super) struct Json {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}
