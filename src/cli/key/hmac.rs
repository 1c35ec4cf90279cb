//! `keyway key hmac NAME`: the HMAC-SHA-256 of a message.

use std::process::ExitCode;

use zeroize::Zeroizing;

use crate::cli::connection::{Connection, block_on};
use crate::cli::terminal::input::{FromFile, Input, encode};
use crate::cli::terminal::output::{Form, Output, printable};
use crate::client::answers::Sum;
use crate::client::path;

/// The arguments of `keyway key hmac`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway key hmac my-key --file message.txt")]
pub(super) struct Args {
    /// Name of the key.
    name: String,
    /// The message; without it and --file it comes from standard input.
    message: Option<String>,
    /// Print {"hmac": BASE64}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    from: FromFile,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (argument, file) = (args.message.as_deref(), args.from.file.as_deref());
    let client = args.connection.client()?;
    let message = Input { what: "message", argument, file, secret: true }.read()?;
    let body = Zeroizing::new(format!(r#"{{"message":"{}"}}"#, encode(&message).as_str()));
    block_on(async {
        let Sum { hmac } = client.compute(&path("/v1/key/hmac/", &args.name), body.as_bytes().to_vec()).await?;
        let mut output = Output::new(args.json);
        match output.form {
            Form::Json => output.json(&serde_json::json!({ "hmac": hmac }))?,
            Form::Table => output.fields(&[("hmac", hmac)])?,
            Form::Plain => output.line(printable(&hmac))?,
        }
        Ok(ExitCode::SUCCESS)
    })
}
