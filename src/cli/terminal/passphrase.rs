//! The passphrase of a backup: typed, or from a file, standard input or the environment. Never an argument, which other
//! users of the machine could read.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use backends::Secret;
use zeroize::Zeroizing;

use super::ask_secret;

/// Holds the passphrase where nobody is there to type it.
const VARIABLE: &str = "KEYWAY_BACKUP_PASSPHRASE";

/// The longest passphrase, in bytes: a file that is longer is another one.
const MAX_LEN: u64 = 4096;

/// Where the passphrase is.
#[derive(Debug, clap::Args)]
pub(crate) struct Passphrase {
    /// Use a passphrase: that in the variable `KEYWAY_BACKUP_PASSPHRASE`, or else one that is asked for.
    #[arg(long, group = "lock")]
    passphrase: bool,
    /// Use the passphrase on the first line of this file; - is standard input.
    #[arg(long, value_name = "FILE", group = "lock", conflicts_with = "passphrase")]
    passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    /// The passphrase of a file to be made: asked for twice. Nothing when none is wanted.
    pub(crate) fn of_a_new_file(&self) -> anyhow::Result<Option<Secret>> {
        self.read(true)
    }

    /// The passphrase of a file that is there. Nothing when none is wanted.
    pub(crate) fn of_a_file(&self) -> anyhow::Result<Option<Secret>> {
        self.read(false)
    }

    fn read(&self, is_new: bool) -> anyhow::Result<Option<Secret>> {
        let passphrase = match &self.passphrase_file {
            Some(file) if file == Path::new("-") => {
                first_line(io::stdin().lock()).context("cannot read the passphrase")?
            }
            Some(file) => {
                let opened = std::fs::File::open(file).map_err(anyhow::Error::from);
                opened
                    .and_then(first_line)
                    .with_context(|| format!("cannot read the passphrase in '{}'", file.display()))?
            }
            None if !self.passphrase => return Ok(None),
            None => match std::env::var(VARIABLE) {
                Ok(text) => Secret::from(text),
                Err(_) => asked(is_new)?,
            },
        };
        if passphrase.expose().is_empty() {
            bail!("the passphrase is empty");
        }
        Ok(Some(passphrase))
    }
}

fn asked(is_new: bool) -> anyhow::Result<Secret> {
    let ask = |question| {
        ask_secret(question)?.with_context(|| {
            format!("there is no terminal to ask for the passphrase; use --passphrase-file, or the variable {VARIABLE}")
        })
    };
    let passphrase = ask("Passphrase of the backup (not shown): ")?;
    if is_new && ask("The same once more: ")? != passphrase {
        bail!("the two passphrases differ");
    }
    Ok(passphrase)
}

/// The first line, without its end.
fn first_line(input: impl io::Read) -> anyhow::Result<Secret> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8192));
    input.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_LEN) {
        bail!("it has more than {MAX_LEN} bytes");
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line).ok().context("it is not UTF-8")?;
    Ok(Secret::from(Zeroizing::new(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_passphrase_is_the_first_line_without_its_end() {
        for (text, expected) in [("a b", "a b"), ("a\n", "a"), ("a\r\nb\n", "a"), ("", ""), ("\nb", ""), ("ü\n", "ü")]
        {
            assert_eq!(first_line(text.as_bytes()).unwrap().expose(), expected, "{text:?}");
        }
        assert!(first_line(&[0xff][..]).is_err());
        assert!(first_line(&[b'x'; 5000][..]).is_err());
    }
}
