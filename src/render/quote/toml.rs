//! TOML.

use std::fmt::Write as _;

/// A basic string.
pub(super) fn string(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for c in text.chars() {
        match c {
            '\\' | '"' => string.extend(['\\', c]),
            c if c.is_control() => write!(string, "\\u{:04x}", u32::from(c)).expect("a String takes any text"),
            c => string.push(c),
        }
    }
    string.push('"');
    string
}
