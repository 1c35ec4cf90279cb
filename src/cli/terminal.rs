//! Prompts: on the terminal itself, even if standard input and output are redirected.

pub(super) mod input;
pub(super) mod output;
pub(super) mod passphrase;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;

use backends::Secret;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The longest line that is accepted, in bytes.
const MAX_LINE: usize = 4096;

/// What a terminal sends for Ctrl-C, Ctrl-D, Ctrl-U and the backspace keys.
const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const KILL: u8 = 0x15;
const ERASE: [u8; 2] = [0x08, 0x7f];

/// Prompts for a secret without echo; `None` without a terminal.
///
/// # Errors
/// [`io::ErrorKind::Interrupted`] after Ctrl-C.
pub(super) fn prompt_secret(prompt: &str) -> io::Result<Option<Secret>> {
    let Ok(terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else { return Ok(None) };
    let no_echo = NoEcho::new(&terminal)?; // before the prompt: a program may type the answer at once
    write!(&terminal, "{prompt}")?;
    let line = read_line(&terminal);
    drop(no_echo);
    writeln!(&terminal)?;
    line.map(|line| Some(Secret::from(line)))
}

/// Prompts for a confirmation; `None` if standard input is not a terminal. The prompt goes to the terminal itself, even
/// if the output is redirected.
pub(super) fn confirm(question: &str) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    write!(OpenOptions::new().write(true).open("/dev/tty")?, "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes")))
}

/// A terminal without echo. Dropping it restores the previous mode; until then Ctrl-C arrives as a byte, so that it
/// cannot end the program first.
struct NoEcho<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> NoEcho<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal.as_fd())?;
        let mut mode = before.clone();
        mode.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal.as_fd(), OptionalActions::Flush, &mode)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for NoEcho<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal.as_fd(), OptionalActions::Now, &self.before); // too late to report an error
    }
}

/// Reads a line, key by key.
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
    let text = std::str::from_utf8(&line).map_err(|_| io::Error::other("the input is not valid UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Removes the last character, which may have several bytes.
fn erase(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}
