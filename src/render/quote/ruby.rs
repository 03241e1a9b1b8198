//! Ruby.

/// A string in single quotes, in which a back slash and the quote alone have a meaning.
pub(super) fn string(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('\'');
    for c in text.chars() {
        if matches!(c, '\\' | '\'') {
            string.push('\\');
        }
        string.push(c);
    }
    string.push('\'');
    string
}
