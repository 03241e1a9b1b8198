//! Paragraphs of fields, as dpkg and apk keep their lists: `Name: value`, an empty line between two.

/// One paragraph.
pub(super) struct Paragraph<'a>(&'a str);

/// The paragraphs of a list.
pub(super) fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    text.split("\n\n").map(Paragraph)
}

impl Paragraph<'_> {
    /// What a field says, without blanks around it; none if it is not there or empty. Lines that go on with the field
    /// before begin with a blank, so they are no fields.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }
}
