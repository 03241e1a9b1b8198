//! YAML, without the parts of it that manifests leave out.
//!
//! Two passes over the same text. [`outline`] sees the parser's events, before anything is built from them: aliases are
//! refused there and never expanded. [`read`] gives the text its types and words the library's errors anew.

use std::collections::HashMap;

use serde::Deserialize;
use serde_saphyr::granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, options};
use serde_saphyr::{Error, Location};

use crate::manifest::error::{LeftOut, ManifestError, Problem, Syntax};
use crate::manifest::form::{Form, MANIFEST_SCHEMA, Text};
use crate::manifest::place::{Mark, Source};
use crate::oci::ImageRef;

/// How deep lists and maps may stand in each other. Manifests need four levels.
pub(super) const MAX_DEPTH: usize = 16;

/// What stands where in a text, by line and column.
#[derive(Debug, Default)]
pub(super) struct Outline {
    nodes: HashMap<(usize, usize), Node>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    kind: Kind,
    width: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Plain,
    Quoted,
    List,
    Map,
}

/// A list or map that is not closed yet.
enum Open {
    List,
    /// Keys with their lines; the last one waits for its value, or not.
    Map {
        keys: HashMap<String, usize>,
        at_key: bool,
    },
}

impl Kind {
    /// What begins with an event, if something does.
    fn of(event: &Event<'_>) -> Option<Self> {
        Some(match event {
            // The parser gives `~` for a value that is not written.
            Event::Scalar(text, ScalarStyle::Plain, ..) if matches!(&**text, "" | "~") => Self::Nothing,
            Event::Scalar(_, ScalarStyle::Plain, ..) => Self::Plain,
            Event::Scalar(..) => Self::Quoted,
            Event::SequenceStart(..) => Self::List,
            Event::MappingStart(..) => Self::Map,
            _ => return None,
        })
    }

    fn named(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Plain | Self::Quoted => "text",
            Self::List => "a list",
            Self::Map => "keys with values",
        }
    }
}

/// A scalar as it is written, without its quotes.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) mark: Mark,
}

/// What stands where a text is expected: the text, or where something else is, and what it is.
pub(super) type Scalar = Result<Written, (Mark, &'static str)>;

/// What stands behind a key.
#[derive(Debug)]
pub(super) enum Behind {
    One(Scalar),
    Many(Mark, Vec<Scalar>),
}

fn events(source: &Source) -> impl Iterator<Item = Result<(Event<'_>, Span), ScanError>> {
    let options = options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_anchor_events: true,
        block_nesting_limit: MAX_DEPTH,
        flow_nesting_limit: MAX_DEPTH,
    };
    Parser::new_from_str_with_options(source.text(), options)
}

/// Refuses what is not YAML and what manifests leave out of it; says what stands where.
pub(super) fn outline(source: &Source) -> Result<Outline, ManifestError> {
    let mut outline = Outline::default();
    let mut open = Vec::new();
    let mut documents = 0;
    for event in events(source) {
        let (event, span) = event.map_err(|error| scan_error(source, &error))?;
        let mark = Mark::from(span);
        outline.take(&event, span, &mut open).map_err(|problem| source.mistake(tagged_mark(&event, span), problem))?;
        if let Event::DocumentStart(..) = event {
            documents += 1;
            if documents > 1 {
                return Err(source.mistake(mark, Problem::LeftOut(LeftOut::SecondDocument)));
            }
        }
    }
    if outline.nodes.is_empty() {
        return Err(source.mistake(Mark { line: 1, column: 1, width: 1 }, Problem::Syntax(Syntax::Nothing)));
    }
    Ok(outline)
}

/// The keys of a flat file in the order written, with what stands behind each. Numbers and truth values are the texts
/// that they are written as.
pub(super) fn entries(source: &Source) -> Result<Vec<(Written, Behind)>, ManifestError> {
    outline(source)?;
    let mut events =
        events(source).filter_map(Result::ok).filter(|(event, _)| Kind::of(event).is_some() || ends(event));
    let mut entries = Vec::new();
    match events.next() {
        Some((Event::MappingStart(..), _)) => {}
        other => {
            let mark = other.map_or(Mark { line: 1, column: 1, width: 1 }, |(_, span)| span.into());
            let problem = Problem::Kind { expected: KEYS, found: TEXT, write: "write one `KEY: VALUE` a line".into() };
            return Err(source.mistake(mark, problem));
        }
    }
    while let Some((Event::Scalar(key, ..), span)) = events.next() {
        let key = Written { text: key.into_owned(), mark: span.into() };
        let Some(value) = events.next() else { break };
        entries.push((key, behind(value, &mut events)));
    }
    Ok(entries)
}

