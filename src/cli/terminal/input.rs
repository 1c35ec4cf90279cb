//! Secrets and messages that a command reads: from a file, standard input, a terminal, or the command line.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::prompt_secret;
use crate::cli::exit::Usage;

/// The largest accepted input, in bytes. A server accepts at most 1 MiB of JSON.
const MAX_LEN: u64 = 1 << 20;

/// Where a command reads something from: standard input, unless there is an argument or a file.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    /// What is read, for prompts and errors, such as `message`.
    pub(crate) what: &'static str,
    /// The command-line argument; `-` is standard input.
    pub(crate) argument: Option<&'a str>,
    /// The file; `-` is standard input.
    pub(crate) file: Option<&'a Path>,
    /// Whether it is a secret.
    pub(crate) secret: bool,
}

impl Input<'_> {
    /// Reads it. Warns about a secret on the command line; prompts if standard input is a terminal.
    pub(crate) fn read(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let what = self.what;
        match (self.argument.filter(|argument| *argument != "-"), self.file.filter(|file| *file != Path::new("-"))) {
            (Some(_), Some(_)) => {
                bail!(Usage(format!("the {what} is given twice, as an argument and with --file; use one of them")))
            }
            (Some(argument), None) => {
                if self.secret {
                    warn_of_secret(what);
                }
                Ok(Zeroizing::new(argument.as_bytes().to_vec()))
            }
            (None, Some(file)) => {
                let read = File::open(file).and_then(read);
                read.with_context(|| format!("cannot read the {what} from {}", file.display()))
            }
            (None, None) if io::stdin().is_terminal() => {
                let hint = if self.secret { " (not shown)" } else { "" };
                let line = prompt_secret(&format!("{}{hint}: ", capitalized(what)))?;
                let line = line.ok_or_else(|| Usage(format!("no {what} given; use --file FILE or standard input")))?;
                Ok(Zeroizing::new(line.expose().as_bytes().to_vec()))
            }
            (None, None) => {
                read(io::stdin().lock()).with_context(|| format!("cannot read the {what} from standard input"))
            }
        }
    }

    /// Reads it as base64; white space around and in it is ignored.
    pub(crate) fn read_base64(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        decode(self.what, &self.read()?)
    }
}

/// Warns about a secret on the command line.
#[expect(clippy::print_stderr, reason = "warnings belong on standard error")]
pub(crate) fn warn_of_secret(what: &str) {
    eprintln!(
        "warning: the {what} on the command line is visible to other users and remains in the shell history; prefer \
         --file FILE or standard input"
    );
}

/// Decodes base64. An error does not repeat the text.
pub(crate) fn decode(what: &str, text: &[u8]) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    digits.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()));
    let bytes = BASE64_STANDARD.decode(&*digits).map_err(|_| Usage(format!("the {what} is not standard base64")))?;
    Ok(Zeroizing::new(bytes))
}

/// Encodes base64 into memory that is wiped.
pub(crate) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(BASE64_STANDARD.encode(bytes))
}

/// Decodes the context of a ciphertext; no context is an empty one.
pub(crate) fn context(text: Option<&str>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    text.map_or_else(|| Ok(Zeroizing::default()), |text| decode("context", text.as_bytes()))
}

/// The --file option of commands that read something.
#[derive(Debug, clap::Args)]
pub(crate) struct FromFile {
    /// Read the input from this file; - is standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Reads everything, without leaving copies of it in freed memory.
fn read(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 << 10));
    let mut source = source.take(MAX_LEN + 1);
    let mut chunk = Zeroizing::new(vec![0; 16 << 10]);
    loop {
        let len = source.read(&mut chunk)?;
        let Some(read) = chunk.get(..len).filter(|read| !read.is_empty()) else { return Ok(bytes) };
        if bytes.len() + len > bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(2 * (bytes.len() + len)));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        bytes.extend_from_slice(read);
        if bytes.len() as u64 > MAX_LEN {
            return Err(io::Error::other("larger than 1 MiB, the maximum that a server accepts"));
        }
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
