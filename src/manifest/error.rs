//! What can be wrong with a manifest or with what is asked of it.

use crate::failure::{ErrorClass, Explain};
use crate::manifest::form::MANIFEST_SCHEMA;
use crate::manifest::place::Place;
use crate::manifest::{MAX_MANIFEST_BYTES, closest};
use crate::oci::{BadPlatform, BadReference};

/// A manifest that cannot be used, or a selection that it cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Something in the text; the message has several lines and shows the place.
    #[error("{0}")]
    Mistake(Box<Mistake>),
    /// A value of a site file that cannot be taken. The line is not shown: it may hold a secret.
    #[error("{place}: {message}")]
    Answer {
        /// File, line and column.
        place: String,
        /// What is wrong.
        message: String,
        /// What to write instead.
        help: Option<String>,
    },
    /// More text than is read.
    #[error("the file `{file}` has {size} bytes; at most {MAX_MANIFEST_BYTES} are read")]
    TooLarge {
        /// Its name.
        file: String,
        /// Its length.
        size: usize,
    },
    /// Variables that no one gave a value.
    #[error("the release `{release}` needs values for {names}, used in `{used_in}`", names = quoted(.names))]
    Unset {
        /// The release.
        release: String,
        /// The variables, each once.
        names: Vec<String>,
        /// The first image that needs one, as written.
        used_in: String,
    },
    /// A value for a variable that the manifest does not have.
    #[error("the release `{release}` has no variable `{name}`")]
    NoSuchVariable {
        /// The release.
        release: String,
        /// What was asked for.
        name: String,
        /// The variables it has.
        known: Vec<String>,
    },
    /// A value that cannot be part of a reference.
    #[error("the value for `{name}` {fault}")]
    Value {
        /// The variable.
        name: String,
        /// What is wrong with it.
        fault: ValueFault,
    },
    /// A group that no image is in.
    #[error("the release `{release}` has no group `{group}`")]
    NoSuchGroup {
        /// The release.
        release: String,
        /// What was asked for.
        group: String,
        /// The groups it has.
        known: Vec<String>,
    },
    /// A reference that is not sound once the given values are filled in.
    #[error("with the given values `{written}` becomes `{filled}`: {cause}")]
    FilledReference {
        /// As in the manifest.
        written: String,
        /// With its variables replaced, up to 200 characters.
        filled: String,
        /// What is wrong with it.
        cause: BadReference,
    },
    /// Two images that the given values make one.
    #[error("with the given values `{first}` and `{second}` are both `{image}`")]
    FilledTwice {
        /// As in the manifest.
        first: String,
        /// As in the manifest.
        second: String,
        /// What both become.
        image: String,
    },
    /// A release that does not come with the tool.
    #[error("there is no release `{name}`")]
    NoSuchRelease {
        /// What was asked for.
        name: String,
        /// A release that may be meant.
        near: Option<&'static str>,
    },
}

/// What is wrong with a variable's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// No text at all.
    #[error("is empty")]
    Empty,
    /// Longer than any reference.
    #[error("is longer than {} characters", crate::manifest::check::MAX_VALUE)]
    TooLong,
    /// A character that no reference has.
    #[error("contains {0:?}, which no image reference can")]
    Character(char),
}

/// Something wrong at some place of the text.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}{}", .place.snippet())]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: Problem,
}

