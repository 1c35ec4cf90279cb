//! `keyway key import NAME`: stores a key that was generated elsewhere.

use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;
use reqwest::Method;
use zeroize::Zeroizing;

use crate::cli::connection::Connection;
use crate::cli::exit::Usage;
use crate::cli::terminal::input::{FromFile, Input, decode, encode};
use crate::cli::terminal::output::{confirm_done, printable};
use crate::client::path;
use crate::crypto::key::Algorithm;

/// Length of every key in bytes.
const KEY_LEN: usize = 32;

/// The arguments of `keyway key import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The key is 32 bytes, raw or in base64.\n\n\
                        Example:\n  openssl rand -base64 32 | keyway key import my-key")]
pub(super) struct Args {
    /// Name of the new key.
    name: String,
    /// Key in base64. Command lines are visible to other users; prefer --file or standard input.
    #[arg(value_name = "KEY", hide_default_value = true)]
    key: Option<String>,
    /// Cipher that the key is for.
    #[arg(long, value_enum, default_value_t = Cipher::Aes256, ignore_case = true)]
    cipher: Cipher,
    /// The input is the 32 bytes of the key, even if they are text.
    #[arg(long, conflicts_with = "key")]
    raw: bool,
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
    args.connection.with_client(async |client| {
        let (argument, file) = (args.key.as_deref(), args.from.file.as_deref());
        let key = read_key(&Input { what: "key", argument, file, secret: true }, args.raw)?;
        let algorithm = match args.cipher {
            Cipher::Aes256 => Algorithm::Aes256,
            Cipher::ChaCha20 => Algorithm::ChaCha20,
        };
        let body = Zeroizing::new(format!(r#"{{"key":"{}","cipher":"{algorithm}"}}"#, encode(&key).as_str()));
        let path = path("/v1/key/import/", &args.name);
        client.change(Method::PUT, &path, Some(body.as_bytes().to_vec())).await?;
        confirm_done(&format!("imported {}", printable(&args.name)))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Reads a key, raw or in base64.
fn read_key(input: &Input<'_>, is_raw: bool) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let read = input.read()?;
    // 32 characters of text are the base64 or hex form of a different key, unless --raw says that they are this one.
    let is_text = !is_raw && read.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    let key = if is_text { decode("key", &read)? } else { read };
    if key.len() != KEY_LEN {
        let len = key.len();
        bail!(Usage(format!("the key has {len} bytes; give {KEY_LEN} bytes, raw or in base64")));
    }
    Ok(key)
}
