//! `keyway key import NAME`: stores a key that was made elsewhere.

use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;
use reqwest::Method;
use zeroize::Zeroizing;

use crate::cli::connection::{Connection, block_on};
use crate::cli::exit::Usage;
use crate::cli::terminal::input::{FromFile, Input, decode, encode};
use crate::cli::terminal::output::{Form, Output, printable};
use crate::client::path;
use crate::crypto::key::Algorithm;

/// Length of every key in bytes.
const KEY_LEN: usize = 32;

/// The arguments of `keyway key import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The key is 32 bytes, as they are or in base64.\n\n\
                        Example:\n  openssl rand -base64 32 | keyway key import my-key")]
pub(super) struct Args {
    /// Name of the new key.
    name: String,
    /// The key in base64. Others can see what stands on a command line: better --file or standard input.
    #[arg(value_name = "KEY", hide_default_value = true)]
    key: Option<String>,
    /// What the key is for.
    #[arg(long, value_enum, default_value_t = Cipher::Aes256, ignore_case = true)]
    cipher: Cipher,
    #[command(flatten)]
    from: FromFile,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Cipher {
    #[value(name = "AES256")]
    Aes256,
    #[value(name = "ChaCha20")]
    ChaCha20,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let input = Input { what: "key", argument: args.key.as_deref(), file: args.from.file.as_deref(), secret: true };
    let client = args.connection.client()?;
    let read = input.read()?;
    // Text of 32 characters is base64 of another key, or hex of one, and not a key.
    let is_text = read.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    let key = if is_text { decode("key", &read)? } else { read };
    if key.len() != KEY_LEN {
        bail!(Usage(format!("the key is neither {KEY_LEN} bytes nor base64 of them, but {} bytes", key.len())));
    }
    let algorithm = match args.cipher {
        Cipher::Aes256 => Algorithm::Aes256,
        Cipher::ChaCha20 => Algorithm::ChaCha20,
    };
    let body = Zeroizing::new(format!(r#"{{"key":"{}","cipher":"{algorithm}"}}"#, encode(&key).as_str()));
    block_on(async {
        client.change(Method::PUT, &path("/v1/key/import/", &args.name), Some(body.as_bytes().to_vec())).await?;
        let mut output = Output::new(false);
        if output.form == Form::Table {
            output.line(format!("imported {}", printable(&args.name)))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
