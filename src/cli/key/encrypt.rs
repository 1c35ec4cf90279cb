//! `keyway key encrypt NAME`: encrypts a message, which the server does.

use std::process::ExitCode;

use zeroize::Zeroizing;

use crate::cli::connection::{Connection, block_on};
use crate::cli::terminal::input::{FromFile, Input, context, encode};
use crate::cli::terminal::output::{Form, Output, printable};
use crate::client::answers::Encrypted;
use crate::client::path;

/// The arguments of `keyway key encrypt`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway key encrypt my-key --file secret.txt > secret.enc\n  \
                        keyway key decrypt my-key --file secret.enc --raw")]
pub(super) struct Args {
    /// Name of the key.
    name: String,
    /// The message. Others can see what stands on a command line: better --file or standard input.
    message: Option<String>,
    /// Base64 of what the ciphertext is bound to; decrypting needs the same.
    #[arg(long, value_name = "BASE64")]
    context: Option<String>,
    /// Print {"ciphertext": BASE64}.
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
    let context = context(args.context.as_deref())?;
    let message = Input { what: "message", argument, file, secret: true }.read()?;
    let (message, context) = (encode(&message), encode(&context));
    let body = Zeroizing::new(format!(r#"{{"plaintext":"{}","context":"{}"}}"#, message.as_str(), context.as_str()));
    block_on(async {
        let path = path("/v1/key/encrypt/", &args.name);
        let Encrypted { ciphertext } = client.compute(&path, body.as_bytes().to_vec()).await?;
        let mut output = Output::new(args.json);
        match output.form {
            Form::Json => output.json(&serde_json::json!({ "ciphertext": ciphertext }))?,
            Form::Table => output.fields(&[("ciphertext", ciphertext)])?,
            Form::Plain => output.line(printable(&ciphertext))?,
        }
        Ok(ExitCode::SUCCESS)
    })
}
