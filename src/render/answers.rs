//! What somebody answered, checked once: every target renders from the same values.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use crate::failure::{ErrorClass, Explain};
use crate::oci::ImageRef;
use crate::render::env_file::{AgentToken, EnvName, EnvValue, refuse_control};
use crate::render::error::RenderError;
use crate::render::setting::{Kind, Setting};
use crate::render::values::{
    AbsolutePath, AutoUpdate, Certificates, ContainerEngine, ContainerName, EngineSocket, Heap, KubernetesName,
    MachineBox, Pin, PullSecretForm, ServerUrl, Volume, refuse_bad_path, switch,
};

/// Linux takes no path that is longer, and no option says more.
const MAX_RUN_OPTION: usize = 8192;

/// Answers as they were written: texts by their setting. Of a file its content stands here.
#[derive(Clone, Default)]
pub struct Given(BTreeMap<Setting, Vec<Zeroizing<String>>>);

impl Given {
    /// Adds one text to what a setting has.
    pub fn add(&mut self, setting: Setting, text: impl Into<String>) {
        self.0.entry(setting).or_default().push(Zeroizing::new(text.into()));
    }

    /// The same with what `other` says on top of it: in place of one text, behind a list's. A variable that both set
    /// is the other's.
    #[must_use]
    pub fn overlaid_by(mut self, other: Self) -> Self {
        for (setting, texts) in other.0 {
            let own = self.0.entry(setting).or_default();
            match setting.kind() {
                Kind::Texts => {
                    let name = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
                    own.retain(|text| setting != Setting::Env || !texts.iter().any(|new| name(new) == name(text)));
                    own.extend(texts);
                }
                Kind::Text | Kind::Switch | Kind::File => *own = texts,
            }
        }
        self
    }

    /// All texts of a setting.
    pub fn texts(&self, setting: Setting) -> Vec<&str> {
        self.0.get(&setting).into_iter().flatten().map(|text| text.as_str()).collect()
    }

    /// The same without a setting.
    #[must_use]
    pub fn without(mut self, setting: Setting) -> Self {
        self.0.remove(&setting);
        self
    }

    /// The text of a setting that has one at most; of several the last.
    pub fn one(&self, setting: Setting) -> Option<&str> {
        self.0.get(&setting)?.last().map(|text| text.as_str())
    }

    /// Whether a switch is on.
    pub fn is_on(&self, setting: Setting) -> Result<bool, WrongAnswer> {
        let on = self.parsed(setting, |text| switch(text, setting.key()))?;
        Ok(on.unwrap_or_default())
    }

    /// The settings that have an answer. A switch that is off is none.
    pub fn settings(&self) -> impl Iterator<Item = Setting> {
        let off = |setting: Setting| setting.kind() == Kind::Switch && !self.is_on(setting).unwrap_or(true);
        self.0.keys().copied().filter(move |&setting| !off(setting))
    }

    /// Takes one of a setting's texts away.
    fn remove(&mut self, setting: Setting, nth: usize) {
        let Some(texts) = self.0.get_mut(&setting).filter(|texts| nth < texts.len()) else { return };
        texts.remove(nth);
        if texts.is_empty() {
            self.0.remove(&setting);
        }
    }

    /// The value of a setting that has one at most.
    pub fn parsed<T>(
        &self,
        setting: Setting,
        parse: impl FnOnce(&str) -> Result<T, RenderError>,
    ) -> Result<Option<T>, WrongAnswer> {
        let nth = self.0.get(&setting).map_or(0, |texts| texts.len().saturating_sub(1));
        let value = self.one(setting).map(parse).transpose();
        value.map_err(|error| WrongAnswer { setting, nth, error })
    }

    fn all<T>(&self, setting: Setting, parse: impl Fn(&str) -> Result<T, RenderError>) -> Result<Vec<T>, WrongAnswer> {
        let texts = self.0.get(&setting).into_iter().flatten().enumerate();
        texts.map(|(nth, text)| parse(text).map_err(|error| WrongAnswer { setting, nth, error })).collect()
    }
}

