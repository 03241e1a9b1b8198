//! systemd's units (systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers").

use crate::render::error::RenderError;

/// One word of `ExecStart=` and its kin: quoted, with specifiers and variables turned off.
pub(super) fn word(text: &str) -> String {
    let mut word = String::with_capacity(text.len() + 2);
    word.push('"');
    for c in text.chars() {
        match c {
            '\\' | '"' => word.extend(['\\', c]),
            '%' | '$' => word.extend([c, c]),
            '\n' => word.push_str("\\n"),
            c => word.push(c),
        }
    }
    word.push('"');
    word
}

/// Text of a setting that is no command line, where `%` alone has a meaning; a `\` at the end would take the next
/// line in.
pub(super) fn text(text: &str) -> Result<String, RenderError> {
    if text.contains(char::is_control) {
        return Err(super::refuse("a systemd unit", "it contains a control character"));
    }
    if text.ends_with('\\') {
        return Err(super::refuse("a systemd unit", "it ends in a back slash"));
    }
    Ok(text.replace('%', "%%"))
}

/// A value of a Quadlet. podman's versions differ in how they unquote these, and pass `%` and `$` on to systemd: only
/// text that nobody reads anything into is taken.
pub(super) fn quadlet(text: &str) -> Result<String, RenderError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_./:@=,+-[]".contains(&b);
    if text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(super::refuse("a Quadlet", "it has a character beyond letters, digits and `_./:@=,+-[]`"))
}
