//! `keyway key dek NAME`: a fresh data key, in plain and encrypted.

use std::process::ExitCode;

use zeroize::Zeroizing;

use crate::cli::connection::{Connection, block_on};
use crate::cli::terminal::input::{context, encode};
use crate::cli::terminal::output::{Form, Output};
use crate::client::answers::DataKey;
use crate::client::path;

/// The arguments of `keyway key dek`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway key dek my-key --json")]
pub(super) struct Args {
    /// Name of the key that encrypts the data key.
    name: String,
    /// Base64 of what the data key is bound to; decrypting it needs the same.
    context: Option<String>,
    /// Print {"plaintext": BASE64, "ciphertext": BASE64}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.connection.client()?;
    let context = encode(&context(args.context.as_deref())?);
    block_on(async {
        let body = format!(r#"{{"context":"{}"}}"#, context.as_str()).into_bytes();
        let key: DataKey = client.compute(&path("/v1/key/generate/", &args.name), body).await?;
        let plaintext = encode(&key.plaintext.0);
        let mut output = Output::new(args.json);
        if output.form == Form::Json {
            let ciphertext = serde_json::to_string(&key.ciphertext)?;
            let line = Zeroizing::new(format!(r#"{{"plaintext":"{}","ciphertext":{ciphertext}}}"#, plaintext.as_str()));
            output.line(line.as_str())?;
        } else {
            output.fields(&[("plaintext", plaintext.to_string()), ("ciphertext", key.ciphertext)])?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
