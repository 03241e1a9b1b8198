//! Where something stands in a manifest, and how it is shown.

use std::fmt;
use std::sync::Arc;

use serde_saphyr::Location;

use crate::manifest::MAX_MANIFEST_BYTES;
use crate::manifest::error::{ManifestError, Mistake, Problem};

/// As much of a line as an error shows, in characters.
const MAX_SHOWN: usize = 120;
/// As much of a file's name as an error shows, in characters.
const MAX_NAME: usize = 200;

/// A manifest's text with the name that messages give it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    name: Arc<str>,
    text: Arc<str>,
}

/// A stretch of one line: line and column from 1, column and width in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

/// A stretch of one line, with the line itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: Arc<str>,
    mark: Mark,
    shown: String,
    /// How many characters of `shown` stand before the stretch.
    before: usize,
}

impl Source {
    /// Takes text that is UTF-8, not too large, and free of characters that cannot be seen.
    pub(super) fn new(name: &str, text: &[u8]) -> Result<Self, ManifestError> {
        let name: Arc<str> = name.chars().take(MAX_NAME).map(visible).collect::<String>().into();
        if text.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { file: name.to_string(), size: text.len() });
        }
        let Ok(text) = std::str::from_utf8(text) else {
            let source = Self { name, text: String::from_utf8_lossy(text).into() };
            return Err(source.first(|c, _| c == char::REPLACEMENT_CHARACTER, |_| Problem::NotUtf8));
        };
        let source = Self { name, text: text.into() };
        source.refuse_invisible()?;
        Ok(source)
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The place of a mark.
    pub(super) fn place(&self, mark: Mark) -> Place {
        let line = self.text.split('\n').nth(mark.line.saturating_sub(1)).unwrap_or_default();
        let line: Vec<char> = line.trim_end_matches('\r').chars().map(visible).collect();
        let before = mark.column.saturating_sub(1).min(line.len());
        let first = if before < MAX_SHOWN * 2 / 3 { 0 } else { before - MAX_SHOWN / 3 };
        let mut shown: String = line[first..].iter().take(MAX_SHOWN).collect();
        if first > 0 {
            shown.insert(0, '…');
        }
        if line.len() - first > MAX_SHOWN {
            shown.push('…');
        }
        Place { file: self.name.clone(), mark, shown, before: before - first + usize::from(first > 0) }
    }

    /// A mistake at a mark, as the module's error.
    pub(super) fn mistake(&self, mark: Mark, problem: Problem) -> ManifestError {
        ManifestError::Mistake(Box::new(Mistake { place: self.place(mark), problem }))
    }

    /// The text at a mark.
    pub(super) fn part(&self, mark: Mark) -> String {
        let line = self.text.split('\n').nth(mark.line.saturating_sub(1)).unwrap_or_default();
        line.trim_end().chars().skip(mark.column.saturating_sub(1)).take(mark.width).collect()
    }

    /// The mark of `part` in the text that begins at `mark`; `mark` itself if it is not on that line.
    pub(super) fn mark_of(&self, part: &str, mark: Mark) -> Mark {
        let line = self.text.split('\n').nth(mark.line.saturating_sub(1)).unwrap_or_default();
        let from = line.char_indices().nth(mark.column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
        line[from..].find(part).map_or(mark, |at| Mark {
            line: mark.line,
            column: mark.column + line[from..from + at].chars().count(),
            width: part.chars().count(),
        })
    }

    fn refuse_invisible(&self) -> Result<(), ManifestError> {
        let invisible = |c: char, next: Option<char>| match c {
            '\n' | '\t' => false,
            '\r' => next != Some('\n'),
            _ => c.is_control() || is_direction_mark(c),
        };
        let mut following = self.text.chars().skip(1);
        if self.text.chars().any(|c| invisible(c, following.next())) {
            return Err(self.first(invisible, |c| Problem::Invisible { code: u32::from(c) }));
        }
        let indented_by_tab = |line: &str| line.trim_start_matches(' ').starts_with('\t') && !line.trim().is_empty();
        if let Some(line) = self.text.lines().position(indented_by_tab) {
            let spaces = self.text.lines().nth(line).map_or(0, |text| text.chars().take_while(|&c| c == ' ').count());
            return Err(self.mistake(Mark { line: line + 1, column: spaces + 1, width: 1 }, Problem::Tab));
        }
        Ok(())
    }

    /// The error at the first character that `wanted` (given its follower too) accepts.
    fn first(
        &self,
        wanted: impl Fn(char, Option<char>) -> bool,
        problem: impl FnOnce(char) -> Problem,
    ) -> ManifestError {
        let mut mark = Mark { line: 1, column: 1, width: 1 };
        let mut characters = self.text.chars().peekable();
        while let Some(c) = characters.next() {
            if wanted(c, characters.peek().copied()) {
                return self.mistake(mark, problem(c));
            }
            mark = match c {
                '\n' => Mark { line: mark.line + 1, column: 1, width: 1 },
                _ => Mark { column: mark.column + 1, ..mark },
            };
        }
        self.mistake(mark, problem('\0'))
    }
}

/// Characters that turn the direction of text, by which a line reads otherwise than it is.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The character as it may stand in a message.
pub(super) fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        _ if c.is_control() || is_direction_mark(c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => '\u{fffd}',
        _ => c,
    }
}

impl From<Location> for Mark {
    fn from(location: Location) -> Self {
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).max(1);
        Self { line: number(location.line()), column: number(location.column()), width: number(location.span().len()) }
    }
}

impl Place {
    /// The file's name, as it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.mark.line
    }

    /// The column in characters, from 1.
    pub fn column(&self) -> usize {
        self.mark.column
    }

    /// The line with a caret below, as four lines of text led by a newline.
    pub(super) fn snippet(&self) -> String {
        let number = self.mark.line.to_string();
        let margin = " ".repeat(number.len());
        let rest = self.shown.chars().count().saturating_sub(self.before);
        let carets = "^".repeat(self.mark.width.min(rest).max(1));
        let shown = self.shown.trim_end();
        format!("\n{margin} |\n{number} | {shown}\n{margin} | {}{carets}", " ".repeat(self.before))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.mark.line, self.mark.column)
    }
}
