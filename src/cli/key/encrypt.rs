//! `keyway key encrypt NAME`: has the server encrypt a message.

use std::process::ExitCode;

use zeroize::Zeroizing;

use crate::cli::connection::Query;
use crate::cli::terminal::input::{FromFile, Input, context, encode};
use crate::cli::terminal::output::{Form, printable};
use crate::client::path;
use crate::client::responses::Encrypted;

/// The arguments of `keyway key encrypt`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  keyway key encrypt my-key --file secret.txt > secret.enc\n  \
                  keyway key decrypt my-key --file secret.enc --raw",
    mut_arg("json", |json| json.help("Print {\"ciphertext\": BASE64}"))
)]
pub(super) struct Args {
    /// Name of the key.
    name: String,
    /// Message to encrypt. Command lines are visible to other users; prefer --file or standard input.
    message: Option<String>,
    /// Context to bind the ciphertext to, in base64; decryption needs the same context.
    #[arg(long, value_name = "BASE64")]
    context: Option<String>,
    #[command(flatten)]
    from: FromFile,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let context = context(args.context.as_deref())?;
        let (argument, file) = (args.message.as_deref(), args.from.file.as_deref());
        let message = Input { what: "message", argument, file, secret: true }.read()?;
        let (message, context) = (encode(&message), encode(&context));
        let body =
            Zeroizing::new(format!(r#"{{"plaintext":"{}","context":"{}"}}"#, message.as_str(), context.as_str()));
        let path = path("/v1/key/encrypt/", &args.name);
        let Encrypted { ciphertext } = client.compute(&path, body.as_bytes().to_vec()).await?;
        match output.form {
            Form::Json => output.json(&serde_json::json!({ "ciphertext": ciphertext }))?,
            Form::Table => output.fields(&[("ciphertext", ciphertext)])?,
            Form::Plain => output.line(printable(&ciphertext))?,
        }
        Ok(ExitCode::SUCCESS)
    })
}
