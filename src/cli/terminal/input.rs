//! Secrets and messages that a command is given: from a file, standard input, a terminal, or the command line.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::ask_secret;
use crate::cli::exit::Usage;

/// The most that is read, in bytes. A server takes 1 MiB of JSON.
const MAX_LEN: u64 = 1 << 20;

/// Where something is read from. Without an argument and a file, it is standard input.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    /// What it is, for messages: `message`.
    pub(crate) what: &'static str,
    /// Given on the command line; `-` is standard input.
    pub(crate) argument: Option<&'a str>,
    /// A file that holds it; `-` is standard input.
    pub(crate) file: Option<&'a Path>,
    /// Whether others must not see it.
    pub(crate) secret: bool,
}

impl Input<'_> {
    /// Reads it. A secret on the command line is warned of; at a terminal it is asked for.
    pub(crate) fn read(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let what = self.what;
        match (self.argument.filter(|argument| *argument != "-"), self.file.filter(|file| *file != Path::new("-"))) {
            (Some(_), Some(_)) => bail!(Usage(format!("the {what} is given twice: as an argument and with --file"))),
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
                let line = ask_secret(&format!("{}{hint}: ", capitalized(what)))?;
                let line =
                    line.ok_or_else(|| Usage(format!("there is no {what}: use --file FILE or standard input")))?;
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

/// Warns of a secret on a command line.
#[expect(clippy::print_stderr, reason = "warnings belong on standard error")]
pub(crate) fn warn_of_secret(what: &str) {
    eprintln!(
        "warning: the {what} on the command line can be seen by others on this machine, and stays in the shell's \
         history: use --file FILE or standard input"
    );
}

/// Decodes base64; what is wrong with it is told without it.
pub(crate) fn decode(what: &str, text: &[u8]) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    digits.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()));
    let bytes = BASE64_STANDARD.decode(&*digits).map_err(|_| Usage(format!("the {what} is not standard base64")))?;
    Ok(Zeroizing::new(bytes))
}

/// Text of base64 in memory that is wiped.
pub(crate) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(BASE64_STANDARD.encode(bytes))
}

/// The context of a ciphertext: base64, and none is empty.
pub(crate) fn context(text: Option<&str>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    text.map_or_else(|| Ok(Zeroizing::default()), |text| decode("context", text.as_bytes()))
}

/// The file options of commands that read something.
#[derive(Debug, clap::Args)]
pub(crate) struct FromFile {
    /// Read it from this file instead; - is standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Reads all, sized so that no copies are left behind.
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
            return Err(io::Error::other("it is larger than 1 MiB, the most that a server takes"));
        }
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
