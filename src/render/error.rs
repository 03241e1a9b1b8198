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
    #[error("the variable `{0}` is set twice, or has an option of its own")]
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
    #[error("`{text}` is no name of an image")]
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
    #[error(
        "`{0}` is no volume: `SOURCE:/TARGET` or `SOURCE:/TARGET:OPTIONS`, where SOURCE is an absolute path or a volume's name"
    )]
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
    /// No option of an engine's `run`.
    #[error("an option of the engine is not written as one word: `--NAME` or `--NAME=VALUE`")]
    RunOption,
    /// An option of an engine's `run` that is written by other means.
    #[error("`--{option}` is not for `run-option`")]
    OwnOption {
        /// Its name.
        option: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A pasted command that is not understood. It is not repeated: it holds the token.
    #[error("the pasted command cannot be used: {reason}")]
    Pasted {
        /// Why.
        reason: &'static str,
        /// What to type next.
        help: &'static str,
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
    /// A name that Kubernetes does not take.
    #[error("the {what} `{text}` is no name in Kubernetes: `a-z`, `0-9` and `-` only, at most 63 characters")]
    KubernetesName {
        /// Which name.
        what: &'static str,
        /// What was given.
        text: String,
    },
    /// No agent for Kubernetes.
    #[error("the bundle holds no image with the role `kubernetes-agent`; it holds {}", listed(images))]
    NoKubernetesAgent {
        /// What it holds.
        images: Vec<ImageRef>,
    },
    /// Nothing that a chart installs.
    #[error(
        "the bundle holds neither the agent for Kubernetes nor the server, so there is no chart to write values for"
    )]
    NoChart,
    /// A server with two user interfaces.
    #[error(
        "the bundle holds a server before 15.0.0, which has two user interfaces; what its chart calls them is not known"
    )]
    OldChart,
    /// The chart has one version for all of the server's images.
    #[error("the chart has one version for all images, and `{first}` and `{other}` have two")]
    SeveralVersions {
        /// One image.
        first: Box<ImageRef>,
        /// Another.
        other: Box<ImageRef>,
    },
    /// A server without its database.
    #[error("the bundle holds the server and no Elasticsearch, which its chart would fetch from the internet")]
    NoElasticsearch,
    /// Charts name images by their tags.
    #[error("`{0}` has no tag, and charts name images by their tags")]
    NoTag(Box<ImageRef>),
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
            | Self::RunOption
            | Self::OwnOption { .. }
            | Self::Pasted { .. }
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
            | Self::KubernetesName { .. }
            | Self::OldChart
            | Self::SeveralVersions { .. }
            | Self::NoTag(_)
            | Self::SeveralAgents { .. } => ErrorClass::Usage,
            Self::NoAgent { .. }
            | Self::NoPart { .. }
            | Self::NotInBundle { .. }
            | Self::NoKubernetesAgent { .. }
            | Self::NoChart
            | Self::NoElasticsearch => ErrorClass::NotFound,
            Self::Template { .. } => ErrorClass::Input,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::SeveralAgents { choices } => choices.first().map(|image| format!("choose one: `--image {image}`")),
            Self::NoAgent { images } if !images.is_empty() => {
                Some(format!("choose one of its images with `--image`: {}", listed(images)))
            }
            Self::NotInBundle { wanted, images } if images.iter().any(|image| image.repository() == wanted.repository()) => {
                let first = images.iter().find(|image| image.repository() == wanted.repository())?;
                Some(format!("pull a bundle with that tag, or take the bundle's: `--image {first}`"))
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
            Self::Volume(_) => Some("write it as in `--volume /srv/data:/data:ro`".into()),
            Self::OwnOption { instead, .. } => Some((*instead).into()),
            Self::RunOption => Some("write it as in `--run-option=--memory=2g`".into()),
            Self::Pasted { help, .. } => Some((*help).into()),
            Self::AbsolutePath(_) => Some("write the whole path, as in `/srv/octoperf/data`".into()),
            Self::Port(_) => Some("write it as in `--port octoperf-ui=8080`".into()),
            Self::NoPort { parts } => {
                let flags: Vec<String> = parts.iter().map(|part| format!("--port {part}=NUMBER")).collect();
                Some(format!("take them from the vendor's compose file or chart: `{}`", flags.join(" ")))
            }
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
            Self::NoTarget { near: Some(near), .. } => Some(format!("did you mean `--as {near}`?")),
            Self::NoTarget { known, .. } => known.first().map(|first| format!("write it as in `--as {first}`")),
            Self::NoUse { setting, .. } => Some(format!("leave out `{}`", setting.key())),
            Self::Missing { missing, .. } if missing[..] == [Setting::TokenFile] => {
                Some("add `--token-file FILE`, or its line in a `--site` file; in a terminal it is asked for".into())
            }
            Self::Missing { missing, .. } => {
                let flags: Vec<String> = missing.iter().map(|setting| setting.flag()).collect();
                Some(format!("add `{}`, or the same to a `--site` file", flags.join(" ")))
            }
            Self::KubernetesName { .. } => Some("write it as in `octoperf-agent-1`".into()),
            Self::NoKubernetesAgent { .. } => {
                Some("pull the release with its group `kubernetes-agent`, or name the image: `--image IMAGE`".into())
            }
            Self::NoChart | Self::NoElasticsearch => {
                Some("pull the release with its group `infra` or `kubernetes-agent`: `octobundle pull RELEASE --group infra`".into())
            }
            Self::OldChart => Some("write the values by hand, by the names that `octobundle push --dry-run` shows".into()),
            Self::SeveralVersions { .. } => Some("carry the images of one release".into()),
            Self::NoTag(_) => Some("give it a tag in the release manifest".into()),
            Self::EnvTwice(name) => Some(match name.as_str() {
                AGENT_TOKEN => "give the token by `--token-file FILE`, or type it when it is asked for".into(),
                "SERVER_URL" => "give it by `--server-url URL`".into(),
                "HTTP_PROXY" => "give it once: by `--agent-http-proxy PROXY`".into(),
                "HTTPS_PROXY" => "give it once: by `--agent-https-proxy PROXY`".into(),
                "NO_PROXY" => "give it once: by `--agent-no-proxy HOSTS`".into(),
                _ => "leave out one of the two".into(),
            }),
            Self::EnvName(_) => Some("write it as in `-e NAME=VALUE` or `-e some.name=VALUE`".into()),
            Self::EnvValue { .. } => Some("leave out quotes and blanks at its ends: nothing needs to be quoted in it".into()),
            Self::JavaOption => Some("give each option by a `--java-option` of its own".into()),
            Self::Empty { what } => Some(format!("write the {what} into the file or behind the option")),
            Self::TooLong { .. } => Some("check that it is what was meant; a larger text goes into a file that the agent reads: `--volume /FILE:/FILE:ro`".into()),
            Self::Control { .. } => Some("type it again; what was copied with it cannot be seen".into()),
            Self::Image { .. } => Some("write it as in `--image docker.io/octoperf/docker-agent:9.0.0`; `octobundle inspect FILE` lists the bundle's".into()),
            Self::Choice { what, choices, .. } => choices.first().map(|first| format!("write it as in `--{what} {first}`")),
            Self::Unquotable { .. } => Some("choose a value without it, or another form with `--as`".into()),
            Self::Template { .. } => Some("correct the template: docs/render.md, \"A template of your own\", has its values".into()),
        }
    }
}

/// The variable that carries the token.
pub(super) const AGENT_TOKEN: &str = "AGENT_TOKEN";
