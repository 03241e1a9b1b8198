//! The flags that answer what `render` asks.

use std::path::{Path, PathBuf};

use octobundle::failure::{ErrorClass, Failure};
use octobundle::render::{Given, Setting};

use crate::cli::input::read_limited;

/// Tokens and passwords are some hundred characters; a company's certificates have 300 KiB.
const MAX_ANSWER_FILE: u64 = 1024 * 1024 + 1;

/// Answers; the names are those of a site file's keys.
#[derive(clap::Args)]
pub(crate) struct SettingFlags {
    /// The private registry, with the path below which the images are
    #[arg(long, value_name = "HOST[:PORT][/PATH]")]
    registry: Option<String>,
    /// Names keep the source's host as a part of the path, as in `push --keep-host`
    #[arg(long)]
    keep_host: bool,
    /// In which form
    #[arg(long = "as", value_name = "TARGET")]
    target: Option<String>,
    /// The server's address, as agents reach it
    #[arg(long, value_name = "URL")]
    server_url: Option<String>,
    /// The container's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A file that holds the agent's token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where the env-file stands [default: NAME.env]
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Whose commands: `docker` or `podman` [default: docker]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    /// The agent's image by its name in the bundle, where several have that role
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Name images by `tag` or by `digest` [default: tag]
    #[arg(long, value_name = "tag|digest")]
    pin: Option<String>,
    /// The agent's Java heap, as in `1g`
    #[arg(long, value_name = "SIZE", help_heading = "The agent")]
    heap: Option<String>,
    /// Let the agent log for debugging
    #[arg(long, help_heading = "The agent")]
    debug: bool,
    /// An option for the agent's Java; may be given several times, merged into one variable
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true, help_heading = "The agent")]
    java_option: Vec<String>,
    /// The proxy between agent and server for `http` (not the engine's, not octobundle's)
    #[arg(long, value_name = "PROXY", help_heading = "The agent")]
    agent_http_proxy: Option<String>,
    /// The same for `https`
    #[arg(long, value_name = "PROXY", help_heading = "The agent")]
    agent_https_proxy: Option<String>,
    /// What the agent reaches without proxy
    #[arg(long, value_name = "HOSTS", help_heading = "The agent")]
    agent_no_proxy: Option<String>,
    /// Keep the engine's socket from the agent: it then starts no load generators
    #[arg(long, help_heading = "The agent")]
    no_docker_socket: bool,
    /// Whether the agent replaces itself by newer versions: `on` or `off`
    #[arg(long, value_name = "on|off", help_heading = "The agent")]
    auto_update: Option<String>,
    /// The variable that says so, as OctoPerf's documentation names it
    #[arg(long, value_name = "NAME", help_heading = "The agent")]
    auto_update_variable: Option<String>,
    /// A further variable for the agent; may be given several times
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE", help_heading = "The agent")]
    env: Vec<String>,
    /// A further volume for the agent; may be given several times
    // `-v` is for talking more, here as everywhere.
    #[arg(long, value_name = "SOURCE:/TARGET", help_heading = "The agent")]
    volume: Vec<String>,
    /// A further option for the engine's `run`, as one word; may be given several times
    #[arg(long, value_name = "--NAME=VALUE", allow_hyphen_values = true, help_heading = "The agent")]
    run_option: Vec<String>,
    /// The certificate of the authority that signed the registry's, as PEM
    #[arg(long, value_name = "FILE", help_heading = "The registry")]
    ca_file: Option<PathBuf>,
    /// The user by whom load generators are pulled
    #[arg(long, value_name = "USER", help_heading = "The registry")]
    registry_user: Option<String>,
    /// A file that holds this user's password
    #[arg(long, value_name = "FILE", help_heading = "The registry")]
    registry_password_file: Option<PathBuf>,
    /// The agent's Java property for the registry's host, as OctoPerf's documentation names it
    #[arg(long, value_name = "PROPERTY", help_heading = "The registry")]
    registry_host_property: Option<String>,
    /// The same for the user
    #[arg(long, value_name = "PROPERTY", help_heading = "The registry")]
    registry_user_property: Option<String>,
    /// The same for the password
    #[arg(long, value_name = "PROPERTY", help_heading = "The registry")]
    registry_password_property: Option<String>,
    /// The port of one of the server's parts; may be given several times
    #[arg(long, value_name = "PART=NUMBER", help_heading = "The server")]
    port: Vec<String>,
    /// The port under which the server is reached [default: 80]
    #[arg(long, value_name = "NUMBER", help_heading = "The server")]
    published_port: Option<String>,
    /// Where in its container the server keeps its data: `/home/octoperf/data` in the charts, elsewhere in old versions
    #[arg(long, value_name = "PATH", help_heading = "The server")]
    data_path: Option<String>,
    /// The box that Vagrant makes the virtual machine of
    #[arg(long = "box", value_name = "BOX", help_heading = "Vagrant and Kubernetes")]
    machine_box: Option<String>,
    /// The namespace that the agent runs in
    #[arg(long, value_name = "NAME", help_heading = "Vagrant and Kubernetes")]
    namespace: Option<String>,
    /// The secret that holds the registry's login
    #[arg(long, value_name = "NAME", help_heading = "Vagrant and Kubernetes")]
    pull_secret: Option<String>,
    /// How the agent's chart lists pull secrets, as its README shows
    #[arg(long, value_name = "names|maps", help_heading = "Vagrant and Kubernetes")]
    pull_secret_form: Option<String>,
}

