//! Batch files of cmd.

use crate::render::error::RenderError;

/// One argument in double quotes, inside of which cmd gives a meaning to `%` alone.
///
/// A `"` is refused: cmd ends its quotes there and programs do not, so what follows would be read in two ways. So is
/// `!`, which is a variable's where delayed expansion is on.
pub(super) fn quoted(text: &str) -> Result<String, RenderError> {
    if text.contains('"') {
        return Err(super::refuse("a batch file", "it contains a double quote"));
    }
    if text.contains('!') {
        return Err(super::refuse("a batch file", "it contains an exclamation mark"));
    }
    if text.contains(char::is_control) {
        return Err(super::refuse("a batch file", "it contains a control character"));
    }
    // Programs read back slashes before a quote as escapes of it.
    let slashes = text.len() - text.trim_end_matches('\\').len();
    Ok(format!("\"{}{}\"", text.replace('%', "%%"), "\\".repeat(slashes)))
}
