//! A flat file of answers: keys with a text or a list of texts, read as strictly as a manifest and with the same
//! places in its messages.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::manifest::error::{ManifestError, Problem};
use crate::manifest::form::Text;
use crate::manifest::place::Source;
use crate::manifest::yaml;

/// Such a file: each key once, in the order written.
pub struct Sheet {
    source: Source,
    entries: Vec<(Text, Spanned<Texts>)>,
}

/// The answers to one key, without their places.
pub struct SheetEntry<'a> {
    /// The key.
    pub key: &'a str,
    /// Its texts: of a list all, else one.
    pub texts: Vec<&'a str>,
}

impl Sheet {
    /// Reads one. `name` is what messages call it; a key that is not of `known` is refused where it stands.
    pub fn parse(name: &str, text: &[u8], known: &[&'static str]) -> Result<Self, ManifestError> {
        let source = Source::new(name, text)?;
        let outline = yaml::outline(&source)?;
        let Entries(entries) = yaml::typed(&source, &outline)?;
        let unknown = entries.iter().find(|(key, _)| !known.contains(&key.value.as_str()));
        if let Some((key, _)) = unknown {
            let problem = Problem::UnknownKey { key: yaml::shortened(&key.value), known: known.to_vec() };
            return Err(source.mistake(outline.marked(key.referenced.into()), problem));
        }
        Ok(Self { source, entries })
    }

    /// Its keys with their texts.
    pub fn entries(&self) -> impl Iterator<Item = SheetEntry<'_>> {
        self.entries.iter().map(|(key, texts)| SheetEntry {
            key: &key.value,
            texts: match &texts.value {
                Texts::One(text) => vec![text],
                Texts::Many(texts) => texts.iter().map(|text| text.value.0.as_str()).collect(),
            },
        })
    }

    /// The error that one of a key's texts is wrong, shown where it stands. The line is not shown: it may hold a
    /// secret.
    pub fn mistake(&self, key: &str, nth: usize, message: String, help: Option<String>) -> ManifestError {
        let entry = self.entries.iter().find(|(known, _)| known.value == key);
        let mark = entry.map(|(_, texts)| match &texts.value {
            Texts::Many(all) if nth < all.len() => all[nth].referenced,
            Texts::One(_) | Texts::Many(_) => texts.referenced,
        });
        let place = self.source.place(mark.unwrap_or(serde_saphyr::Location::UNKNOWN).into());
        ManifestError::Answer { place: place.to_string(), message, help }
    }
}

struct Entries(Vec<(Text, Spanned<Texts>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("answers, one `KEY: VALUE` a line")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A text, or a list of them.
enum Texts {
    One(String),
    Many(Vec<Spanned<Scalar>>),
}

/// A text. A whole number or a truth value is the text that it is written as.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Texts::deserialize(deserializer)? {
            Texts::One(text) => Ok(Self(text)),
            Texts::Many(_) => Err(serde::de::Error::custom("a list in a list")),
        }
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts::One(text.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Texts, E> {
                Ok(Texts::One(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Texts, E> {
                Ok(Texts::One(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Texts, E> {
                Ok(Texts::One(value.to_string()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts::Many(texts))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match Sheet::parse("site.yaml", text.as_bytes(), &["name", "env", "debug", "port"]) {
            Ok(_) => panic!("{text:?} was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn texts_lists_numbers_and_switches_are_read_as_they_are_written() {
        let text = "name: agent-1\nenv: [\"A=1\", 'B=x y']\ndebug: true\nport: 8080\n";
        let sheet = Sheet::parse("site.yaml", text.as_bytes(), &["name", "env", "debug", "port"]).unwrap();
        let entries: Vec<(String, Vec<String>)> = sheet
            .entries()
            .map(|entry| (entry.key.to_owned(), entry.texts.iter().map(|&text| text.to_owned()).collect()))
            .collect();
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let expected = [
            ("name", texts(&["agent-1"])),
            ("env", texts(&["A=1", "B=x y"])),
            ("debug", texts(&["true"])),
            ("port", texts(&["8080"])),
        ];
        assert_eq!(entries, expected.map(|(key, texts)| (key.to_owned(), texts)));
        let wrong = sheet.mistake("env", 1, "no".into(), None).to_string();
        assert_eq!(wrong, "site.yaml:2:14: no");
    }

    #[test]
    fn what_is_no_sheet_is_shown_where_it_stands() {
        for (text, place) in [
            ("name: a\nnaem: b\n", "site.yaml:2:1: unknown key `naem`"),
            ("name: a\nname: b\n", "site.yaml:2:1"),
            ("name: {a: b}\n", "site.yaml:1"),
            ("name: [[a]]\n", "site.yaml:1"),
            ("- a\n", "site.yaml:1:1"),
            ("name: &x a\n", "site.yaml:1:7"),
            ("name: \"a\n", "site.yaml:"),
            ("", "empty"),
        ] {
            let told = refused(text);
            assert!(told.contains(place), "{text:?}: {told}");
        }
    }
}