fn behind<'a>((event, span): (Event<'a>, Span), events: &mut impl Iterator<Item = (Event<'a>, Span)>) -> Behind {
    if !matches!(event, Event::SequenceStart(..)) {
        return Behind::One(scalar((event, span), events));
    }
    let mut items = Vec::new();
    while let Some(item) = events.next().filter(|(event, _)| !ends(event)) {
        items.push(scalar(item, events));
    }
    Behind::Many(span.into(), items)
}

/// The text; of anything else, all of it is passed over.
fn scalar<'a>((event, span): (Event<'a>, Span), events: &mut impl Iterator<Item = (Event<'a>, Span)>) -> Scalar {
    let (mark, kind) = (Mark::from(span), Kind::of(&event).unwrap_or(Kind::Nothing));
    match event {
        Event::Scalar(text, ..) if kind != Kind::Nothing => Ok(Written { text: text.into_owned(), mark }),
        Event::SequenceStart(..) | Event::MappingStart(..) => {
            let mut open = 1;
            while open > 0 {
                match events.next() {
                    Some((Event::SequenceStart(..) | Event::MappingStart(..), _)) => open += 1,
                    Some((event, _)) if ends(&event) => open -= 1,
                    Some(_) => {}
                    None => break,
                }
            }
            Err((mark, kind.named()))
        }
        _ => Err((mark, Kind::Nothing.named())),
    }
}

fn ends(event: &Event<'_>) -> bool {
    matches!(event, Event::SequenceEnd | Event::MappingEnd)
}

/// Gives the text its types.
pub(super) fn read(source: &Source, outline: &Outline) -> Result<Form, ManifestError> {
    #[derive(Deserialize)]
    struct JustSchema {
        schema: Text,
    }
    // Another format has other keys: it is named before its keys are called unknown.
    if let Ok(JustSchema { schema }) = from_str(source) {
        check_schema(source, &schema)?;
    }
    let form: Form = from_str(source).map_err(|error| read_error(source, outline, error.without_snippet()))?;
    check_schema(source, &form.schema)?;
    Ok(form)
}

fn check_schema(source: &Source, schema: &Text) -> Result<(), ManifestError> {
    if schema.value == MANIFEST_SCHEMA {
        return Ok(());
    }
    Err(source.mistake(schema.referenced.into(), Problem::Schema(shortened(&schema.value))))
}

fn from_str<'de, T: Deserialize<'de>>(source: &'de Source) -> Result<T, Error> {
    strict(source.text())
}

/// YAML of another format, without the same parts. An error is the line, from 1, and what is wrong there.
pub(crate) fn strict_yaml<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, (u64, String)> {
    strict(text).map_err(|error| {
        let error = error.without_snippet();
        let line = error.location().unwrap_or(Location::UNKNOWN).line().max(1);
        let what = match error {
            Error::SerdeUnknownField { field, expected, .. } => {
                format!("`{}` is not a key; there are: {}", shortened(field), expected.join(", "))
            }
            Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
            Error::DuplicateMappingKey { key, .. } => {
                format!("`{}` stands twice", shortened(key.as_deref().unwrap_or_default()))
            }
            _ => "it is not what is expected there".to_owned(),
        };
        (line, what)
    })
}

fn strict<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Error> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        no_schema: true,
        with_snippet: false,
        reject_unsupported_tags: true,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        budget: serde_saphyr::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_documents: 1,
            max_depth: MAX_DEPTH,
            max_inclusion_depth: 0,
        },
    };
    serde_saphyr::from_str_with_options(text, options)
}