/// An answer that cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct WrongAnswer {
    /// To which setting.
    pub setting: Setting,
    /// Which of its texts, from 0.
    pub nth: usize,
    /// Why.
    pub error: RenderError,
}

impl Explain for WrongAnswer {
    fn class(&self) -> ErrorClass {
        self.error.class()
    }

    fn help(&self) -> Option<String> {
        self.error.help()
    }
}

/// The proxies between agent and server, which are neither the engine's nor octobundle's own.
#[derive(Debug, Clone, Default)]
pub struct AgentProxy {
    /// For `http` addresses.
    pub http: Option<EnvValue>,
    /// For `https` addresses.
    pub https: Option<EnvValue>,
    /// What is reached directly.
    pub no_proxy: Option<EnvValue>,
}

/// The login that the agent passes on to the containers it starts, as Java properties. Their names are nowhere
/// confirmed, so they are always given.
#[derive(Debug, Clone, Default)]
pub struct RegistryLogin {
    /// The property that carries the registry's host.
    pub host_property: Option<EnvName>,
    /// The property that carries the user.
    pub user_property: Option<EnvName>,
    /// The property that carries the password.
    pub password_property: Option<EnvName>,
    /// The user.
    pub user: Option<EnvValue>,
    /// The password.
    pub password: Option<EnvValue>,
}

/// The checked answers. Which of them a target needs or takes is said by [`usage`](crate::render::usage).
#[derive(Debug, Clone)]
pub struct Answers {
    /// The settings that were answered.
    pub answered: BTreeSet<Setting>,
    /// The server.
    pub server_url: Option<ServerUrl>,
    /// The container's name.
    pub name: Option<ContainerName>,
    /// The agent's token.
    pub token: Option<AgentToken>,
    /// Where the env-file will stand, as it should be named.
    pub env_file: Option<String>,
    /// Whose commands.
    pub engine: ContainerEngine,
    /// The agent's image by its name in the bundle.
    pub image: Option<ImageRef>,
    /// By what images are named.
    pub pin: Pin,
    /// The agent's Java heap.
    pub heap: Option<Heap>,
    /// Whether the agent logs for debugging.
    pub debug: bool,
    /// More options for the agent's Java. May hold secrets.
    pub java_options: Vec<EnvValue>,
    /// The agent's proxies.
    pub proxy: AgentProxy,
    /// Whether the agent gets its engine's socket.
    pub socket: EngineSocket,
    /// Whether the agent replaces itself.
    pub auto_update: Option<AutoUpdate>,
    /// More variables. May hold secrets.
    pub variables: Vec<(EnvName, EnvValue)>,
    /// More volumes.
    pub volumes: Vec<Volume>,
    /// More words for the engine's `run`.
    pub run_options: Vec<String>,
    /// The certificate authority that vouches for the registry, for the engines to trust.
    pub authority: Option<Certificates>,
    /// The load generators' login.
    pub registry_login: RegistryLogin,
    /// The ports of the server's parts, by the last part of their images' names.
    pub ports: BTreeMap<String, u16>,
    /// The port under which the server is reached.
    pub published_port: Option<u16>,
    /// Where in its container the server keeps its data.
    pub data_path: Option<AbsolutePath>,
    /// The box that a virtual machine is made of.
    pub machine_box: Option<MachineBox>,
    /// The namespace in Kubernetes.
    pub namespace: Option<KubernetesName>,
    /// The secret in Kubernetes that holds the registry's login.
    pub pull_secret: Option<KubernetesName>,
    /// How the agent's chart takes pull secrets.
    pub pull_secret_form: Option<PullSecretForm>,
}

