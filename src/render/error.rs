//! Why a command cannot be rendered.

use crate::failure::{ErrorClass, Explain};
use crate::oci::{BadReference, ImageRef};
use crate::render::setting::Setting;

/// A value that a command, or the file beside it, cannot carry, or an image that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// An empty value.
    #[error("the {what} is empty")]
    Empty {
        /// Which value.
        what: &'static str,
    },
    /// A value beyond its limit.
    #[error("the {what} is longer than {limit} bytes")]
    TooLong {
        /// Which value.
        what: &'static str,
        /// The most it may have.
        limit: usize,
    },
    /// A line break, an escape or another control character: terminals and line-based files would act on it.
    #[error("the {what} contains a control or invisible character: {character}")]
    Control {
        /// Which value.
        what: &'static str,
        /// The character, escaped.
        character: String,
    },
    /// Blanks at an end, or a quote at the start, of a value in an env-file.
    #[error("the {what} {fault}; engines differ on what that means in an env-file")]
    EnvValue {
        /// Which value.
        what: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// No name of a variable.
    #[error("`{0}` is no name of a variable: letters, digits, `_` and `.`, not led by a digit")]
    EnvName(String),
    /// One variable twice.
    #[error("the variable `{0}` is set twice")]
    EnvTwice(String),
    /// A Java option that would fall apart.
    #[error("the Java option contains a blank, and `JAVA_OPTS` is split at blanks")]
    JavaOption,
    /// Not docker's grammar.
    #[error("`{0}` is no container name: at least two of `a-zA-Z0-9_.-`, led by a letter or digit")]
    ContainerName(String),
    /// Not an address of a server.
    #[error("the server address {reason}")]
    ServerUrl {
        /// What is wrong with it. The address is not repeated: it may hold a password.
        reason: &'static str,
    },
    /// No image has the role.
    #[error("the bundle holds no image with the role `agent`")]
    NoAgent {
        /// What it holds.
        images: Vec<ImageRef>,
    },
    /// Several images have the role.
    #[error("the bundle holds {} images with the role `agent`: {}", choices.len(), listed(choices))]
    SeveralAgents {
        /// Those.
        choices: Vec<ImageRef>,
    },
    /// The image asked for is not in the bundle.
    #[error("the bundle does not hold `{wanted}`; it holds {}", listed(images))]
    NotInBundle {
        /// What was asked for.
        wanted: Box<ImageRef>,
        /// What it holds.
        images: Vec<ImageRef>,
    },
    /// No name of an image.
    #[error("`{text}` is no name of an image: {source}")]
    Image {
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: BadReference,
    },
    /// None of the words that a setting knows.
    #[error("`{given}` is no value of `{what}`: {}", quoted(choices))]
    Choice {
        /// The setting.
        what: &'static str,
        /// What was given.
        given: String,
        /// The words it knows.
        choices: Vec<&'static str>,
    },
    /// No heap.
    #[error("`{0}` is no size of a Java heap: a number with `k`, `m` or `g`, at least `2m`")]
    Heap(String),
    /// No volume.
    #[error("`{0}` is no volume: `SOURCE:/TARGET` or `SOURCE:/TARGET:OPTIONS`")]
    Volume(String),
    /// No path.
    #[error("`{0}` is no absolute path without `:`, `,` and `..`")]
    AbsolutePath(String),
    /// No port.
    #[error("`{0}` is no port of a part: `PART=NUMBER`, or a number from 1 to 65535")]
    Port(String),
    /// No port was given for parts whose port no source tells.
    #[error("the ports of {} are not in the documents that octobundle knows", quoted(parts))]
    NoPort {
        /// The parts.
        parts: Vec<&'static str>,
    },
    /// The stack cannot be without it.
    #[error("the bundle holds no image `{name}`, which the server cannot be without")]
    NoPart {
        /// The last part of its name.
        name: &'static str,
    },
    /// No certificates.
    #[error("the certificate file {0}")]
    Certificates(&'static str),
    /// A variable without value.
    #[error("a variable has no `=`")]
    NoEquals,
    /// The name of the variable is nowhere confirmed.
    #[error(
        "`auto-update` needs the name of the agent's variable, which the documents that octobundle knows do not tell"
    )]
    NoAutoUpdateVariable,
    /// A Java property without what it should carry.
    #[error("`{what}-property` is given, and what it should carry is not")]
    PropertyWithoutValue {
        /// The settings' common name.
        what: &'static str,
    },
    /// No form that can be rendered.
    #[error("there is nothing to render of {subject} `--as {given}`; there is {}", quoted(known))]
    NoTarget {
        /// Of what.
        subject: &'static str,
        /// What was asked for.
        given: String,
        /// What may be meant.
        near: Option<String>,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// A setting that the target has no place for.
    #[error("`--as {target}` has no use for `{}`: {reason}", setting.key())]
    NoUse {
        /// The target.
        target: &'static str,
        /// The setting.
        setting: Setting,
        /// Why not.
        reason: &'static str,
    },
    /// What the target cannot be without.
    #[error("`--as {target}` needs {}", quoted(&missing.iter().map(|setting| setting.key()).collect::<Vec<_>>()))]
    Missing {
        /// The target.
        target: &'static str,
        /// What lacks.
        missing: Vec<Setting>,
    },
    /// A value that has no form in the file it should go into.
    #[error("a value cannot be written into {file}: {fault}")]
    Unquotable {
        /// What kind of file.
        file: &'static str,
        /// What is wrong with the value.
        fault: &'static str,
    },
    /// A template of ours does not fit its values.
    #[error("the template `{name}` cannot be filled in: {reason}")]
    Template {
        /// Which.
        name: String,
        /// Why, with the line.
        reason: String,
    },
}