impl Outline {
    fn take(&mut self, event: &Event<'_>, span: Span, open: &mut Vec<Open>) -> Result<(), Problem> {
        let kind = match event {
            Event::Anchor(..) => return Err(Problem::LeftOut(LeftOut::Anchor)),
            Event::Alias(..) | Event::UnresolvedAlias(..) => return Err(Problem::LeftOut(LeftOut::Alias)),
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
                return Ok(());
            }
            _ => match Kind::of(event) {
                Some(kind) => kind,
                None => return Ok(()),
            },
        };
        if event.tag().is_some() {
            return Err(Problem::LeftOut(LeftOut::Tag));
        }
        let mark = Mark::from(span);
        take_key(event, mark, open)?;
        // A map begins where its first key does: the kind is the map's, the width the key's.
        let node = self.nodes.entry((mark.line, mark.column)).or_insert(Node { kind, width: mark.width });
        node.width = mark.width;
        match kind {
            Kind::List => open.push(Open::List),
            Kind::Map => open.push(Open::Map { keys: HashMap::new(), at_key: true }),
            Kind::Nothing | Kind::Plain | Kind::Quoted => {}
        }
        if open.len() > MAX_DEPTH { Err(Problem::TooDeep) } else { Ok(()) }
    }

    fn at(&self, mark: Mark) -> Option<Node> {
        self.nodes.get(&(mark.line, mark.column)).copied()
    }
}

/// Keeps track of whether a node is a key, and refuses keys that are there already.
fn take_key(event: &Event<'_>, mark: Mark, open: &mut [Open]) -> Result<(), Problem> {
    let Some(Open::Map { keys, at_key }) = open.last_mut() else {
        return Ok(());
    };
    *at_key = !*at_key;
    if *at_key {
        return Ok(());
    }
    let Event::Scalar(key, style, ..) = event else {
        return Err(Problem::LeftOut(LeftOut::ComplexKey));
    };
    if key == "<<" && *style == ScalarStyle::Plain {
        return Err(Problem::LeftOut(LeftOut::MergeKey));
    }
    match keys.insert(key.to_string(), mark.line) {
        Some(first_line) => Err(Problem::DuplicateKey { key: shortened(key), first_line }),
        None => Ok(()),
    }
}

/// Where an event's tag stands, or the event itself.
fn tagged_mark(event: &Event<'_>, span: Span) -> Mark {
    match span.tag_start {
        Some(start) if event.tag().is_some() => mark_at(&start),
        _ => Mark::from(span),
    }
}

fn mark_at(marker: &Marker) -> Mark {
    Mark { line: marker.line().max(1), column: marker.col() + 1, width: 1 }
}

impl From<Span> for Mark {
    fn from(span: Span) -> Self {
        Self { width: span.end.index().saturating_sub(span.start.index()).max(1), ..mark_at(&span.start) }
    }
}

fn scan_error(source: &Source, error: &ScanError) -> ManifestError {
    source.mistake(mark_at(error.marker()), problem_of(error.kind()))
}

