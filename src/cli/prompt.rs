//! Questions to a person at a terminal.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use octobundle::failure::{ErrorClass, Failure};
use octobundle::registry::Secret;
use zeroize::Zeroizing;

use crate::cli::input::usage;

/// Tokens of cloud registries have some kilobytes.
const MAX_PASSWORD: u64 = 64 * 1024;
/// Longer than any name or password; an end for what is not one.
const MAX_ANSWER: usize = 64 * 1024;

/// Whether somebody sits there.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// Asks for a line that may be seen.
pub(crate) fn ask(question: &str) -> Result<String, Failure> {
    show(question);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| failed(&error))?;
    Ok(answer.trim().to_owned())
}

/// Asks for a line that is not shown while it is typed.
pub(crate) fn ask_hidden(question: &str) -> Result<Secret, Failure> {
    let answer = hidden_line(question);
    show("\n");
    answer
}

/// A password or token that is piped in, without the line end behind it.
pub(crate) fn password_from_stdin() -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    io::stdin().take(MAX_PASSWORD + 1).read_to_end(&mut bytes).map_err(|error| {
        Failure::new(ErrorClass::Other, format!("failed to read the password from standard input: {error}"))
    })?;
    if bytes.len() as u64 > MAX_PASSWORD {
        return Err(usage("the password from standard input is longer than 64 KiB", "check what is piped in"));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| usage("the password from standard input is not UTF-8 text", "check what is piped in"))?;
    // Files and `echo` end with a line end that is no part of the password.
    Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
}

fn show(text: &str) {
    // A closed stderr does not keep anyone from typing.
    drop(io::stderr().write_all(text.as_bytes()));
}

fn failed(error: &io::Error) -> Failure {
    Failure::new(ErrorClass::Other, format!("failed to read from the terminal: {error}"))
        .with_help("give it without a terminal: see the command's `--help`")
}

/// Reads byte by byte with the terminal's own echo, editing and signals off: a Ctrl-C that ended the process here
/// would leave the terminal silent.
#[cfg(unix)]
fn hidden_line(question: &str) -> Result<Secret, Failure> {
    let stdin = io::stdin().lock();
    // Before the question: whoever answers at once would see the answer.
    let _quiet = Quiet::new(&stdin).map_err(|error| failed(&error))?;
    show(question);
    let mut line = Zeroizing::new(Vec::with_capacity(256));
    for byte in stdin.bytes() {
        match byte.map_err(|error| failed(&error))? {
            b'\n' | b'\r' | END_OF_INPUT => break,
            INTERRUPT => return Err(Failure::new(ErrorClass::Interrupted, "stopped, nothing was changed")),
            BACKSPACE | DELETE => {
                line.pop();
            }
            ERASE_LINE => line.clear(),
            _ if line.len() == MAX_ANSWER => break,
            other => line.push(other),
        }
    }
    let text = std::str::from_utf8(&line)
        .map_err(|_| Failure::new(ErrorClass::Usage, "the password is not UTF-8 text").with_help("type it again"))?;
    Ok(Secret::new(text))
}

#[cfg(unix)]
const INTERRUPT: u8 = 3;
#[cfg(unix)]
const END_OF_INPUT: u8 = 4;
#[cfg(unix)]
const BACKSPACE: u8 = 8;
#[cfg(unix)]
const ERASE_LINE: u8 = 21;
#[cfg(unix)]
const DELETE: u8 = 127;

/// A terminal that shows nothing; as it was when dropped.
#[cfg(unix)]
struct Quiet {
    before: rustix::termios::Termios,
}

#[cfg(unix)]
impl Quiet {
    fn new(stdin: &io::StdinLock<'_>) -> io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(stdin)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(stdin, OptionalActions::Now, &quiet)?;
        Ok(Self { before })
    }
}

#[cfg(unix)]
impl Drop for Quiet {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        // Nothing can be done about a terminal that went away.
        tcsetattr(io::stdin(), OptionalActions::Now, &self.before).ok();
    }
}

#[cfg(not(unix))]
fn hidden_line(question: &str) -> Result<Secret, Failure> {
    let _ = (MAX_ANSWER, question);
    Err(Failure::new(ErrorClass::Usage, "a password cannot be typed unseen on this system")
        .with_help("give it by a file or a pipe: see the command's `--help`"))
}