impl Answers {
    /// Checks all that was given: what can be taken, and everything that cannot.
    pub fn examine(given: &Given) -> (Self, Vec<WrongAnswer>) {
        let mut rest = given.clone();
        let mut places: BTreeMap<Setting, Vec<usize>> =
            rest.0.iter().map(|(&setting, texts)| (setting, (0..texts.len()).collect())).collect();
        let mut all: Vec<WrongAnswer> = Vec::new();
        loop {
            let mut wrong = match Self::new(&rest) {
                Ok(answers) => return (answers, all),
                Err(wrong) => wrong,
            };
            rest.remove(wrong.setting, wrong.nth);
            // Each round takes one text away, so the places of those behind it have moved.
            wrong.nth = places.get_mut(&wrong.setting).expect("it was given").remove(wrong.nth);
            // Its name was given, and is among the mistakes.
            let follows = wrong.error == RenderError::NoAutoUpdateVariable
                && all.iter().any(|earlier| earlier.setting == Setting::AutoUpdateVariable);
            if !follows {
                all.push(wrong);
            }
        }
    }

    /// Checks all that was given; the first that cannot be taken is the error.
    pub fn new(given: &Given) -> Result<Self, WrongAnswer> {
        // Names of images are made elsewhere; whether it is an answer is seen here with the others.
        given.is_on(Setting::KeepHost)?;
        Ok(Self {
            answered: given.settings().collect(),
            server_url: given.parsed(Setting::ServerUrl, str::parse)?,
            name: given.parsed(Setting::Name, str::parse)?,
            token: given.parsed(Setting::TokenFile, AgentToken::from_file)?,
            env_file: given.parsed(Setting::EnvFile, env_file)?,
            engine: given.parsed(Setting::Engine, str::parse)?.unwrap_or_default(),
            image: given.parsed(Setting::Image, image)?,
            pin: given.parsed(Setting::Pin, str::parse)?.unwrap_or_default(),
            heap: given.parsed(Setting::Heap, str::parse)?,
            debug: given.is_on(Setting::Debug)?,
            java_options: given.all(Setting::JavaOption, java_option)?,
            proxy: proxy(given)?,
            socket: if given.is_on(Setting::NoDockerSocket)? { EngineSocket::Withheld } else { EngineSocket::Mounted },
            auto_update: auto_update(given)?,
            variables: given.all(Setting::Env, variable)?,
            volumes: given.all(Setting::Volume, str::parse)?,
            run_options: given.all(Setting::RunOption, run_option)?,
            authority: given.parsed(Setting::CaFile, Certificates::parse)?,
            registry_login: registry_login(given)?,
            ports: given.all(Setting::Port, part_port)?.into_iter().collect(),
            published_port: given.parsed(Setting::PublishedPort, port)?,
            data_path: given.parsed(Setting::DataPath, str::parse)?,
            machine_box: given.parsed(Setting::Box, str::parse)?,
            namespace: given.parsed(Setting::Namespace, |text| KubernetesName::label("namespace", text))?,
            pull_secret: given.parsed(Setting::PullSecret, |text| KubernetesName::object("pull secret", text))?,
            pull_secret_form: given.parsed(Setting::PullSecretForm, str::parse)?,
        })
    }
}

fn env_file(text: &str) -> Result<String, RenderError> {
    refuse_bad_path("path of the env-file", text)?;
    Ok(text.to_owned())
}

/// The options of the engine's `run` that are written here already, with what to type instead.
const OWN_OPTIONS: [(&str, &str); 7] = [
    ("env", "write it as `-e NAME=VALUE`"),
    ("env-file", "write each of its variables as `-e NAME=VALUE`"),
    ("name", "write it as `--name NAME`"),
    ("volume", "write it as `--volume SOURCE:/TARGET`"),
    ("detach", "leave it out: the agent runs by itself"),
    ("rm", "leave it out: the agent stays when it stops"),
    ("restart", "leave it out: an agent has a restart policy of its own"),
];

