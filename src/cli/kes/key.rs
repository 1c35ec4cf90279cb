//! `kes key ...`

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;
use zeroize::Zeroizing;

use super::connection::{Connection, Json, failed};
use super::{Ordered, date, list};
use crate::cli::terminal::input::{decode, encode};
use crate::cli::terminal::output::{Form, Output, printable};
use crate::client::path;
use crate::client::responses::{DataKey, Decrypted, Description, Encrypted};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create keys.
    Create(Names),
    /// Import a key.
    Import {
        /// Name of the new key.
        name: String,
        /// The key in base64.
        key: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Print information about a key.
    Info {
        /// Name of the key.
        name: String,
        #[command(flatten)]
        json: Json,
        #[command(flatten)]
        connection: Connection,
    },
    /// List keys.
    Ls(list::Pattern),
    /// Delete keys.
    Rm(Names),
    /// Encrypt a message.
    Encrypt {
        /// Name of the key.
        name: String,
        /// The message.
        message: String,
        /// Base64 of what the ciphertext is bound to.
        context: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Decrypt a ciphertext.
    Decrypt {
        /// Name of the key.
        name: String,
        /// The ciphertext in base64.
        ciphertext: String,
        /// Base64 of what the ciphertext is bound to.
        context: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Generate a data encryption key.
    Dek {
        /// Name of the key.
        name: String,
        /// Base64 of what the data key is bound to.
        context: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

/// As Go reads base64: bits after the last byte do not matter.
const GO_BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Keys by name.
#[derive(Debug, clap::Args)]
struct Names {
    /// Names of keys.
    #[arg(value_name = "NAME")]
    positional: Vec<String>,
    /// A key by flag, as in old scripts.
    #[arg(short = 'n', long = "name", hide = true)]
    named: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

impl Names {
    fn all(&self) -> anyhow::Result<impl Iterator<Item = &String>> {
        if self.positional.is_empty() && self.named.is_empty() {
            return Err(anyhow!("no key name specified. See 'kes key --help'"));
        }
        Ok(self.positional.iter().chain(&self.named))
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Create(args) => args.connection.with_client(async |client| {
            for name in args.all()? {
                let created = client.change(Method::PUT, &path("/v1/key/create/", name), None).await;
                created.map_err(failed(format_args!("failed to create key {name:?}")))?;
            }
            Ok(())
        }),
        Command::Rm(args) => args.connection.with_client(async |client| {
            for name in args.all()? {
                let removed = client.change(Method::DELETE, &path("/v1/key/delete/", name), None).await;
                removed.map_err(failed(format_args!("failed to remove key {name:?}")))?;
            }
            Ok(())
        }),
        Command::Import { name, key, connection } => {
            let key = Zeroizing::new(key);
            let bytes = GO_BASE64.decode(key.as_bytes()).map(Zeroizing::new);
            let bytes = bytes.map_err(|_| anyhow!("failed to import key {name:?}: the key is not base64"))?;
            let body = Zeroizing::new(format!(r#"{{"key":"{}","cipher":"AES256"}}"#, encode(&bytes).as_str()));
            connection.with_client(async |client| {
                let body = Some(body.as_bytes().to_vec());
                let imported = client.change(Method::PUT, &path("/v1/key/import/", &name), body).await;
                imported.map_err(failed(format_args!("failed to import key {name:?}")))
            })
        }
        Command::Info { name, json, connection } => connection.with_client(async |client| {
            let answer = client.get::<Value>(&path("/v1/key/describe/", &name)).await;
            let answer = answer.map_err(failed("failed to describe keys"))?;
            let key = client.decode::<Description>("key/describe", &answer)?;
            let mut output = Output::new(json.json);
            if json.json {
                return Ok(output.json(&Ordered::of(&answer, &["name", "created_at", "created_by"]))?);
            }
            let (algorithm, created_at) = (key.algorithm.unwrap_or_default(), date(&key.created_at));
            let text = format!(
                "Name        {}\nAlgorithm   {}\nDate        {}\nOwner       {}",
                printable(&key.name),
                printable(&algorithm),
                printable(&created_at),
                printable(&key.created_by)
            );
            Ok(output.text(&text)?)
        }),
        Command::Ls(pattern) => list::print(&pattern, "/v1/key/list/", "Key"),
        Command::Encrypt { name, message, context, connection } => {
            let message = encode(Zeroizing::new(message).as_bytes());
            let context = encode(&context_of(context.as_deref())?);
            let body =
                Zeroizing::new(format!(r#"{{"plaintext":"{}","context":"{}"}}"#, message.as_str(), context.as_str()));
            connection.with_client(async |client| {
                let answer = client.compute(&path("/v1/key/encrypt/", &name), body.as_bytes().to_vec()).await;
                let Encrypted { ciphertext } = answer.map_err(failed("failed to encrypt message"))?;
                base64_fields(&[("ciphertext", &ciphertext)])
            })
        }
        Command::Decrypt { name, ciphertext, context, connection } => {
            let ciphertext = decode("ciphertext", ciphertext.as_bytes()).context("invalid ciphertext")?;
            let (ciphertext, context) = (encode(&ciphertext), encode(&context_of(context.as_deref())?));
            let body = format!(r#"{{"ciphertext":"{}","context":"{}"}}"#, ciphertext.as_str(), context.as_str());
            connection.with_client(async |client| {
                let answer = client.compute(&path("/v1/key/decrypt/", &name), body.into_bytes()).await;
                let Decrypted { plaintext } = answer.map_err(failed("failed to decrypt ciphertext"))?;
                base64_fields(&[("plaintext", encode(&plaintext.0).as_str())])
            })
        }
        Command::Dek { name, context, connection } => {
            let body = format!(r#"{{"context":"{}"}}"#, encode(&context_of(context.as_deref())?).as_str());
            connection.with_client(async |client| {
                let answer = client.compute(&path("/v1/key/generate/", &name), body.into_bytes()).await;
                let key: DataKey = answer.map_err(failed("failed to generate data key"))?;
                base64_fields(&[("plaintext", encode(&key.plaintext.0).as_str()), ("ciphertext", &key.ciphertext)])
            })
        }
    }
}

fn context_of(text: Option<&str>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    text.map_or_else(|| Ok(Zeroizing::default()), |text| decode("context", text.as_bytes()).context("invalid context"))
}

/// Base64 by name: lines on a terminal, JSON without a line end in a pipe.
fn base64_fields(fields: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut output = Output::new(false);
    let mut text = Zeroizing::new(String::with_capacity(1 << 10));
    if output.form == Form::Table {
        let widest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        text.push('\n');
        for (name, value) in fields {
            text.extend([name, ":", &" ".repeat(1 + widest - name.len()), &printable(value), "\n"]);
        }
    } else {
        for (number, (name, value)) in fields.iter().enumerate() {
            text.extend([if number == 0 { "{\"" } else { ",\"" }, name, "\":\"", &printable(value), "\""]);
        }
        text.push('}');
    }
    Ok(output.text(&text)?)
}
