//! How registries are reached: flags, environment, configuration file and other tools' files become settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use octobundle::failure::{ErrorClass, Failure};
use octobundle::oci::{Host, ImageRef, Repository};
use octobundle::progress::Event;
use octobundle::registry::{
    AuthFile, ClientCertificate, HostCertificates, Mirror, ProxyRules, ProxyTexts, RegistriesConf, Registry,
    RegistrySettings, Secret, TrustedCertificates,
};
use octobundle::transfer::CopySettings;

use crate::cli::Context;
use crate::cli::amounts::{Rate, Span};
use crate::cli::config_file::{ConfigFile, Placed, RegistryEntry};
use crate::cli::input::{read_limited, usage};
use crate::cli::logins::{login_files, login_store};
use crate::cli::registry_args::{RegistryArgs, SourceArgs, TransferArgs};
use crate::cli::settings::{Environment, Variable};
use crate::cli::sourced::{Origin, Sourced, first};

/// Certificate files are some kilobytes; a whole system store is a quarter of a megabyte.
const MAX_CERTIFICATES: u64 = 4 * 1024 * 1024;

/// What a command is about to touch.
#[derive(Default)]
pub(crate) struct Job<'a> {
    /// The one registry that the command names: where it pushes to or logs in.
    pub(crate) named: Option<Host>,
    /// What is fetched.
    pub(crate) repositories: BTreeSet<Repository>,
    /// The file with the logins, under the command's own flag for it.
    pub(crate) authfile: Option<&'a Path>,
}

impl<'a> Job<'a> {
    /// Fetching these images.
    pub(crate) fn fetching<'i>(images: impl IntoIterator<Item = &'i ImageRef>, source: &'a SourceArgs) -> Self {
        let repositories = images.into_iter().map(|image| image.repository().clone()).collect();
        Self { named: None, repositories, authfile: source.src_authfile.as_deref() }
    }
}

/// Every setting of a run, each with its origin. Lists add up, single values are those of the first origin.
pub(crate) struct Access<'a> {
    args: &'a RegistryArgs,
    environment: &'a Environment,
    pub(crate) file: ConfigFile,
    /// Requests at a time.
    pub(crate) jobs: Sourced<NonZeroUsize>,
    pub(crate) retry_for: Sourced<Span>,
    pub(crate) max_wait: Sourced<Span>,
    pub(crate) limit_rate: Option<Sourced<Rate>>,
    pub(crate) authorities: Vec<Sourced<PathBuf>>,
    pub(crate) plain_http: Vec<Sourced<Host>>,
    pub(crate) insecure_tls: Vec<Sourced<Host>>,
    pub(crate) trusted_realms: Vec<Sourced<Host>>,
    pub(crate) mirrors: Vec<Sourced<Mirror>>,
}

/// Blobs larger than 256 KiB at a time, where nothing else was asked for: more fill no line better, and take memory.
const LARGE_JOBS: usize = 8;

impl Access<'_> {
    /// How blobs are copied: as many of every size as were asked for, or sixteen and few of them large.
    pub(crate) fn copy_settings(&self, transfer: &TransferArgs) -> CopySettings {
        let jobs = self.jobs.value.get();
        let large_jobs = if self.jobs.origin == Origin::Default { LARGE_JOBS } else { jobs };
        CopySettings { jobs, large_jobs, fail_fast: transfer.fail_fast }
    }
}

