//! A flat file of answers: keys with a text or a list of texts, read as strictly as a manifest and with the same
//! places in its messages, but never a line of it: it may hold a secret.

use crate::manifest::error::{ManifestError, Problem, Syntax};
use crate::manifest::place::{Mark, Source};
use crate::manifest::yaml::{self, Behind, Written};

/// Such a file: each key once, in the order written.
pub struct Sheet {
    source: Source,
    entries: Vec<Entry>,
}

struct Entry {
    key: String,
    /// Where its text or list begins.
    mark: Mark,
    texts: Vec<Written>,
    sound: bool,
}

/// The answers to one key, without their places.
pub struct SheetEntry<'a> {
    /// The key.
    pub key: &'a str,
    /// Its texts: of a list all, else one.
    pub texts: Vec<&'a str>,
    /// Whether nothing but texts stood there.
    pub sound: bool,
}

/// Something that is wrong with an answer, or with a key.
#[derive(Debug)]
pub struct SheetMistake {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, with its place.
    pub error: ManifestError,
}

impl Sheet {
    /// Reads one. `name` is what messages call it. Keys that are not of `known`, and what is no text, are left out of
    /// it and listed beside; what cannot be read at all is the error.
    pub fn parse(name: &str, text: &[u8], known: &[&'static str]) -> Result<(Self, Vec<SheetMistake>), ManifestError> {
        let source = Source::new(name, text).map_err(unseen)?;
        let written = yaml::entries(&source).map_err(unseen)?;
        let mut sheet = Self { source, entries: Vec::new() };
        let mut mistakes = Vec::new();
        for (key, behind) in written {
            if !known.contains(&key.text.as_str()) {
                let problem = Problem::UnknownKey { key: yaml::shortened(&key.text), known: known.to_vec() };
                mistakes.push(sheet.wrong(key.mark, problem.to_string(), problem.help()));
                continue;
            }
            let (mark, scalars) = match behind {
                Behind::One(one) => (one.as_ref().map_or_else(|(mark, _)| *mark, |text| text.mark), vec![one]),
                Behind::Many(mark, all) => (mark, all),
            };
            let (mut texts, before) = (Vec::new(), mistakes.len());
            for scalar in scalars {
                match scalar {
                    Ok(text) => texts.push(text),
                    Err((mark, found)) => {
                        let help = format!("write `{}: VALUE`, or below it one `- VALUE` a line", key.text);
                        mistakes.push(sheet.wrong(mark, format!("expected a text, found {found}"), Some(help)));
                    }
                }
            }
            sheet.entries.push(Entry { key: key.text, mark, texts, sound: mistakes.len() == before });
        }
        Ok((sheet, mistakes))
    }

    /// Its keys with their texts.
    pub fn entries(&self) -> impl Iterator<Item = SheetEntry<'_>> {
        self.entries.iter().map(|entry| SheetEntry {
            key: &entry.key,
            texts: entry.texts.iter().map(|text| text.text.as_str()).collect(),
            sound: entry.sound,
        })
    }

    /// That one of a key's texts is wrong, or with `None` all of them; of a key that is not there, the whole file.
    pub fn mistake(&self, key: &str, nth: Option<usize>, message: String, help: Option<String>) -> SheetMistake {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let mark = entry.map(|entry| nth.and_then(|nth| entry.texts.get(nth)).map_or(entry.mark, |text| text.mark));
        self.wrong(mark.unwrap_or(Mark { line: 1, column: 1, width: 1 }), message, help)
    }

    fn wrong(&self, mark: Mark, message: String, help: Option<String>) -> SheetMistake {
        let place = self.source.place(mark).to_string();
        SheetMistake { line: mark.line, error: ManifestError::Answer { place, message, help } }
    }
}