/// More names than help to choose.
const MAX_LISTED: usize = 12;

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn listed(images: &[ImageRef]) -> String {
    let shown = images.iter().take(MAX_LISTED).map(|image| format!("`{image}`")).collect::<Vec<_>>().join(", ");
    match images.len().saturating_sub(MAX_LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl Explain for RenderError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Empty { .. }
            | Self::TooLong { .. }
            | Self::Control { .. }
            | Self::EnvValue { .. }
            | Self::EnvName(_)
            | Self::EnvTwice(_)
            | Self::JavaOption
            | Self::ContainerName(_)
            | Self::ServerUrl { .. }
            | Self::Image { .. }
            | Self::Choice { .. }
            | Self::Heap(_)
            | Self::Volume(_)
            | Self::AbsolutePath(_)
            | Self::Port(_)
            | Self::NoPort { .. }
            | Self::Certificates(_)
            | Self::NoEquals
            | Self::NoAutoUpdateVariable
            | Self::PropertyWithoutValue { .. }
            | Self::NoTarget { .. }
            | Self::NoUse { .. }
            | Self::Missing { .. }
            | Self::Unquotable { .. }
            | Self::SeveralAgents { .. } => ErrorClass::Usage,
            Self::NoAgent { .. } | Self::NoPart { .. } | Self::NotInBundle { .. } => ErrorClass::NotFound,
            Self::Template { .. } => ErrorClass::Other,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::SeveralAgents { choices } => choices.first().map(|image| format!("choose one: `--image {image}`")),
            Self::NoAgent { images } if !images.is_empty() => {
                Some(format!("choose one of its images with `--image`: {}", listed(images)))
            }
            Self::NoAgent { .. } | Self::NotInBundle { .. } => {
                Some("see what is in it: `octobundle inspect FILE`".into())
            }
            Self::ServerUrl { .. } => Some("write it as in `--server-url https://octoperf.corp`".into()),
            Self::ContainerName(_) => Some("write it as in `--name agent-1`".into()),
            Self::EnvValue { what, .. } if what == AGENT_TOKEN => {
                Some("copy the token again from the command that OctoPerf shows under \"Add Agent\"".into())
            }
            Self::Heap(_) => Some("write it as in `--heap 1g`".into()),
            Self::Volume(_) => Some("write it as in `-v /srv/data:/data:ro`".into()),
            Self::AbsolutePath(_) => Some("write it as in `/home/octoperf/data`".into()),
            Self::Port(_) => Some("write it as in `--port octoperf-ui=8080`".into()),
            Self::NoPort { parts } => parts.first().map(|part| {
                format!("take it from the vendor's compose file or chart: `--port {part}=NUMBER`")
            }),
            Self::NoPart { .. } => {
                Some("pull the release with the group `infra`; of an image that the release does not list, add it to a manifest of your own".into())
            }
            Self::Certificates(_) => {
                Some("give the certificate of the authority that signed the registry's, as PEM".into())
            }
            Self::NoEquals => Some("write `-e NAME=VALUE`".into()),
            Self::NoAutoUpdateVariable => Some(
                "give the name that OctoPerf's documentation of the agent shows: `--auto-update-variable NAME`".into(),
            ),
            Self::PropertyWithoutValue { what } if *what == "registry-password" => {
                Some("add `--registry-password-file FILE`".into())
            }
            Self::PropertyWithoutValue { what } => Some(format!("add `--{what} VALUE`")),
            Self::NoTarget { near, .. } => near.as_ref().map(|near| format!("did you mean `--as {near}`?")),
            Self::NoUse { setting, .. } => Some(format!("leave out `{}`", setting.key())),
            Self::Missing { missing, .. } => {
                missing.first().map(|setting| format!("add `--{}`, or its line in a `--site` file", setting.key()))
            }
            Self::Empty { .. }
            | Self::TooLong { .. }
            | Self::Control { .. }
            | Self::EnvValue { .. }
            | Self::EnvName(_)
            | Self::EnvTwice(_)
            | Self::JavaOption
            | Self::Image { .. }
            | Self::Choice { .. }
            | Self::Unquotable { .. }
            | Self::Template { .. } => None,
        }
    }
}

/// The variable that carries the token.
pub(super) const AGENT_TOKEN: &str = "AGENT_TOKEN";