impl<'a> Access<'a> {
    /// Puts the settings together.
    pub(crate) fn new(
        args: &'a RegistryArgs,
        transfer: Option<&TransferArgs>,
        source: Option<&SourceArgs>,
        environment: &'a Environment,
    ) -> Result<Self, Failure> {
        let file = config_file(args.config.as_deref(), environment)?;
        let none = TransferArgs::default();
        let transfer = transfer.unwrap_or(&none);
        let (own, path) = (&environment.own, file.path.as_ref());
        let jobs = first(("--jobs", transfer.jobs), own.jobs.as_ref(), file.jobs.clone(), path)?;
        let retry_for =
            first(("--retry-for", transfer.retry_for), own.retry_for.as_ref(), file.retry_for.clone(), path)?;
        let max_wait = first(("--max-wait", transfer.max_wait), own.max_wait.as_ref(), file.max_wait.clone(), path)?;
        let limit_rate =
            first(("--limit-rate", transfer.limit_rate), own.limit_rate.as_ref(), file.limit_rate.clone(), path)?;
        let defaults = RegistrySettings::default();
        let sixteen = NonZeroUsize::new(16).expect("16 is not 0");
        let mut access = Self {
            args,
            environment,
            jobs: jobs.unwrap_or(Sourced::default(sixteen)),
            retry_for: retry_for.unwrap_or(Sourced::default(Span(defaults.retry_for))),
            max_wait: max_wait.unwrap_or(Sourced::default(Span(defaults.max_wait))),
            limit_rate,
            authorities: authorities(args, own.ca.as_ref()),
            plain_http: hosts("--plain-http", &args.plain_http, own.plain_http.as_ref())?,
            insecure_tls: hosts("--insecure-tls", &args.insecure_tls, own.insecure_tls.as_ref())?,
            trusted_realms: hosts("--trust-realm", &args.trusted_realms, own.trust_realm.as_ref())?,
            mirrors: mirrors(source.map_or(&[], |source| &source.mirrors), own.mirror.as_ref())?,
            file,
        };
        access.add_from_file()?;
        Ok(access)
    }

    fn add_from_file(&mut self) -> Result<(), Failure> {
        let Some(path) = self.file.path.clone() else { return Ok(()) };
        for (host, entry) in &self.file.registries {
            let origin = |line| Origin::File { path: path.clone(), line: Some(line) };
            if let Some(Placed { value: true, line }) = entry.plain_http {
                self.plain_http.push(Sourced { value: host.clone(), origin: origin(line) });
            }
            if let Some(Placed { value: true, line }) = entry.insecure_tls {
                self.insecure_tls.push(Sourced { value: host.clone(), origin: origin(line) });
            }
            let named_before = self.mirrors.iter().any(|mirror| mirror.value.from == *host);
            if let Some(Placed { value, line }) = entry.mirror.as_ref().filter(|_| !named_before) {
                for text in value {
                    let help = format!("correct `mirror` of `{host}`: write it as in `mirror = \"reg.corp/hub\"`");
                    let mirror = mirror_to(host.clone(), text).map_err(|why| {
                        let what = format!("the configuration file is not right at {}: {why}", origin(*line));
                        Failure::new(ErrorClass::Input, what).with_help(help)
                    })?;
                    self.mirrors.push(Sourced { value: mirror, origin: origin(*line) });
                }
            }
        }
        Ok(())
    }

    /// A client for what the job touches.
    pub(crate) fn registry(&self, context: &Context, job: &Job<'_>) -> Result<Arc<Registry>, Failure> {
        let settings = self.settings(context, job)?;
        Ok(Arc::new(Registry::new(settings, context.progress())?))
    }

    /// The settings for what the job touches. Says at `-v` what was used, and warns of what is not safe.
    pub(crate) fn settings(&self, context: &Context, job: &Job<'_>) -> Result<RegistrySettings, Failure> {
        let registries = self.registries_conf()?;
        let mut settings = RegistrySettings {
            proxy: self.proxies()?,
            trusted: self.trusted()?,
            mirrors: self.mirrors.iter().map(|mirror| mirror.value.clone()).collect(),
            insecure_tls: values(&self.insecure_tls),
            plain_http: values(&self.plain_http),
            https: self.https(),
            trusted_realms: values(&self.trusted_realms),
            retry_for: self.retry_for.value.0,
            max_wait: self.max_wait.value.0,
            limit_rate: self.limit_rate.as_ref().map(|rate| rate.value.0),
            connections: self.jobs.value.get(),
            credentials: Arc::new(login_store(self.login_files(job), self.environment)),
            ..RegistrySettings::default()
        };
        for repository in &job.repositories {
            // What `--mirror` names is asked first, but the repository itself is asked too.
            registries.check(repository)?;
            let insecure = registries.insecure_hosts(repository);
            // Loopback hosts are spoken to in plain http anyway, which is what is meant there.
            settings.insecure_tls.extend(insecure.into_iter().filter(|host| !host.is_loopback()));
            if let Some(file) = registries.origin_for(repository) {
                tracing::info!("`{repository}` is asked for as `{}` says", file.display());
            }
        }
        settings.registries = registries;
        if self.args.tls_verify == Some(false) {
            settings.insecure_tls.insert(named_host(job, "--tls-verify=false", "--insecure-tls HOST")?);
        }
        let hosts = hosts_of(job, &settings);
        self.add_certificates(&mut settings, job, &hosts)?;
        self.add_realms(&mut settings, &hosts)?;
        warn_of_unsafe(context, &settings, &hosts);
        Ok(settings)
    }

