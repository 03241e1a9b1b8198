//! Arguments as one line for a POSIX shell.

use std::borrow::Cow;

/// The line that a POSIX shell reads back as exactly these arguments.
///
/// None of them may contain NUL, which no argument can hold; nor should one contain control characters, which cannot be
/// quoted for a terminal.
pub(super) fn posix_line(arguments: &[String]) -> String {
    arguments.iter().map(|argument| quoted(argument)).collect::<Vec<_>>().join(" ")
}

fn quoted(argument: &str) -> Cow<'_, str> {
    if is_plain_option(argument) {
        return argument.into();
    }
    shlex::try_quote(argument).expect("values with NUL were refused")
}

/// `--restart=unless-stopped` stays as the documentation shows it: `=` means something only in a word that a name leads.
fn is_plain_option(argument: &str) -> bool {
    argument.starts_with('-')
        && argument.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'=' | b'_' | b'.' | b'/'))
}
