//! Questions to a person: at the terminal itself, wherever standard input and output go.

pub(super) mod input;
pub(super) mod output;
pub(super) mod passphrase;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;

use backends::Secret;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The longest line that is read, in bytes.
const MAX_LINE: usize = 4096;

/// What a terminal sends for Ctrl-C, Ctrl-D, Ctrl-U and the backspace keys.
const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const KILL: u8 = 0x15;
const ERASE: [u8; 2] = [0x08, 0x7f];

/// Asks for a secret, which is not shown; nothing where there is no terminal.
///
/// # Errors
/// [`io::ErrorKind::Interrupted`] after Ctrl-C.
pub(super) fn ask_secret(question: &str) -> io::Result<Option<Secret>> {
    let Ok(terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else { return Ok(None) };
    let quiet = Quiet::new(&terminal)?; // before the question: a program may type the answer at once
    write!(&terminal, "{question}")?;
    let line = read_line(&terminal);
    drop(quiet);
    writeln!(&terminal)?;
    line.map(|line| Some(Secret::from(line)))
}

/// Whether a person at a terminal says yes; nothing where nobody types. The question is put to the terminal itself,
/// wherever the output goes.
pub(super) fn confirm(question: &str) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    write!(OpenOptions::new().write(true).open("/dev/tty")?, "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes")))
}

/// A terminal that does not show what is typed. Dropping it makes the terminal as it was: Ctrl-C comes as a byte
/// meanwhile, so that nothing ends the program before.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal.as_fd())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal.as_fd(), OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal.as_fd(), OptionalActions::Now, &self.before); // nobody is left to tell
    }
}

/// A line, key by key.
fn read_line(mut terminal: &File) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
    loop {
        let mut key = Zeroizing::new([0]);
        if terminal.read(key.as_mut_slice())? == 0 {
            break;
        }
        match *key {
            [INTERRUPT] => return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
            [b'\r' | b'\n' | END] => break,
            [KILL] => line.clear(),
            [key] if ERASE.contains(&key) => erase(&mut line),
            [_] if line.len() == MAX_LINE => return Err(io::Error::other("the line is too long")),
            [key] => line.push(key),
        }
    }
    let text = std::str::from_utf8(&line).map_err(|_| io::Error::other("what was typed is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Takes back the last character, which may be several bytes.
fn erase(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}
