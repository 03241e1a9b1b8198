//! What a registry wants its users to know: `Warning: 299 - "text"`, as the distribution specification has it.

use http::HeaderMap;
use http::header::WARNING;

/// What of a text is shown.
const MAX_TEXT: usize = 300;

/// The texts of an answer's warnings. Other codes are caches' own business.
pub(super) fn notices(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(WARNING).iter().filter_map(|value| text_of(value.to_str().ok()?)).collect()
}

/// The text of `299 AGENT "TEXT"`.
fn text_of(value: &str) -> Option<String> {
    let (_agent, quoted) = value.trim().strip_prefix("299 ")?.trim_start().split_once(' ')?;
    let mut text = String::new();
    let mut rest = quoted.trim_start().strip_prefix('"')?.chars();
    while let Some(next) = rest.next() {
        match next {
            '"' => return Some(text),
            '\\' => text.extend(rest.next()),
            other => text.push(other),
        }
        if text.chars().count() >= MAX_TEXT {
            return Some(text + "…");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h_20_only_whole_warnings_of_the_registrys_own_are_texts() {
        for (value, text) in [
            (r#"299 - "moves""#, Some("moves")),
            (r#" 299 registry.corp:5000 "say \"hello\" \\" "Sat, 01 Jan 2026 00:00:00 GMT""#, Some(r#"say "hello" \"#)),
            (r#"199 - "other code""#, None),
            (r#"299 - "no end"#, None),
            (r"299 - bare", None),
            ("299", None),
            ("", None),
        ] {
            assert_eq!(text_of(value).as_deref(), text, "{value}");
        }
        assert_eq!(text_of(&format!("299 - \"{}\"", "é".repeat(1000))).unwrap().chars().count(), MAX_TEXT + 1);
    }
}
