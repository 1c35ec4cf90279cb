//! `keyway key decrypt NAME`: decrypts a ciphertext of `encrypt` or `dek`.

use std::process::ExitCode;

use anyhow::bail;
use zeroize::Zeroizing;

use crate::cli::connection::Query;
use crate::cli::exit::Usage;
use crate::cli::terminal::input::{FromFile, Input, context, encode};
use crate::cli::terminal::output::Form;
use crate::client::path;
use crate::client::responses::Decrypted;

/// The arguments of `keyway key decrypt`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The message is printed in base64, or as raw bytes with --raw.\n\n\
                  Example:\n  keyway key decrypt my-key --file secret.enc --raw > secret.txt",
    mut_arg("json", |json| json.help("Print {\"plaintext\": BASE64}"))
)]
pub(super) struct Args {
    /// Name of the key.
    name: String,
    /// Ciphertext in base64; read from standard input if neither it nor --file is given.
    ciphertext: Option<String>,
    /// Context that the ciphertext was encrypted with, in base64.
    #[arg(value_name = "CONTEXT")]
    context: Option<String>,
    /// Context in base64, for a ciphertext that is not given as an argument.
    #[arg(long = "context", value_name = "BASE64", conflicts_with = "context")]
    context_option: Option<String>,
    /// Print the message as raw bytes.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    from: FromFile,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let context = context(args.context.as_deref().or(args.context_option.as_deref()))?;
        let (argument, file) = (args.ciphertext.as_deref(), args.from.file.as_deref());
        let ciphertext = Input { what: "ciphertext", argument, file, secret: false }.read_base64()?;
        if ciphertext.is_empty() {
            bail!(Usage("the ciphertext is empty".to_owned()));
        }
        let (ciphertext, context) = (encode(&ciphertext), encode(&context));
        let body = format!(r#"{{"ciphertext":"{}","context":"{}"}}"#, ciphertext.as_str(), context.as_str());
        let Decrypted { plaintext } = client.compute(&path("/v1/key/decrypt/", &args.name), body.into_bytes()).await?;
        let base64 = encode(&plaintext.0);
        match output.form {
            _ if args.raw => output.raw(&plaintext.0)?,
            Form::Json => {
                let line = Zeroizing::new(format!(r#"{{"plaintext":"{}"}}"#, base64.as_str()));
                output.line(line.as_str())?;
            }
            Form::Table => {
                output.fields(&[("plaintext", base64.to_string())])?;
                if let Some(text) = std::str::from_utf8(&plaintext.0).ok().filter(|text| is_readable(text)) {
                    output.fields(&[("as text", text.to_owned())])?;
                }
            }
            Form::Plain => output.line(base64.as_str())?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Whether a text consists of printable characters and white space.
fn is_readable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|char| char.is_control() && !char.is_whitespace())
}
