//! The only reader of the environment. What it finds goes into requests and settings as values.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use octobundle::engine::EngineSettings;
use octobundle::failure::{ErrorClass, Failure};

/// What the environment says, as far as anything here cares.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    pub(crate) home: Option<PathBuf>,
    pub(crate) runtime_dir: Option<PathBuf>,
    pub(crate) config_home: Option<PathBuf>,
    state_home: Option<PathBuf>,
    /// The folder that systemd keeps for this service.
    state_directory: Option<PathBuf>,
    pub(crate) docker_config: Option<PathBuf>,
    pub(crate) docker_host: Option<String>,
    pub(crate) path: Option<OsString>,
    pub(crate) proxies: ProxyVariables,
    pub(crate) auth_files: AuthVariables,
    pub(crate) own: OwnVariables,
    /// The file that stands in for all of the containers tools' `registries.conf`.
    pub(crate) registries_conf: Option<PathBuf>,
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR`, which take the place of the system's certificates; for showing only, the
    /// TLS library reads them itself.
    pub(crate) system_certificates: Vec<Variable>,
    /// The time that stands in for now in what is made, in seconds since 1970.
    pub(crate) source_date_epoch: Option<String>,
}

/// A variable that is set; its value may be secret.
#[derive(Clone)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Settings of this tool: `OCTOBUNDLE_` and the flag's name.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnVariables {
    pub(crate) config: Option<Variable>,
    pub(crate) jobs: Option<Variable>,
    pub(crate) retry_for: Option<Variable>,
    pub(crate) max_wait: Option<Variable>,
    pub(crate) limit_rate: Option<Variable>,
    pub(crate) ca: Option<Variable>,
    pub(crate) plain_http: Option<Variable>,
    pub(crate) insecure_tls: Option<Variable>,
    pub(crate) mirror: Option<Variable>,
    pub(crate) trust_realm: Option<Variable>,
    pub(crate) trust: Option<Variable>,
    pub(crate) policy: Option<Variable>,
}

/// The variables that curl and Go read for proxies; their values may hold passwords and are not shown.
#[derive(Clone, Default)]
pub(crate) struct ProxyVariables {
    pub(crate) http: Option<Variable>,
    pub(crate) https: Option<Variable>,
    pub(crate) all: Option<Variable>,
    pub(crate) no_proxy: Option<Variable>,
}

/// Where logins are said to be.
#[derive(Clone, Default)]
pub(crate) struct AuthVariables {
    pub(crate) octobundle: Option<PathBuf>,
    pub(crate) registry: Option<PathBuf>,
    /// JSON, and secret.
    pub(crate) docker_json: Option<String>,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl std::fmt::Debug for ProxyVariables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProxyVariables(..)")
    }
}

impl std::fmt::Debug for AuthVariables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthVariables(..)")
    }
}

/// A variable that is set to something.
#[expect(clippy::disallowed_methods, reason = "this module is the one place that reads the environment")]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> Option<String> {
    variable(name).map(|value| value.to_string_lossy().into_owned())
}

fn path(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from)
}

fn named(name: &str) -> Option<Variable> {
    text(name).map(|value| Variable { name: name.to_owned(), value })
}

/// The lower-case name wins, as with curl.
fn either_case(name: &str) -> Option<Variable> {
    named(&name.to_lowercase()).or_else(|| named(name))
}

impl Environment {
    /// Reads the environment once.
    pub(crate) fn read() -> Self {
        Self {
            home: path("HOME").or_else(|| path("USERPROFILE")),
            runtime_dir: path("XDG_RUNTIME_DIR"),
            config_home: path("XDG_CONFIG_HOME"),
            state_home: path("XDG_STATE_HOME"),
            state_directory: path("STATE_DIRECTORY"),
            docker_config: path("DOCKER_CONFIG"),
            docker_host: text("DOCKER_HOST"),
            path: variable("PATH"),
            proxies: ProxyVariables::read(),
            auth_files: AuthVariables {
                octobundle: path("OCTOBUNDLE_AUTHFILE"),
                registry: path("REGISTRY_AUTH_FILE"),
                docker_json: text("DOCKER_AUTH_CONFIG"),
            },
            own: OwnVariables::read(),
            registries_conf: path("CONTAINERS_REGISTRIES_CONF"),
            system_certificates: ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(named).collect(),
            source_date_epoch: text("SOURCE_DATE_EPOCH"),
        }
    }

    /// The date for documents, to the second: that of `SOURCE_DATE_EPOCH`, or else now.
    pub(crate) fn date(&self) -> Result<String, Failure> {
        let Some(text) = &self.source_date_epoch else {
            return Ok(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        };
        let time = text.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let time = time.ok_or_else(|| {
            Failure::new(ErrorClass::Usage, format!("`SOURCE_DATE_EPOCH` is `{text}`, which is no time"))
                .with_help("set it to seconds since 1970, or unset it")
        })?;
        Ok(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    /// `${XDG_CONFIG_HOME:-~/.config}`.
    pub(crate) fn config_folder(&self) -> Option<PathBuf> {
        self.config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")))
    }

    /// Where things are kept that a user did not write: systemd's folder, or `${XDG_STATE_HOME:-~/.local/state}/octobundle`.
    pub(crate) fn state_folder(&self) -> Option<PathBuf> {
        let home = || self.state_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/state")));
        self.state_directory.clone().or_else(|| Some(home()?.join("octobundle")))
    }

    /// What remembers which bundles were accepted.
    pub(crate) fn accepted_file(&self) -> Option<PathBuf> {
        Some(self.state_folder()?.join("accepted.json"))
    }

    /// The folders in which programs are looked for.
    pub(crate) fn program_folders(&self) -> Vec<PathBuf> {
        self.path.as_ref().map(|path| env::split_paths(path).collect()).unwrap_or_default()
    }

    /// Docker's own file: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
    pub(crate) fn docker_config_file(&self) -> Option<PathBuf> {
        let folder = self.docker_config.clone().or_else(|| Some(self.home.as_ref()?.join(".docker")))?;
        Some(folder.join("config.json"))
    }

    /// Where docker and the containers tools keep certificates by host.
    pub(crate) fn certificate_folders(&self) -> Vec<PathBuf> {
        let below_config = |name: &str| self.config_folder().map(|folder| folder.join(name));
        let docker_home = self.docker_config.clone().or_else(|| Some(self.home.as_ref()?.join(".docker")));
        let all = [
            Some(PathBuf::from("/etc/docker/certs.d")),
            below_config("docker/certs.d"),
            docker_home.map(|folder| folder.join("certs.d")),
            Some(PathBuf::from("/etc/containers/certs.d")),
            below_config("containers/certs.d"),
        ];
        all.into_iter().flatten().collect()
    }

    /// The files of the containers tools about registries, in the order in which they are read: the person's main
    /// file takes the place of the machine's, the parts in folders come on top, by name.
    pub(crate) fn registries_conf_files(&self) -> Vec<PathBuf> {
        if let Some(only) = &self.registries_conf {
            return vec![only.clone()];
        }
        let machine = PathBuf::from("/etc/containers");
        let own = self.config_folder().map(|folder| folder.join("containers"));
        let main =
            own.iter().chain([&machine]).map(|folder| folder.join("registries.conf")).find(|file| file.is_file());
        let parts = [Some(machine), own].into_iter().flatten().flat_map(|folder| conf_files(&folder));
        main.into_iter().chain(parts).collect()
    }

    /// Where engines may be.
    pub(crate) fn engines(&self) -> EngineSettings {
        let below_runtime = |name: &str| self.runtime_dir.as_ref().map(|folder| folder.join(name));
        let sockets = |fixed: &str, own: Option<PathBuf>| std::iter::once(PathBuf::from(fixed)).chain(own).collect();
        EngineSettings {
            docker_host: self.docker_host.clone(),
            docker_sockets: sockets(EngineSettings::DOCKER_SOCKET, below_runtime("docker.sock")),
            podman_sockets: sockets(EngineSettings::PODMAN_SOCKET, below_runtime("podman/podman.sock")),
            path: self.path.clone(),
        }
    }
}

impl ProxyVariables {
    fn read() -> Self {
        // Under CGI a request header `Proxy:` becomes HTTP_PROXY (CVE-2016-5386): there only the lower-case name counts.
        let under_cgi = variable("REQUEST_METHOD").is_some();
        Self {
            http: if under_cgi { named("http_proxy") } else { either_case("HTTP_PROXY") },
            https: either_case("HTTPS_PROXY"),
            all: either_case("ALL_PROXY"),
            no_proxy: either_case("NO_PROXY"),
        }
    }
}

impl OwnVariables {
    fn read() -> Self {
        Self {
            config: named("OCTOBUNDLE_CONFIG"),
            jobs: named("OCTOBUNDLE_JOBS"),
            retry_for: named("OCTOBUNDLE_RETRY_FOR"),
            max_wait: named("OCTOBUNDLE_MAX_WAIT"),
            limit_rate: named("OCTOBUNDLE_LIMIT_RATE"),
            ca: named("OCTOBUNDLE_CA"),
            plain_http: named("OCTOBUNDLE_PLAIN_HTTP"),
            insecure_tls: named("OCTOBUNDLE_INSECURE_TLS"),
            mirror: named("OCTOBUNDLE_MIRROR"),
            trust_realm: named("OCTOBUNDLE_TRUST_REALM"),
            trust: named("OCTOBUNDLE_TRUST"),
            policy: named("OCTOBUNDLE_POLICY"),
        }
    }
}

/// `registries.conf.d/*.conf` of a folder, sorted.
fn conf_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.join("registries.conf.d").read_dir() else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "conf"));
    files.sort();
    files
}

/// Starts the log on stderr for `-v` (what is decided) and `-vv` (every request).
pub(crate) fn start_log(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "octobundle=info",
        2 => "octobundle=debug",
        _ => "octobundle=trace",
    };
    let filter = tracing_subscriber::EnvFilter::new(level);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
