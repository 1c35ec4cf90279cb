//! `keyway key decrypt NAME`: decrypts what `encrypt` or `dek` gave.

use std::process::ExitCode;

use anyhow::bail;
use zeroize::Zeroizing;

use crate::cli::connection::{Connection, block_on};
use crate::cli::exit::Usage;
use crate::cli::terminal::input::{FromFile, Input, context, encode};
use crate::cli::terminal::output::{Form, Output};
use crate::client::answers::Decrypted;
use crate::client::path;

/// The arguments of `keyway key decrypt`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The message is printed as base64; --raw prints its bytes.\n\n\
                        Example:\n  keyway key decrypt my-key --file secret.enc --raw > secret.txt")]
pub(super) struct Args {
    /// Name of the key.
    name: String,
    /// The ciphertext in base64; without it and --file it comes from standard input.
    ciphertext: Option<String>,
    /// Base64 of what the ciphertext is bound to.
    #[arg(value_name = "CONTEXT")]
    context: Option<String>,
    /// The same, for a ciphertext that is no argument.
    #[arg(long = "context", value_name = "BASE64", conflicts_with = "context")]
    context_option: Option<String>,
    /// Print the bytes of the message as they are.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Print {"plaintext": BASE64}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    from: FromFile,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (argument, file) = (args.ciphertext.as_deref(), args.from.file.as_deref());
    let client = args.connection.client()?;
    let context = context(args.context.as_deref().or(args.context_option.as_deref()))?;
    let ciphertext = Input { what: "ciphertext", argument, file, secret: false }.read_base64()?;
    if ciphertext.is_empty() {
        bail!(Usage("the ciphertext is empty".to_owned()));
    }
    let (ciphertext, context) = (encode(&ciphertext), encode(&context));
    let body = format!(r#"{{"ciphertext":"{}","context":"{}"}}"#, ciphertext.as_str(), context.as_str());
    block_on(async {
        let Decrypted { plaintext } = client.compute(&path("/v1/key/decrypt/", &args.name), body.into_bytes()).await?;
        let mut output = Output::new(args.json);
        let base64 = encode(&plaintext.0);
        match output.form {
            _ if args.raw => output.raw(&plaintext.0)?,
            Form::Json => {
                let line = Zeroizing::new(format!(r#"{{"plaintext":"{}"}}"#, base64.as_str()));
                output.line(line.as_str())?;
            }
            Form::Table => {
                output.fields(&[("plaintext", base64.to_string())])?;
                if let Some(text) = std::str::from_utf8(&plaintext.0).ok().filter(|text| is_text(text)) {
                    output.fields(&[("as text", text.to_owned())])?;
                }
            }
            Form::Plain => output.line(base64.as_str())?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Whether a person can read it.
fn is_text(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|char| char.is_control() && !char.is_whitespace())
}
