//! Why a command cannot be rendered.

use crate::failure::{ErrorClass, Explain};
use crate::oci::ImageRef;

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
    #[error("the {what} contains a control character: {character}")]
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
    /// The map was made from other images.
    #[error("`{0}` has no name in the private registry")]
    NotMapped(ImageRef),
    /// A template of ours does not fit its values.
    #[error("the template `{name}` cannot be filled in: {reason}")]
    Template {
        /// Which.
        name: &'static str,
        /// Why, with the line.
        reason: String,
    },
}

/// More names than help to choose.
const MAX_LISTED: usize = 12;

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
            | Self::SeveralAgents { .. } => ErrorClass::Usage,
            Self::NoAgent { .. } | Self::NotInBundle { .. } => ErrorClass::NotFound,
            Self::NotMapped(_) | Self::Template { .. } => ErrorClass::Other,
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
            Self::Empty { .. }
            | Self::TooLong { .. }
            | Self::Control { .. }
            | Self::EnvValue { .. }
            | Self::EnvName(_)
            | Self::EnvTwice(_)
            | Self::JavaOption
            | Self::NotMapped(_)
            | Self::Template { .. } => None,
        }
    }
}

/// The variable that carries the token.
pub(super) const AGENT_TOKEN: &str = "AGENT_TOKEN";
