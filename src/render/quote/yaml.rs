//! YAML 1.1 and 1.2.

use std::fmt::Write as _;

/// A scalar in double quotes, which is text in every version of YAML whatever it says (`no`, `1e3`, `~`).
pub(super) fn scalar(text: &str) -> String {
    let mut scalar = String::with_capacity(text.len() + 2);
    scalar.push('"');
    for c in text.chars() {
        match c {
            '\\' | '"' => scalar.extend(['\\', c]),
            '\n' => scalar.push_str("\\n"),
            c if is_printable(c) => scalar.push(c),
            c => write!(scalar, "\\U{:08x}", u32::from(c)).expect("a String takes any text"),
        }
    }
    scalar.push('"');
    scalar
}

/// What YAML lets stand as it is, without the breaks of lines that version 1.1 sees beyond ASCII.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}