    /// The login files of a job in their order.
    pub(crate) fn login_files(&self, job: &Job<'_>) -> Vec<Sourced<AuthFile>> {
        login_files(job.authfile.or(self.args.authfile.as_deref()), self.environment)
    }

    /// What the containers tools' files say about registries.
    pub(crate) fn registries_conf(&self) -> Result<RegistriesConf, Failure> {
        if self.args.no_registries_conf {
            return Ok(RegistriesConf::default());
        }
        Ok(RegistriesConf::read(&self.environment.registries_conf_files())?)
    }

    /// Which connections go through which proxy.
    pub(crate) fn proxies(&self) -> Result<ProxyRules, Failure> {
        let texts = |variable: &'a Option<Variable>| variable.as_ref().map(|variable| variable.value.as_str());
        let environment = &self.environment.proxies;
        let no_proxy = texts(&environment.no_proxy);
        let wrong = |error: octobundle::registry::BadProxy| {
            Failure::new(ErrorClass::Input, error.to_string())
                .with_help("correct `--proxy` or HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; `--no-proxy-env` ignores the environment's")
        };
        if let Some(proxy) = &self.args.proxy {
            let texts = ProxyTexts { all: Some(proxy), no_proxy, ..ProxyTexts::default() };
            return ProxyRules::new(texts).map_err(wrong);
        }
        let texts = if self.args.no_proxy_env {
            ProxyTexts::default()
        } else {
            ProxyTexts {
                http: texts(&environment.http),
                https: texts(&environment.https),
                all: texts(&environment.all),
                no_proxy,
            }
        };
        let mut rules = ProxyRules::new(texts).map_err(wrong)?;
        for (host, entry) in &self.file.registries {
            if let Some(proxy) = &entry.proxy {
                rules = rules.with_host(host.clone(), proxy.value.as_deref()).map_err(|error| {
                    let file = self.file.path.clone().unwrap_or_default();
                    let what =
                        format!("the configuration file is not right at {}:{}: {error}", file.display(), proxy.line);
                    Failure::new(ErrorClass::Input, what).with_help(format!("correct `proxy` of `{host}`"))
                })?;
            }
        }
        Ok(rules)
    }

    fn trusted(&self) -> Result<Vec<TrustedCertificates>, Failure> {
        self.authorities.iter().map(|path| certificates(&path.value)).collect()
    }

    /// Loopback hosts of which the file says that they do not speak plain http.
    fn https(&self) -> BTreeSet<Host> {
        let speaks_tls =
            |entry: &RegistryEntry| entry.plain_http.as_ref().is_some_and(|plain| !plain.value) || entry.ca.is_some();
        let named = self.file.registries.iter().filter(|(_, entry)| speaks_tls(entry));
        named.map(|(host, _)| host.clone()).collect()
    }

    fn add_certificates(
        &self,
        settings: &mut RegistrySettings,
        job: &Job<'_>,
        hosts: &BTreeSet<Host>,
    ) -> Result<(), Failure> {
        let folders = self.environment.certificate_folders();
        for host in hosts {
            let mut found = HostCertificates::read(&folders, host)?;
            for path in &found.unreadable {
                tracing::info!("certificates for `{host}`: `{}` may not be read by this user", path.display());
            }
            if let Some(entry) = self.file.registries.get(host) {
                for path in entry.ca.iter().flat_map(|ca| &ca.value) {
                    found.authorities.push(certificates(path)?);
                }
                if let (Some(cert), Some(key)) = (&entry.cert, &entry.key) {
                    found.shown = Some(client_certificate(&cert.value, &key.value)?);
                }
            }
            for authority in &found.authorities {
                tracing::info!("certificates for `{host}`: `{}` is trusted", authority.origin.display());
            }
            if !found.authorities.is_empty() {
                // Who names an authority for a host of this machine means that it speaks TLS.
                settings.https.insert(host.clone());
                settings.trusted_for.insert(host.clone(), found.authorities);
            }
            if let Some(shown) = found.shown {
                tracing::info!("certificates for `{host}`: `{}` is shown", shown.origin.display());
                settings.client_certificates.insert(host.clone(), shown);
            }
        }
        if let (Some(cert), Some(key)) = (&self.args.cert, &self.args.key) {
            let (host, cert) = match cert.split_once('=').and_then(|(host, file)| Some((host.parse().ok()?, file))) {
                Some(pair) => pair,
                None => (named_host(job, "--cert FILE", "--cert HOST=FILE")?, cert.as_str()),
            };
            settings.client_certificates.insert(host, client_certificate(Path::new(cert), key)?);
        }
        Ok(())
    }

