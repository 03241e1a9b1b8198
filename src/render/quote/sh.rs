//! POSIX shells.

use std::borrow::Cow;

use crate::render::error::RenderError;

/// The line that a POSIX shell reads back as exactly these arguments.
///
/// None of them may contain NUL, which no argument can hold; nor should one contain control characters, which cannot be
/// quoted for a terminal.
pub(in crate::render) fn posix_line(arguments: &[String]) -> String {
    let quoted = |argument: &String| quoted(argument).expect("values with NUL were refused").into_owned();
    arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// One word.
pub(super) fn quoted(argument: &str) -> Result<Cow<'_, str>, RenderError> {
    if is_plain_option(argument) {
        return Ok(argument.into());
    }
    shlex::try_quote(argument).map_err(|_| super::refuse("a shell script", "it contains NUL"))
}

/// `--restart=unless-stopped` stays as the documentation shows it: `=` means something only in a word that a name leads.
fn is_plain_option(argument: &str) -> bool {
    argument.starts_with('-')
        && argument.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'=' | b'_' | b'.' | b'/'))
}
