//! Text with `${variables}` in it.

use std::ops::Range;

/// Text of which some parts are to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    /// Each `${name}`, in order.
    holes: Vec<Hole>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hole {
    name: String,
    /// Where `${name}` stands in the text.
    at: Range<usize>,
}

/// A `${` that has no `}` behind a plain name: the faulty part, up to 40 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadHole(pub(super) String);

impl Template {
    /// Finds the variables.
    pub(super) fn parse(text: &str) -> Result<Self, BadHole> {
        let mut holes = Vec::new();
        let mut from = 0;
        while let Some(start) = text[from..].find("${").map(|at| from + at) {
            let bad = || BadHole(text[start..].chars().take(40).collect());
            let end = text[start..].find('}').map(|at| start + at).ok_or_else(bad)?;
            let name = &text[start + 2..end];
            if !is_variable_name(name) {
                return Err(BadHole(text[start..=end].chars().take(40).collect()));
            }
            holes.push(Hole { name: name.to_owned(), at: start..end + 1 });
            from = end + 1;
        }
        Ok(Self { text: text.to_owned(), holes })
    }

    /// As written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its variables, in order, with repetitions.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.holes.iter().map(|hole| hole.name.as_str())
    }

    /// The text with every variable replaced once by what `value` says; none if one has no value.
    pub(super) fn filled<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
        let mut filled = String::with_capacity(self.text.len());
        let mut from = 0;
        for hole in &self.holes {
            filled.push_str(&self.text[from..hole.at.start]);
            filled.push_str(value(&hole.name)?);
            from = hole.at.end;
        }
        filled.push_str(&self.text[from..]);
        Some(filled)
    }
}

/// Whether it can stand in `${…}`: letters, digits and `_`, not led by a digit, up to 64.
pub(super) fn is_variable_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.len() <= 64 && name.bytes().all(word) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// The first character that no value may have. What remains can be part of a reference and nothing else:
/// no blank, no quote, no further `${`.
pub(super) fn forbidden_in_value(value: &str) -> Option<char> {
    value.chars().find(|&c| !c.is_ascii_alphanumeric() && !"._-/:@[]".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variable_is_replaced_once_and_values_are_not_read_again() {
        let template = Template::parse("${host}/a-${x}:${x}").unwrap();
        let value = |name: &str| match name {
            "host" => Some("reg.corp"),
            "x" => Some("${host}"),
            _ => None,
        };
        assert_eq!(template.filled(value).unwrap(), "reg.corp/a-${host}:${host}");
        assert_eq!(template.variables().collect::<Vec<_>>(), ["host", "x", "x"]);
        assert_eq!(template.filled(|_| None), None);
    }

    #[test]
    fn a_hole_without_end_or_plain_name_is_named() {
        for (text, faulty) in [
            ("a:${x", "${x"),
            ("a:${}", "${}"),
            ("a:${1x}", "${1x}"),
            ("a:${x y}:1", "${x y}"),
            ("${a${b}}", "${a${b}"),
        ] {
            assert_eq!(Template::parse(text), Err(BadHole(faulty.into())), "{text}");
        }
        assert!(Template::parse("a$b:{c}").unwrap().holes.is_empty());
    }
}