/// The same without the line that it is about, and without advice for manifests.
fn unseen(error: ManifestError) -> ManifestError {
    let form = || Some("it holds keys, each with a text or a list of texts, as in `key: \"text\"`".to_owned());
    match error {
        ManifestError::Mistake(mistake) => {
            let help = match &mistake.problem {
                Problem::Syntax(Syntax::Nothing) | Problem::TooDeep | Problem::TooMany => form(),
                other => other.help(),
            };
            ManifestError::Answer { place: mistake.place.to_string(), message: mistake.problem.to_string(), help }
        }
        ManifestError::TooLarge { ref file, .. } => {
            ManifestError::Answer { place: file.clone(), message: error.to_string(), help: form() }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Explain as _;

    const KNOWN: [&str; 5] = ["name", "env", "debug", "port", "heap"];

    fn parsed(text: &str) -> (Sheet, Vec<String>) {
        let (sheet, mistakes) = Sheet::parse("site.yaml", text.as_bytes(), &KNOWN).unwrap();
        (sheet, mistakes.iter().map(|mistake| mistake.error.to_string()).collect())
    }

    fn texts(sheet: &Sheet) -> Vec<(&str, Vec<&str>)> {
        sheet.entries().map(|entry| (entry.key, entry.texts)).collect()
    }

    #[test]
    fn what_cannot_be_read_at_all_is_not_taken_for_a_manifest() {
        let huge = "#".repeat(2 << 20);
        for text in ["", "# nothing\n", &"[".repeat(40), "a: b\n---\nc: d\n", "a: \u{202e}\n", &huge] {
            let error = Sheet::parse("site.yaml", text.as_bytes(), &KNOWN).err().unwrap();
            let told = format!("{error} {:?}", error.help());
            assert!(error.help().is_some() && told.starts_with("site.yaml:"), "{told}");
            for word in ["manifest", "octobundle/v1", "release"] {
                assert!(!told.contains(word), "{told}");
            }
        }
    }

    #[test]
    fn texts_lists_numbers_and_switches_are_read_as_they_are_written() {
        let text = "name: agent-1\nenv: [\"A=1\", 'B=x y']\ndebug: true\nport: 080\nheap: 1.50\n";
        let (sheet, mistakes) = parsed(text);
        assert_eq!(mistakes, [""; 0]);
        let expected = [
            ("name", vec!["agent-1"]),
            ("env", vec!["A=1", "B=x y"]),
            ("debug", vec!["true"]),
            ("port", vec!["080"]),
            ("heap", vec!["1.50"]),
        ];
        assert_eq!(texts(&sheet), expected);
        for (nth, place) in [(Some(1), "site.yaml:2:14: no"), (None, "site.yaml:2:6: no")] {
            let wrong = sheet.mistake("env", nth, "no".into(), None);
            assert_eq!((wrong.line, wrong.error.to_string().as_str()), (2, place));
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_where_it_stands_and_the_rest_is_read() {
        let text = "name: {a: [s3cret, {b: c}]}\nnaem: s3cret\nenv:\n  - A=1\n  - B: s3cret\n  - [s3cret]\n  - C=2\nport:\ndebug: on\n";
        let (sheet, mistakes) = parsed(text);
        let read = [("name", vec![]), ("env", vec!["A=1", "C=2"]), ("port", vec![]), ("debug", vec!["on"])];
        assert_eq!(texts(&sheet), read);
        let sound: Vec<bool> = sheet.entries().map(|entry| entry.sound).collect();
        assert_eq!(sound, [false, false, false, true]);
        let places = ["site.yaml:1:7: ", "site.yaml:2:1: unknown key `naem`", "site.yaml:5:5: ", "site.yaml:6:5: "];
        for (told, place) in mistakes.iter().zip(places) {
            assert!(told.starts_with(place), "{place}: {told}");
        }
        assert!(mistakes[4].starts_with("site.yaml:8:") && mistakes[4].ends_with("found nothing"), "{mistakes:?}");
        assert_eq!(mistakes.len(), 5);
        assert!(!mistakes.concat().contains("s3cret"), "{mistakes:?}");
        assert_eq!(sheet.mistake("env", Some(1), "no".into(), None).error.to_string(), "site.yaml:7:5: no");
    }

    #[test]
    fn what_cannot_be_read_is_the_error_and_its_line_is_not_shown() {
        for (text, place) in [
            ("name: s3cret\nname: s3cret\n", "site.yaml:2:1"),
            ("- s3cret\n", "site.yaml:1:1"),
            ("s3cret\n", "site.yaml:1:1"),
            ("name: &x s3cret\n", "site.yaml:1:7"),
            ("name: \"s3cret\n", "site.yaml:"),
            ("name: a\n\tdebug: s3cret\n", "site.yaml:2:1"),
            ("", "empty"),
        ] {
            let Err(error) = Sheet::parse("site.yaml", text.as_bytes(), &KNOWN) else { panic!("{text:?} was taken") };
            let told = error.to_string();
            assert!(told.contains(place) && !told.contains("s3cret"), "{text:?}: {told}");
        }
    }
}
