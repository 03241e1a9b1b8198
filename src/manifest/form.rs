//! The manifest as it is written: the types that read it and from which its JSON Schema is made.

use std::fmt;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// The `schema` of manifests that this version reads.
pub const MANIFEST_SCHEMA: &str = "octobundle/v1";

/// The `$id` under which editors may keep the JSON Schema; nothing is fetched from it.
const SCHEMA_ID: &str = "urn:octobundle:manifest:v1";

/// Text with its place.
pub(super) type Text = Spanned<String>;

/// What one release ships.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "octobundle release manifest")]
pub(super) struct Form {
    /// The format of this file: `octobundle/v1`.
    #[schemars(with = "SchemaName")]
    pub(super) schema: Text,
    /// The release's name, as in `octoperf-9.2.0`: letters, digits and `.`, `_`, `-`.
    #[schemars(with = "String", length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub(super) release: Text,
    /// The release in words, on one line.
    #[schemars(with = "String", length(min = 1, max = 200))]
    pub(super) title: Text,
    /// Names that stand for text in the images' references, each with its default; one without (`name:`) must be set
    /// by the user with `--set name=VALUE`.
    #[serde(default)]
    pub(super) variables: Variables,
    /// The platforms of images that do not say their own; `linux/amd64` if left out.
    #[serde(default)]
    #[schemars(with = "Platforms")]
    pub(super) platforms: Option<Spanned<Platforms>>,
    /// The images; at least one.
    #[schemars(with = "Vec<Item>", length(min = 1))]
    pub(super) images: Spanned<Vec<Item>>,
}

/// One image of the release.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Image")]
pub(super) struct Item {
    /// Its reference, with a tag, a digest or both; `${name}` stands for a variable.
    #[schemars(with = "String", length(min = 1))]
    pub(super) image: Text,
    /// What it does: `agent`, `load-generator`, `infrastructure` or another word.
    #[schemars(with = "String", length(min = 1, max = 64), regex(pattern = "^[a-z0-9][a-z0-9._-]*$"))]
    pub(super) role: Text,
    /// The groups by which it can be selected with `--group`; without any it is always taken.
    #[serde(default)]
    #[schemars(with = "Option<Vec<GroupName>>")]
    pub(super) groups: Vec<Text>,
    /// Its own platforms.
    #[serde(default)]
    #[schemars(with = "Platforms")]
    pub(super) platforms: Option<Spanned<Platforms>>,
}

/// The word that tells the format.
#[derive(JsonSchema)]
#[schemars(inline)]
enum SchemaName {
    #[serde(rename = "octobundle/v1")]
    #[expect(dead_code, reason = "only its schema is used")]
    V1,
}

/// A group's name.
#[derive(JsonSchema)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is used")]
struct GroupName(#[schemars(length(min = 1, max = 64), regex(pattern = "^[a-z0-9][a-z0-9._-]*$"))] String);

/// Variables in the order they are written.
#[derive(Debug, Default)]
pub(super) struct Variables(pub(super) Vec<(Text, Spanned<Option<String>>)>);

/// What stands under `platforms`: `all`, or a list.
#[derive(Debug)]
pub(super) enum Platforms {
    /// Nothing is written.
    Unsaid,
    /// One word: `all`, if it is right.
    Word(String),
    /// These.
    Only(Vec<Text>),
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Variables;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("variables, one `name: \"value\"` a line")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Variables, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Variables(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Platforms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AllOrList;
        impl<'de> Visitor<'de> for AllOrList {
            type Value = Platforms;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all` or a list of platforms, as in `[linux/amd64]`")
            }
            fn visit_unit<E>(self) -> Result<Platforms, E> {
                Ok(Platforms::Unsaid)
            }
            fn visit_bool<E>(self, word: bool) -> Result<Platforms, E> {
                Ok(Platforms::Word(word.to_string()))
            }
            fn visit_i64<E>(self, word: i64) -> Result<Platforms, E> {
                Ok(Platforms::Word(word.to_string()))
            }
            fn visit_u64<E>(self, word: u64) -> Result<Platforms, E> {
                Ok(Platforms::Word(word.to_string()))
            }
            fn visit_f64<E>(self, word: f64) -> Result<Platforms, E> {
                Ok(Platforms::Word(word.to_string()))
            }
            fn visit_str<E>(self, word: &str) -> Result<Platforms, E> {
                Ok(Platforms::Word(word.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Platforms, A::Error> {
                let mut platforms = Vec::new();
                while let Some(platform) = list.next_element()? {
                    platforms.push(platform);
                }
                Ok(Platforms::Only(platforms))
            }
        }
        deserializer.deserialize_any(AllOrList)
    }
}

impl JsonSchema for Variables {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Variables".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["object", "null"],
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": 64 },
            "additionalProperties": { "type": ["string", "null"], "pattern": r"^[A-Za-z0-9._/:@\[\]-]+$" },
        })
    }
}

impl JsonSchema for Platforms {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Platforms".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`all`, or a list of `os/architecture` or `os/architecture/variant`.",
            "oneOf": [
                { "type": "null" },
                { "const": "all" },
                { "type": "array", "items": { "type": "string", "pattern": "^[^/]+/[^/]+(/[^/]+)?$" }, "minItems": 1 },
            ],
        })
    }
}

/// The JSON Schema (draft 2020-12) of the manifest.
///
/// It holds what a schema can: that variables are defined, references sound and names unique is checked by
/// [`Manifest::parse`](crate::manifest::Manifest::parse) alone.
pub fn schema() -> serde_json::Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Form>();
    schema.insert("$id".into(), SCHEMA_ID.into());
    schema.to_value()
}