/// The parser knows a hundred ways to fail; these are the ones that a reader can act on.
fn problem_of(kind: &ErrorKind) -> Problem {
    use ErrorKind as E;
    let syntax = match kind {
        E::RecursionLimitExceeded => return Problem::TooDeep,
        E::DirectiveDisallowed => return Problem::LeftOut(LeftOut::Directive),
        E::UndeclaredTagHandle
        | E::ExpectedTagBang
        | E::InvalidGlobalTagCharacter
        | E::InvalidTagTerminator
        | E::MissingTagUri
        | E::UnclosedVerbatimTag
        | E::InvalidTagEscape
        | E::InvalidTagUtf8LeadingByte
        | E::InvalidTagUtf8TrailingByte
        | E::InvalidTagUtf8 => return Problem::LeftOut(LeftOut::Tag),
        E::UnknownAnchor => return Problem::LeftOut(LeftOut::Alias),
        E::MissingAnchorOrAliasName => return Problem::LeftOut(LeftOut::Anchor),
        E::UnclosedQuotedScalar | E::DocumentIndicatorInQuotedScalar => Syntax::OpenQuote,
        E::InvalidQuotedScalarIndent => Syntax::LateQuote,
        E::UnexpectedEofFlowSequence
        | E::UnexpectedEofFlowMapping
        | E::UnexpectedEofImplicitFlowMapping
        | E::ExpectedFlowMappingSeparator
        | E::ExpectedFlowSequenceSeparator
        | E::MisplacedFlowCollectionEnd
        | E::MismatchedFlowCollectionEnd { .. }
        | E::UnclosedFlowCollection { .. } => Syntax::OpenBracket,
        E::ExpectedBlockMappingKey
        | E::ExpectedBlockSequenceEntry
        | E::InvalidIndentation
        | E::BlockSequenceEntryNotAllowed
        | E::BlockEntryInFlowCollection
        | E::InvalidBlockScalarIndent
        | E::InvalidFlowScalarIndent => Syntax::Indentation,
        E::SimpleKeyExpected
        | E::InvalidSimpleKey
        | E::MappingKeyNotAllowed
        | E::MappingValueNotAllowed
        | E::InvalidColonPlacement
        | E::FlowMappingValueAdjacentCollection => Syntax::Colon,
        E::TabNotAllowed
        | E::TabInBlockIndentation
        | E::TabInIndentation
        | E::TabInPlainScalar
        | E::TabAtBlockScalarStart
        | E::InvalidMappingValueWhitespace
        | E::InvalidBlockEntryWhitespace => Syntax::Tab,
        E::UnknownQuotedScalarEscape
        | E::InvalidQuotedScalarHexEscape
        | E::InvalidLowSurrogateHexEscape
        | E::InvalidLowSurrogate
        | E::MissingLowSurrogate
        | E::UnpairedLowSurrogate
        | E::InvalidUnicodeEscape => Syntax::Escape,
        E::UnexpectedCharacter { .. } | E::PlainScalarStartsWithDashFlowIndicator => Syntax::Character,
        _ => Syntax::Other,
    };
    Problem::Syntax(syntax)
}

/// Words what the library says when text and types disagree.
fn read_error(source: &Source, outline: &Outline, error: &Error) -> ManifestError {
    let mut mark = error.location().unwrap_or(Location::UNKNOWN).into();
    let node = outline.at(mark);
    mark.width = node.map_or(mark.width, |node| node.width);
    let problem = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            Problem::UnknownKey { key: shortened(field), known: expected.clone() }
        }
        Error::SerdeMissingField { field, .. } => Problem::MissingKey(field),
        Error::QuotingRequired { value, .. } => Problem::Unquoted(shortened(value)),
        Error::NullIntoString { .. } => {
            wrong_kind(source, mark, node.map(|node| Node { kind: Kind::Nothing, ..node }), TEXT)
        }
        Error::SerdeInvalidType { .. } => wrong_kind(source, mark, node, KEYS),
        Error::Unexpected { expected, .. } => wrong_kind(source, mark, node, plain_words(expected)),
        Error::Budget { .. } => Problem::TooMany,
        _ => Problem::Syntax(Syntax::Other),
    };
    source.mistake(mark, problem)
}

const TEXT: &str = "text";
const LIST: &str = "a list";
const KEYS: &str = "keys with values";

/// The library's names of YAML's parts in words of this format.
fn plain_words(expected: &str) -> &'static str {
    if expected.contains("sequence") {
        LIST
    } else if expected.contains("mapping") {
        KEYS
    } else {
        TEXT
    }
}

fn wrong_kind(source: &Source, mark: Mark, node: Option<Node>, expected: &'static str) -> Problem {
    let kind = node.map_or(Kind::Nothing, |node| node.kind);
    let text = || shortened(&source.part(mark));
    let write = match (expected, kind) {
        (LIST, Kind::Plain | Kind::Quoted) => format!("write `[{}]`, or one `- VALUE` a line", text()),
        (LIST, _) => "write one `- VALUE` a line".into(),
        (KEYS, Kind::Plain | Kind::Quoted) if text().parse::<ImageRef>().is_ok() => {
            format!("write `image: {}` and below it `role: ROLE`", text())
        }
        (KEYS, _) => "write one `KEY: VALUE` a line".into(),
        (_, Kind::Nothing) => "write it behind the `:`".into(),
        _ => "write one text".into(),
    };
    Problem::Kind { expected, found: kind.named(), write }
}

pub(super) fn shortened(text: &str) -> String {
    text.chars().take(100).map(crate::manifest::place::visible).collect()
}
