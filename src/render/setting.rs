//! Everything that can be answered, by the name it has on the command line and in a `site.yaml`.

/// One thing that can be said about what is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    /// In which form it is rendered.
    As,
    /// The private registry with its path.
    Registry,
    /// Whether names keep the host that their images came from.
    KeepHost,
    /// The server's address, as agents reach it.
    ServerUrl,
    /// The container's name.
    Name,
    /// The file that holds the agent's token.
    TokenFile,
    /// Where the env-file will stand.
    EnvFile,
    /// Whose commands.
    Engine,
    /// The agent's image by its name in the bundle.
    Image,
    /// Whether images are named by tag or by digest.
    Pin,
    /// The agent's Java heap.
    Heap,
    /// Whether the agent logs for debugging.
    Debug,
    /// Options for the agent's Java.
    JavaOption,
    /// The proxy between agent and server, for `http` addresses.
    AgentHttpProxy,
    /// The same for `https` addresses.
    AgentHttpsProxy,
    /// What the agent reaches without proxy.
    AgentNoProxy,
    /// Whether the engine's socket is kept from the agent.
    NoDockerSocket,
    /// Whether the agent replaces itself by newer versions.
    AutoUpdate,
    /// The variable that says so.
    AutoUpdateVariable,
    /// More variables.
    Env,
    /// More volumes.
    Volume,
    /// More words for the engine's `run`, an option each.
    RunOption,
    /// The file of the certificate authority that vouches for the registry.
    CaFile,
    /// The user at the registry, for the load generators that the agent starts.
    RegistryUser,
    /// The file that holds this user's password.
    RegistryPasswordFile,
    /// The Java property that carries the registry's host.
    RegistryHostProperty,
    /// The Java property that carries the user.
    RegistryUserProperty,
    /// The Java property that carries the password.
    RegistryPasswordProperty,
    /// The ports of the server's parts.
    Port,
    /// The port under which the server is reached.
    PublishedPort,
    /// Where in its container the server keeps its data.
    DataPath,
    /// The box that a virtual machine is made of.
    Box,
    /// The namespace in Kubernetes.
    Namespace,
    /// The secret in Kubernetes that holds the registry's login.
    PullSecret,
    /// How the agent's chart takes pull secrets.
    PullSecretForm,
}

/// What is written for a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One text.
    Text,
    /// Any number of texts.
    Texts,
    /// `true` or `false`; on the command line the flag alone.
    Switch,
    /// The path of a file, whose content is the answer.
    File,
}

impl Setting {
    /// All, in the order in which documents list them.
    pub const ALL: [Self; 35] = [
        Self::As,
        Self::Registry,
        Self::KeepHost,
        Self::ServerUrl,
        Self::Name,
        Self::TokenFile,
        Self::EnvFile,
        Self::Engine,
        Self::Image,
        Self::Pin,
        Self::Heap,
        Self::Debug,
        Self::JavaOption,
        Self::AgentHttpProxy,
        Self::AgentHttpsProxy,
        Self::AgentNoProxy,
        Self::NoDockerSocket,
        Self::AutoUpdate,
        Self::AutoUpdateVariable,
        Self::Env,
        Self::Volume,
        Self::RunOption,
        Self::CaFile,
        Self::RegistryUser,
        Self::RegistryPasswordFile,
        Self::RegistryHostProperty,
        Self::RegistryUserProperty,
        Self::RegistryPasswordProperty,
        Self::Port,
        Self::PublishedPort,
        Self::DataPath,
        Self::Box,
        Self::Namespace,
        Self::PullSecret,
        Self::PullSecretForm,
    ];

    /// Its name in a `site.yaml`; behind `--` its name on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Self::As => "as",
            Self::Registry => "registry",
            Self::KeepHost => "keep-host",
            Self::ServerUrl => "server-url",
            Self::Name => "name",
            Self::TokenFile => "token-file",
            Self::EnvFile => "env-file",
            Self::Engine => "engine",
            Self::Image => "image",
            Self::Pin => "pin",
            Self::Heap => "heap",
            Self::Debug => "debug",
            Self::JavaOption => "java-option",
            Self::AgentHttpProxy => "agent-http-proxy",
            Self::AgentHttpsProxy => "agent-https-proxy",
            Self::AgentNoProxy => "agent-no-proxy",
            Self::NoDockerSocket => "no-docker-socket",
            Self::AutoUpdate => "auto-update",
            Self::AutoUpdateVariable => "auto-update-variable",
            Self::Env => "env",
            Self::Volume => "volume",
            Self::RunOption => "run-option",
            Self::CaFile => "ca-file",
            Self::RegistryUser => "registry-user",
            Self::RegistryPasswordFile => "registry-password-file",
            Self::RegistryHostProperty => "registry-host-property",
            Self::RegistryUserProperty => "registry-user-property",
            Self::RegistryPasswordProperty => "registry-password-property",
            Self::Port => "port",
            Self::PublishedPort => "published-port",
            Self::DataPath => "data-path",
            Self::Box => "box",
            Self::Namespace => "namespace",
            Self::PullSecret => "pull-secret",
            Self::PullSecretForm => "pull-secret-form",
        }
    }

    /// It on the command line, with a word for what to write.
    pub fn flag(self) -> String {
        let word = match (self, self.kind()) {
            (_, Kind::Switch) => return format!("--{}", self.key()),
            (_, Kind::File) => "FILE",
            (Self::ServerUrl, _) => "URL",
            (Self::DataPath, _) => "PATH",
            (Self::Name | Self::Namespace | Self::PullSecret, _) => "NAME",
            (Self::Box, _) => "BOX",
            _ => "VALUE",
        };
        format!("--{} {word}", self.key())
    }

    /// What is written for it.
    pub fn kind(self) -> Kind {
        match self {
            Self::JavaOption | Self::Env | Self::Volume | Self::RunOption | Self::Port => Kind::Texts,
            Self::KeepHost | Self::Debug | Self::NoDockerSocket => Kind::Switch,
            Self::TokenFile | Self::CaFile | Self::RegistryPasswordFile => Kind::File,
            Self::As
            | Self::Registry
            | Self::ServerUrl
            | Self::Name
            | Self::EnvFile
            | Self::Engine
            | Self::Image
            | Self::Pin
            | Self::Heap
            | Self::AgentHttpProxy
            | Self::AgentHttpsProxy
            | Self::AgentNoProxy
            | Self::AutoUpdate
            | Self::AutoUpdateVariable
            | Self::RegistryUser
            | Self::RegistryHostProperty
            | Self::RegistryUserProperty
            | Self::RegistryPasswordProperty
            | Self::PublishedPort
            | Self::DataPath
            | Self::Box
            | Self::Namespace
            | Self::PullSecret
            | Self::PullSecretForm => Kind::Text,
        }
    }

    /// The setting with this key.
    pub fn by_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.key() == key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setting_is_found_by_its_key_alone() {
        let keys: BTreeSet<&str> = Setting::ALL.into_iter().map(Setting::key).collect();
        assert_eq!(keys.len(), Setting::ALL.len());
        assert!(Setting::ALL.into_iter().all(|setting| Setting::by_key(setting.key()) == Some(setting)));
    }
}
