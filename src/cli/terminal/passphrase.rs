//! The passphrase of a backup: from a prompt, a file, standard input or the environment. Never from an argument, as
//! command lines are visible to other users.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use backends::Secret;
use zeroize::Zeroizing;

use super::prompt_secret;
use crate::cli::exit::Usage;
use crate::cli::given::{self, STANDARD};

/// Holds the passphrase for unattended backups.
const VARIABLE: &str = "KEYWAY_BACKUP_PASSPHRASE";

/// The longest passphrase file, in bytes: a longer one must be a different file.
const MAX_LEN: u64 = 4096;

/// Where the passphrase comes from.
#[derive(Debug, clap::Args)]
pub(crate) struct Passphrase {
    /// Use a passphrase: from the environment variable `KEYWAY_BACKUP_PASSPHRASE`, or else from a prompt.
    #[arg(long, group = "lock")]
    passphrase: bool,
    /// Use the passphrase in the first line of this file; - is standard input.
    #[arg(long, value_name = "FILE", group = "lock", conflicts_with = "passphrase", value_parser = given::path())]
    passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    /// Whether it is read from standard input.
    pub(crate) fn is_on_stdin(&self) -> bool {
        self.passphrase_file.as_deref() == Some(Path::new(STANDARD))
    }

    /// The passphrase for a new file, with a prompt to repeat it; `None` if no passphrase is to be used.
    pub(crate) fn for_new_file(&self) -> anyhow::Result<Option<Secret>> {
        self.read(true)
    }

    /// The passphrase of an existing file; `None` if no passphrase is to be used.
    pub(crate) fn for_existing_file(&self) -> anyhow::Result<Option<Secret>> {
        self.read(false)
    }

    fn read(&self, is_new: bool) -> anyhow::Result<Option<Secret>> {
        let passphrase = match &self.passphrase_file {
            Some(_) if self.is_on_stdin() => {
                first_line(io::stdin().lock()).context("cannot read the passphrase from standard input")?
            }
            Some(file) => {
                let opened = std::fs::File::open(file).map_err(anyhow::Error::from);
                opened
                    .and_then(first_line)
                    .with_context(|| format!("cannot read the passphrase from '{}'", file.display()))?
            }
            None if !self.passphrase => return Ok(None),
            None => match std::env::var(VARIABLE) {
                Ok(text) => Secret::from(text),
                Err(_) => prompt(is_new)?,
            },
        };
        if passphrase.expose().is_empty() {
            bail!("the passphrase is empty; check its source, and choose one that is not empty");
        }
        Ok(Some(passphrase))
    }
}

fn prompt(is_new: bool) -> anyhow::Result<Secret> {
    let read = |text| -> anyhow::Result<Secret> {
        prompt_secret(text)?.ok_or_else(|| {
            Usage(format!("no terminal to prompt for the passphrase; use --passphrase-file or set {VARIABLE}")).into()
        })
    };
    let passphrase = read("Passphrase of the backup (not shown): ")?;
    if is_new && read("Repeat the passphrase: ")? != passphrase {
        bail!("the passphrases do not match");
    }
    Ok(passphrase)
}

/// The first line, without its line break.
fn first_line(input: impl io::Read) -> anyhow::Result<Secret> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8192));
    input.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_LEN) {
        bail!("longer than {MAX_LEN} bytes");
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line).ok().context("not valid UTF-8")?;
    Ok(Secret::from(Zeroizing::new(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_passphrase_is_the_first_line_without_its_line_break() {
        for (text, expected) in [("a b", "a b"), ("a\n", "a"), ("a\r\nb\n", "a"), ("", ""), ("\nb", ""), ("ü\n", "ü")]
        {
            assert_eq!(first_line(text.as_bytes()).unwrap().expose(), expected, "{text:?}");
        }
        assert!(first_line(&[0xff][..]).is_err());
        assert!(first_line(&[b'x'; 5000][..]).is_err());
    }
}