impl SettingFlags {
    /// What was given, files read.
    pub(crate) fn given(&self) -> Result<Given, Failure> {
        let mut given = Given::default();
        let texts = [
            (Setting::Registry, &self.registry),
            (Setting::As, &self.target),
            (Setting::ServerUrl, &self.server_url),
            (Setting::Name, &self.name),
            (Setting::Engine, &self.engine),
            (Setting::Image, &self.image),
            (Setting::Pin, &self.pin),
            (Setting::Heap, &self.heap),
            (Setting::AgentHttpProxy, &self.agent_http_proxy),
            (Setting::AgentHttpsProxy, &self.agent_https_proxy),
            (Setting::AgentNoProxy, &self.agent_no_proxy),
            (Setting::AutoUpdate, &self.auto_update),
            (Setting::AutoUpdateVariable, &self.auto_update_variable),
            (Setting::RegistryUser, &self.registry_user),
            (Setting::RegistryHostProperty, &self.registry_host_property),
            (Setting::RegistryUserProperty, &self.registry_user_property),
            (Setting::RegistryPasswordProperty, &self.registry_password_property),
            (Setting::PublishedPort, &self.published_port),
            (Setting::DataPath, &self.data_path),
            (Setting::Box, &self.machine_box),
            (Setting::Namespace, &self.namespace),
            (Setting::PullSecret, &self.pull_secret),
            (Setting::PullSecretForm, &self.pull_secret_form),
        ];
        let one = texts.into_iter().filter_map(|(setting, text)| Some((setting, text.as_ref()?)));
        let lists = [
            (Setting::JavaOption, &self.java_option),
            (Setting::Env, &self.env),
            (Setting::Volume, &self.volume),
            (Setting::RunOption, &self.run_option),
            (Setting::Port, &self.port),
        ];
        let many = lists.into_iter().flat_map(|(setting, texts)| texts.iter().map(move |text| (setting, text)));
        for (setting, text) in one.chain(many) {
            given.add(setting, text.clone());
        }
        let switches = [
            (Setting::KeepHost, self.keep_host),
            (Setting::Debug, self.debug),
            (Setting::NoDockerSocket, self.no_docker_socket),
        ];
        for (setting, _) in switches.into_iter().filter(|(_, on)| *on) {
            given.add(setting, "true");
        }
        if let Some(path) = &self.env_file {
            given.add(Setting::EnvFile, path_text(path)?);
        }
        let files = [
            (Setting::TokenFile, &self.token_file),
            (Setting::CaFile, &self.ca_file),
            (Setting::RegistryPasswordFile, &self.registry_password_file),
        ];
        for (setting, path) in files {
            if let Some(path) = path {
                given.add(setting, answer_file(path)?);
            }
        }
        Ok(given)
    }
}

/// The text of a file that an answer names, without the mark that editors on Windows put at its beginning.
pub(crate) fn answer_file(path: &Path) -> Result<String, Failure> {
    let bytes = read_limited(path, MAX_ANSWER_FILE)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::new(ErrorClass::Input, format!("`{}` is no text in UTF-8", path.display()))
            .with_help("save it as UTF-8; PowerShell's `>` writes UTF-16")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// A command line is text, so the path in it must be too.
fn path_text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Failure::new(ErrorClass::Usage, "the env-file's path is no text")
            .with_help("choose another with `--env-file FILE`")
    })
}
