//! How amounts and text from outside are shown to people, in a terminal as in a document.

use std::fmt::Write as _;

/// Text that does nothing to a terminal: control characters, bidirectional overrides and invisible characters from
/// servers and files are shown as escapes. Line ends stay.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) { shown.push(c) } else { shown.extend(c.escape_unicode()) }
    }
    shown
}

/// The same on one line: line ends are shown as escapes too.
pub fn line(text: &str) -> String {
    plain(text).replace('\n', "\\u{a}")
}

/// The same for JSON, by JSON's own escapes: who parses it sees no difference.
pub fn plain_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if is_harmless(c) {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(shown, "\\u{unit:04x}").expect("a String takes any text");
            }
        }
    }
    shown
}

/// Whether a character does nothing to a terminal. Line ends do nothing.
pub fn is_harmless(c: char) -> bool {
    c == '\n' || !(c.is_control() || is_invisible(c))
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Decimal units, three digits at most behind none or one point: `0 B`, `999 B`, `1.2 kB`, `34.0 MB`.
pub fn size(bytes: u64) -> String {
    let units = [("TB", 1_000_000_000_000_u64), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// Longer values from outside are cut where a person reads: a page or ticket stays one that can be read.
const LONGEST: usize = 1_000;

/// Text of at most some 1,000 characters; what is longer is cut, and says how long it was.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        None => text.to_owned(),
    }
}

/// A number with its noun, as in `1 layer` and `2 layers`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_does_nothing_to_a_terminal() {
        let hostile = "a\x1b]52;c;x\x07b\r\u{202e}c\u{200b}\u{9b}d\x7f\t";
        let shown = plain(hostile);
        assert!(shown.chars().all(|c| !c.is_control() && !is_invisible(c)), "{shown:?}");
        assert_eq!(plain("line\nnext ä"), "line\nnext ä");
    }

    #[test]
    fn foreign_text_in_json_does_nothing_to_a_terminal_and_stays_the_same() {
        let hostile = "a\x1b]52;c;x\x07b\r\u{202e}c\u{200b}\u{9b}d\x7f\t\u{e0041}ä";
        let shown = plain_json(&serde_json::json!({ "title": hostile }).to_string());
        assert!(shown.chars().all(|c| !c.is_control() && !is_invisible(c)), "{shown:?}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["title"], hostile);
    }

    #[test]
    fn sizes_read_as_docker_writes_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_999, "1.9 kB"),
            (2_012_000_000, "2.0 GB"),
            (u64::MAX, "18446744.0 TB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(LONGEST)).chars().count(), LONGEST);
        let long = cut(&"ä".repeat(10_000));
        assert!(long.ends_with("… (10000 characters)") && long.chars().count() < LONGEST + 30, "{long}");
    }
}