/// What is wrong at a place of a manifest.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Not UTF-8.
    #[error("the file is not UTF-8 text")]
    NotUtf8,
    /// A control character, or one that turns the direction of text.
    #[error("the file contains the invisible character U+{code:04X}")]
    Invisible {
        /// Its Unicode number.
        code: u32,
    },
    /// A tab at the beginning of a line.
    #[error("the line is indented with a tab")]
    Tab,
    /// The text does not follow YAML's rules.
    #[error("{0}")]
    Syntax(Syntax),
    /// A part of YAML that manifests leave out.
    #[error("{0} not read here")]
    LeftOut(LeftOut),
    /// More lists and maps in each other than any manifest has.
    #[error("lists and keys are nested more than {} deep", crate::manifest::yaml::MAX_DEPTH)]
    TooDeep,
    /// A key twice in one map.
    #[error("the key `{key}` is given twice; the first time on line {first_line}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Where it stands for the first time.
        first_line: usize,
    },
    /// A key that is not of the format.
    #[error("unknown key `{key}`")]
    UnknownKey {
        /// The key.
        key: String,
        /// The keys that can stand there.
        known: Vec<&'static str>,
    },
    /// A key that must be there.
    #[error("the key `{0}` is missing")]
    MissingKey(&'static str),
    /// Text that YAML takes for a number or a truth value.
    #[error("`{0}` without quotes is a number or a truth value in YAML, not text")]
    Unquoted(String),
    /// Another kind of value than the key takes.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What the key takes.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
        /// What to write instead.
        write: String,
    },
    /// More values than any manifest has.
    #[error("the file holds more values than are read")]
    TooMany,
    /// A manifest of another format.
    #[error("the schema is `{0}`; this version reads `{MANIFEST_SCHEMA}`")]
    Schema(String),
    /// A name with characters that it cannot have.
    #[error("`{text}` is no name for a {kind}: {rule}")]
    Name {
        /// What it names.
        kind: &'static str,
        /// As written, up to 100 characters.
        text: String,
        /// What it may be.
        rule: &'static str,
    },
    /// A title that is empty, too long or has several lines.
    #[error("the title must be one line of 1 to {} characters", crate::manifest::check::MAX_TITLE)]
    Title,
    /// A variable where none is filled in.
    #[error("variables are filled in under `image` only")]
    MisplacedVariable,
    /// Not `os/architecture[/variant]`.
    #[error(transparent)]
    Platform(BadPlatform),
    /// A word under `platforms` that is not `all`.
    #[error("expected `all` or a list of platforms, found `{0}`")]
    PlatformWord(String),
    /// An empty list of platforms.
    #[error("the list of platforms is empty")]
    NoPlatforms,
    /// A character that no reference has.
    #[error("an image reference cannot contain {0:?}")]
    ReferenceCharacter(char),
    /// Not an image reference.
    #[error("{cause}{}", filled_as(.filled.as_deref()))]
    Reference {
        /// What is wrong with it.
        cause: BadReference,
        /// The reference with its defaults, where it has variables.
        filled: Option<String>,
    },
    /// `${` without a plain name and `}` behind it.
    #[error("`{0}` is no variable: expected `${{name}}` with letters, digits and `_`")]
    Hole(String),
    /// `${name}` of which `variables` says nothing.
    #[error("the variable `{name}` is not defined")]
    UndefinedVariable {
        /// The variable.
        name: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// A default that cannot be part of a reference.
    #[error("the value for `{name}` {fault}")]
    Value {
        /// The variable.
        name: String,
        /// What is wrong with it.
        fault: ValueFault,
    },
    /// An image twice.
    #[error("the image `{image}` is listed twice; the first time on line {first_line}")]
    ImageTwice {
        /// Its name.
        image: String,
        /// Where it stands for the first time.
        first_line: usize,
    },
    /// An empty list of images.
    #[error("the manifest lists no image")]
    NoImages,
}

/// How text breaks YAML's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Syntax {
    /// Nothing but comments and blanks.
    #[error("the file is empty")]
    Nothing,
    /// A `"` or `'` without its end.
    #[error("the quote is not closed")]
    OpenQuote,
    /// A quoted text that goes on in the next line.
    #[error("the quoted text above is not closed on its line")]
    LateQuote,
    /// A `[` or `{` without its end, or with another one's.
    #[error("the bracket is not closed, or by another kind of bracket")]
    OpenBracket,
    /// A line that is indented unlike its neighbours.
    #[error("the indentation does not fit the lines above")]
    Indentation,
    /// A `:` in text, or a key where none can be.
    #[error("a key with `:` cannot stand here")]
    Colon,
    /// A tab where a blank is needed.
    #[error("a tab cannot stand here")]
    Tab,
    /// A backslash escape that does not exist.
    #[error("the escape with `\\` does not exist in YAML")]
    Escape,
    /// A character with a meaning of its own, at the beginning of text.
    #[error("text cannot begin with this character unless quoted")]
    Character,
    /// Anything else.
    #[error("this is not YAML")]
    Other,
}