    /// Token servers that the file trusts for a host of this job.
    fn add_realms(&self, settings: &mut RegistrySettings, hosts: &BTreeSet<Host>) -> Result<(), Failure> {
        for (host, entry) in self.file.registries.iter().filter(|(host, _)| hosts.contains(*host)) {
            for realm in entry.trusted_realms.iter().flat_map(|realms| &realms.value) {
                let realm = realm.parse().map_err(|error| {
                    Failure::new(
                        ErrorClass::Input,
                        format!("`trusted-realms` of `{host}` in the configuration file: {error}"),
                    )
                    .with_help("name the token server's host alone, as in `trusted-realms = [\"auth.corp\"]`")
                })?;
                settings.trusted_realms.insert(realm);
            }
        }
        Ok(())
    }
}

/// The configuration file that was named, or the usual one where it exists.
/// The configuration file of a run: the one named by flag or variable, or the usual one if it is there.
pub(crate) fn config_file(flag: Option<&Path>, environment: &Environment) -> Result<ConfigFile, Failure> {
    let home = environment.home.as_deref();
    let named = flag.map(Path::to_owned).or_else(|| Some(PathBuf::from(&environment.own.config.as_ref()?.value)));
    if let Some(path) = named {
        return ConfigFile::read(&path, home);
    }
    match usual_config_file(environment) {
        Some(path) if path.exists() => ConfigFile::read(&path, home),
        _ => Ok(ConfigFile::default()),
    }
}

/// `~/.config/octobundle/config.toml`.
pub(crate) fn usual_config_file(environment: &Environment) -> Option<PathBuf> {
    Some(environment.config_folder()?.join("octobundle/config.toml"))
}

fn values<T: Clone, C: FromIterator<T>>(all: &[Sourced<T>]) -> C {
    all.iter().map(|one| one.value.clone()).collect()
}

fn authorities(args: &RegistryArgs, variable: Option<&Variable>) -> Vec<Sourced<PathBuf>> {
    let flags = args.authorities.iter().map(|path| Sourced::flag("--ca", path.clone()));
    // A list as PATH is one.
    let listed = variable.iter().flat_map(|variable| {
        let paths = std::env::split_paths(&variable.value).filter(|path| !path.as_os_str().is_empty());
        paths.map(|path| Sourced::environment(&variable.name, path)).collect::<Vec<_>>()
    });
    flags.chain(listed).collect()
}

fn listed(variable: &Variable) -> impl Iterator<Item = &str> {
    variable.value.split([',', ' ']).filter(|text| !text.is_empty())
}

fn hosts(flag: &'static str, texts: &[String], variable: Option<&Variable>) -> Result<Vec<Sourced<Host>>, Failure> {
    let help = "write it as in image names: `reg.corp:5000`";
    let mut all = Vec::new();
    for text in texts {
        let host = text.parse().map_err(|error| usage(format!("{flag}: {error}"), help))?;
        all.push(Sourced::flag(flag, host));
    }
    for (name, text) in variable.iter().flat_map(|variable| listed(variable).map(|text| (&variable.name, text))) {
        let host = text.parse().map_err(|error| {
            Failure::new(ErrorClass::Input, format!("the variable {name}: {error}")).with_help(help)
        })?;
        all.push(Sourced::environment(name, host));
    }
    Ok(all)
}

