//! `keyway key dek NAME`: a new data key, in plaintext and encrypted.

use std::process::ExitCode;

use zeroize::Zeroizing;

use crate::cli::connection::Query;
use crate::cli::terminal::input::{context, encode};
use crate::cli::terminal::output::Form;
use crate::client::path;
use crate::client::responses::DataKey;

/// The arguments of `keyway key dek`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  keyway key dek my-key --json",
    mut_arg("json", |json| json.help("Print {\"plaintext\": BASE64, \"ciphertext\": BASE64}"))
)]
pub(super) struct Args {
    /// Name of the key that encrypts the data key.
    name: String,
    /// Context to bind the data key to, in base64; decryption needs the same context.
    context: Option<String>,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let context = encode(&context(args.context.as_deref())?);
        let body = format!(r#"{{"context":"{}"}}"#, context.as_str()).into_bytes();
        let key: DataKey = client.compute(&path("/v1/key/generate/", &args.name), body).await?;
        let plaintext = encode(&key.plaintext.0);
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