/// Parts of YAML that manifests leave out, as the beginning of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    /// `&name`.
    #[error("anchors (`&name`) are")]
    Anchor,
    /// `*name`.
    #[error("aliases (`*name`) are")]
    Alias,
    /// `<<`.
    #[error("merge keys (`<<`) are")]
    MergeKey,
    /// `!tag`.
    #[error("tags (`!name`, `!!name`) are")]
    Tag,
    /// A second `---`.
    #[error("further documents after `---` are")]
    SecondDocument,
    /// `%YAML` and the like.
    #[error("directives (`%NAME`) are")]
    Directive,
    /// Lists or maps as keys.
    #[error("keys that are lists or maps are")]
    ComplexKey,
}

impl Explain for ManifestError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Mistake(_) | Self::Answer { .. } | Self::TooLarge { .. } => ErrorClass::Input,
            Self::Unset { .. }
            | Self::NoSuchVariable { .. }
            | Self::Value { .. }
            | Self::NoSuchGroup { .. }
            | Self::FilledReference { .. }
            | Self::FilledTwice { .. }
            | Self::NoSuchRelease { .. } => ErrorClass::Usage,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Mistake(mistake) => mistake.problem.help(),
            Self::Answer { help, .. } => help.clone(),
            Self::TooLarge { .. } => Some("split it by release: a manifest lists images, it does not hold them".into()),
            Self::Unset { names, .. } => {
                let flags: Vec<String> = names.iter().map(|name| format!("--set {name}=VALUE")).collect();
                Some(format!("add {}", flags.join(" ")))
            }
            Self::NoSuchVariable { name, known, .. } => Some(one_of(name, known, "it has no variables at all")),
            Self::Value { name, .. } => {
                Some(format!("letters, digits and `._-/:@[]` are possible, as in `--set {name}=9.0.1`"))
            }
            Self::NoSuchGroup { group, known, .. } => {
                Some(one_of(group, known, "it has no groups; leave out `--group` to take all images"))
            }
            Self::FilledReference { .. } | Self::FilledTwice { .. } => Some("check the values of `--set`".into()),
            Self::NoSuchRelease { near: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::NoSuchRelease { near: None, .. } => {
                Some("`octobundle releases` lists them; a manifest of your own is given by its path".into())
            }
        }
    }
}

impl Problem {
    /// What to write instead.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotUtf8 => Some("save the file as UTF-8".into()),
            Self::Invisible { .. } => Some("remove it".into()),
            Self::Tab => Some("indent with spaces".into()),
            Self::Syntax(syntax) => syntax.help().map(Into::into),
            Self::LeftOut(part) => Some(part.help().into()),
            Self::TooDeep => Some("see `octobundle schema` for the form of a manifest".into()),
            Self::DuplicateKey { .. } => Some("keep one of the two".into()),
            Self::UnknownKey { key, known } => Some(one_of(key, known, "")),
            Self::MissingKey(key) => Some(missing_key_help(key)),
            Self::Unquoted(text) => Some(format!("write `\"{text}\"`")),
            Self::Kind { write, .. } => Some(write.clone()),
            Self::TooMany => Some("split it by release".into()),
            Self::Schema(_) => Some(format!("write `schema: {MANIFEST_SCHEMA}`, or use a version of octobundle that reads it")),
            Self::Name { .. } | Self::Title => None,
            Self::MisplacedVariable => Some("write the text itself".into()),
            Self::Platform(_) => Some("write `os/architecture`, as in `linux/amd64` or `linux/arm64`".into()),
            Self::PlatformWord(word) => Some(format!("write `[{word}]` for one platform")),
            Self::NoPlatforms => Some("name one, as in `[linux/amd64]`, or write `all`".into()),
            Self::ReferenceCharacter(_) => Some("a reference is `[HOST/]NAME:TAG` or `[HOST/]NAME@sha256:DIGEST`".into()),
            Self::Reference { cause, .. } => reference_help(cause),
            Self::Hole(_) => Some("write `${name}` and define `name` under `variables`".into()),
            Self::UndefinedVariable { name, known } => Some(one_of(name, known, &format!("define it under `variables`: `{name}: \"value\"`"))),
            Self::Value { .. } => {
                Some("letters, digits and `._-/:@[]` are possible; for a variable that the user must set write nothing behind its `:`".into())
            }
            Self::ImageTwice { .. } => Some("keep one, with the groups of both".into()),
            Self::NoImages => Some("add one: `- image: NAME:TAG` and below it `role: agent`".into()),
        }
    }
}