/// The mirrors of flags, and those of the variable for hosts that no flag names.
fn mirrors(texts: &[String], variable: Option<&Variable>) -> Result<Vec<Sourced<Mirror>>, Failure> {
    let help = "write it as in `--mirror docker.io=reg.corp/hub`";
    let mut all = Vec::new();
    for text in texts {
        all.push(Sourced::flag(
            "--mirror",
            mirror(text).map_err(|why| usage(format!("`--mirror {text}`: {why}"), help))?,
        ));
    }
    let by_flag: BTreeSet<Host> = all.iter().map(|mirror| mirror.value.from.clone()).collect();
    for (name, text) in variable.iter().flat_map(|variable| listed(variable).map(|text| (&variable.name, text))) {
        let mirror = mirror(text).map_err(|why| {
            Failure::new(ErrorClass::Input, format!("the variable {name}: `{text}`: {why}")).with_help(help)
        })?;
        if !by_flag.contains(&mirror.from) {
            all.push(Sourced::environment(name, mirror));
        }
    }
    Ok(all)
}

/// `HOST=REGISTRY[/PATH]`.
fn mirror(text: &str) -> Result<Mirror, String> {
    let (from, to) = text.split_once('=').ok_or("there is no `=`")?;
    mirror_to(from.parse().map_err(|error| format!("{error}"))?, to)
}

/// `REGISTRY[/PATH]` as a mirror of `from`.
fn mirror_to(from: Host, to: &str) -> Result<Mirror, String> {
    let (to, prefix) = to.trim_end_matches('/').split_once('/').unwrap_or((to.trim_end_matches('/'), ""));
    let to: Host = to.parse().map_err(|error| format!("{error}"))?;
    if !prefix.is_empty() {
        // The prefix must be able to begin a repository's name.
        format!("{to}/{prefix}/x").parse::<Repository>().map_err(|error| format!("{error}"))?;
    }
    Ok(Mirror { from, to, prefix: prefix.to_owned() })
}

fn certificates(path: &Path) -> Result<TrustedCertificates, Failure> {
    let pem = read_limited(path, MAX_CERTIFICATES)?;
    Ok(TrustedCertificates { origin: fs::canonicalize(path).unwrap_or_else(|_| path.into()), pem })
}

fn client_certificate(cert: &Path, key: &Path) -> Result<ClientCertificate, Failure> {
    let key = String::from_utf8(read_limited(key, MAX_CERTIFICATES)?).map_err(|_| {
        Failure::new(ErrorClass::Input, format!("the key `{}` is not in PEM form", key.display()))
            .with_help(format!("turn it into PEM: `openssl pkey -in {} -inform DER -out key.pem`", key.display()))
    })?;
    Ok(ClientCertificate {
        origin: cert.into(),
        certificates: read_limited(cert, MAX_CERTIFICATES)?,
        key: Secret::new(key),
    })
}

fn named_host(job: &Job<'_>, flag: &str, instead: &str) -> Result<Host, Failure> {
    job.named.clone().ok_or_else(|| {
        usage(
            format!("`{flag}` does not say for which host, and this command may speak to several"),
            &format!("name it: `{instead}`"),
        )
    })
}

/// All registries that a job may speak to, as far as its command and the settings name them.
pub(crate) fn hosts_of(job: &Job<'_>, settings: &RegistrySettings) -> BTreeSet<Host> {
    let places = job.repositories.iter().flat_map(|repository| settings.places_of(repository));
    places.map(|repository| repository.host).chain(job.named.clone()).collect()
}

fn warn_of_unsafe(context: &Context, settings: &RegistrySettings, hosts: &BTreeSet<Host>) {
    let warn = |text: String| context.progress().report(Event::Warning(text));
    for host in hosts {
        if settings.insecure_tls.contains(host) {
            warn(format!(
                "the certificate of `{host}` is not checked: anyone on the way can read and change what is sent, logins too"
            ));
        } else if settings.plain_http.contains(host) && !settings.https.contains(host) && !host.is_loopback() {
            warn(format!(
                "`{host}` is spoken to in plain http: anyone on the way can read and change what is sent, logins too"
            ));
        }
    }
}

/// Mirrors by the host whose images they have, for showing.
pub(crate) fn mirrors_by_host(all: &[Sourced<Mirror>]) -> BTreeMap<&Host, Vec<&Sourced<Mirror>>> {
    let mut by_host: BTreeMap<&Host, Vec<&Sourced<Mirror>>> = BTreeMap::new();
    for mirror in all {
        by_host.entry(&mirror.value.from).or_default().push(mirror);
    }
    by_host
}

/// How long a command that looks once waits for a connection: somebody is watching.
pub(crate) const SHORT_CONNECT: Duration = Duration::from_secs(10);