/// One option as one word. No other option of ours can be meant by it, and no image.
fn run_option(text: &str) -> Result<String, RenderError> {
    refuse_control("option of the engine", text)?;
    if text.len() > MAX_RUN_OPTION {
        return Err(RenderError::TooLong { what: "option of the engine", limit: MAX_RUN_OPTION });
    }
    let name = text.strip_prefix("--").map(|rest| rest.split('=').next().unwrap_or_default());
    let sound = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let name = name.filter(sound).ok_or(RenderError::RunOption)?;
    match OWN_OPTIONS.iter().find(|(own, _)| *own == name) {
        Some(&(option, instead)) => Err(RenderError::OwnOption { option, instead }),
        None => Ok(text.to_owned()),
    }
}

/// `JAVA_OPTS` is split at blanks, so none can be in an option.
fn java_option(text: &str) -> Result<EnvValue, RenderError> {
    let option = EnvValue::parse("java option", text)?;
    if option.has_blank() { Err(RenderError::JavaOption) } else { Ok(option) }
}

fn image(text: &str) -> Result<ImageRef, RenderError> {
    text.parse().map_err(|source| RenderError::Image { text: text.chars().take(200).collect(), source })
}

fn variable(text: &str) -> Result<(EnvName, EnvValue), RenderError> {
    let (name, value) = text.split_once('=').ok_or(RenderError::NoEquals)?;
    Ok((EnvName::parse(name)?, EnvValue::parse(name, value)?))
}

fn port(text: &str) -> Result<u16, RenderError> {
    let port = text.parse().ok().filter(|&port| port > 0 && !text.starts_with('+'));
    port.ok_or_else(|| RenderError::Port(text.chars().take(80).collect()))
}

fn part_port(text: &str) -> Result<(String, u16), RenderError> {
    let refuse = || RenderError::Port(text.chars().take(80).collect());
    let (part, number) = text.split_once('=').ok_or_else(refuse)?;
    let sound = !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if sound { Ok((part.to_owned(), port(number)?)) } else { Err(refuse()) }
}

fn proxy(given: &Given) -> Result<AgentProxy, WrongAnswer> {
    let value = |setting: Setting| given.parsed(setting, |text| EnvValue::parse(setting.key(), text));
    Ok(AgentProxy {
        http: value(Setting::AgentHttpProxy)?,
        https: value(Setting::AgentHttpsProxy)?,
        no_proxy: value(Setting::AgentNoProxy)?,
    })
}

fn auto_update(given: &Given) -> Result<Option<AutoUpdate>, WrongAnswer> {
    let variable = given.parsed(Setting::AutoUpdateVariable, EnvName::parse)?;
    let enabled = given.parsed(Setting::AutoUpdate, |text| {
        let enabled = switch(text, Setting::AutoUpdate.key())?;
        variable.is_some().then_some(enabled).ok_or(RenderError::NoAutoUpdateVariable)
    })?;
    Ok(variable.zip(enabled).map(|(variable, enabled)| AutoUpdate { variable, enabled }))
}

fn registry_login(given: &Given) -> Result<RegistryLogin, WrongAnswer> {
    let property = |setting| given.parsed(setting, EnvName::parse);
    let login = RegistryLogin {
        host_property: property(Setting::RegistryHostProperty)?,
        user_property: property(Setting::RegistryUserProperty)?,
        password_property: property(Setting::RegistryPasswordProperty)?,
        user: given.parsed(Setting::RegistryUser, |text| EnvValue::parse("registry user", text))?,
        password: given.parsed(Setting::RegistryPasswordFile, password)?,
    };
    Ok(login)
}

/// The content of a file that holds a password: one line break at the end belongs to the file.
fn password(content: &str) -> Result<EnvValue, RenderError> {
    let text = content.strip_suffix('\n').unwrap_or(content);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(RenderError::Empty { what: "registry password" });
    }
    refuse_control("registry password", text)?;
    EnvValue::parse("registry password", text)
}
