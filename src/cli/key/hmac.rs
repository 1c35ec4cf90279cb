//! `keyway key hmac NAME`: the HMAC-SHA-256 of a message.

use std::process::ExitCode;

use zeroize::Zeroizing;

use crate::cli::connection::Query;
use crate::cli::terminal::input::{FromFile, Input, encode};
use crate::cli::terminal::output::{Form, printable};
use crate::client::path;
use crate::client::responses::Hmac;

/// The arguments of `keyway key hmac`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  keyway key hmac my-key --file message.txt",
    mut_arg("json", |json| json.help("Print {\"hmac\": BASE64}"))
)]
pub(super) struct Args {
    /// Name of the key.
    name: String,
    /// Message; read from standard input if neither it nor --file is given.
    message: Option<String>,
    #[command(flatten)]
    from: FromFile,
    #[command(flatten)]
    query: Query,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.query.run(async |client, output| {
        let (argument, file) = (args.message.as_deref(), args.from.file.as_deref());
        let message = Input { what: "message", argument, file, secret: true }.read()?;
        let body = Zeroizing::new(format!(r#"{{"message":"{}"}}"#, encode(&message).as_str()));
        let Hmac { hmac } = client.compute(&path("/v1/key/hmac/", &args.name), body.as_bytes().to_vec()).await?;
        match output.form {
            Form::Json => output.json(&serde_json::json!({ "hmac": hmac }))?,
            Form::Table => output.fields(&[("hmac", hmac)])?,
            Form::Plain => output.line(printable(&hmac))?,
        }
        Ok(ExitCode::SUCCESS)
    })
}