impl Syntax {
    fn help(self) -> Option<&'static str> {
        match self {
            Self::Nothing => Some("it begins with `schema: octobundle/v1`"),
            Self::OpenQuote | Self::LateQuote => Some("close it on the same line"),
            Self::OpenBracket => Some("close it; text with `[`, `]`, `{` or `}` in a bracketed list needs quotes"),
            Self::Indentation => Some("begin the keys of one map in the same column"),
            Self::Colon => Some("text that contains `: ` needs quotes; the keys of one map begin in the same column"),
            Self::Tab => Some("write a space"),
            Self::Escape => Some("write `\\\\` for a backslash, or use single quotes"),
            Self::Character => Some("put the text in quotes"),
            Self::Other => None,
        }
    }
}

impl LeftOut {
    fn help(self) -> &'static str {
        match self {
            Self::Anchor | Self::Alias | Self::MergeKey => {
                "write the value out; a text that begins with `&` or `*` needs quotes"
            }
            Self::Tag => "leave the tag out; text is written in quotes",
            Self::SecondDocument => "put each part in a file of its own",
            Self::Directive => "leave the line out",
            Self::ComplexKey => "keys are plain names",
        }
    }
}

fn missing_key_help(key: &str) -> String {
    match key {
        "schema" => format!("add `schema: {MANIFEST_SCHEMA}`"),
        "release" => "add a name, as in `release: octoperf-9.2.0`".into(),
        "title" => "add the release in words, as in `title: OctoPerf 9.2.0`".into(),
        "images" => "add `images:` with a list of `- image: NAME:TAG`".into(),
        "image" => "add a reference, as in `image: octoperf/docker-agent:9.0.0`".into(),
        "role" => {
            "add what the image does, as in `role: agent`, `role: load-generator` or `role: infrastructure`".into()
        }
        other => format!("add `{other}:`"),
    }
}

fn reference_help(cause: &BadReference) -> Option<String> {
    match cause {
        // These messages say it themselves.
        BadReference::NoTag(_) | BadReference::UpperCase(_) | BadReference::Address(_) => None,
        BadReference::Empty => Some("write a reference, as in `octoperf/docker-agent:9.0.0`".into()),
        BadReference::Host(_)
        | BadReference::Repository(_)
        | BadReference::TooLong(_)
        | BadReference::Tag(_)
        | BadReference::Digest(_) => Some("a reference is `[HOST/]NAME:TAG` or `[HOST/]NAME@sha256:DIGEST`".into()),
    }
}

fn filled_as(filled: Option<&str>) -> String {
    filled.map(|filled| format!(" (with the defaults it is `{filled}`)")).unwrap_or_default()
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The near one and the whole list, or what to say when there is none.
fn one_of<T: AsRef<str>>(word: &str, known: &[T], none: &str) -> String {
    if known.is_empty() {
        return none.into();
    }
    let list: Vec<String> = known.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    let list = list.join(", ");
    match closest(word, known.iter().map(AsRef::as_ref)) {
        Some(near) => format!("did you mean `{near}`? known: {list}"),
        None => format!("known: {list}"),
    }
}
