//! `octobundle config`.

use std::fmt::Write as _;

use octobundle::failure::Failure;
use octobundle::oci::Host;
use octobundle::registry::{ProxyRules, ProxyTexts};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::access::{Access, Job, mirrors_by_host, usual_config_file};
use crate::cli::exit::Outcome;
use crate::cli::registry_args::{RegistryArgs, SourceArgs, TransferArgs};
use crate::cli::settings::Variable;
use crate::cli::sourced::{Origin, Sourced};
use crate::cli::trust_args::{TrustArgs, Trusting, trusting};

/// Show every setting and where it comes from.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle config
  octobundle config --json
  octobundle config --proxy http://proxy:3128

A flag comes before a variable (OCTOBUNDLE_JOBS for --jobs), that before the configuration file, that before the
default. The file (all of it may be left out; paths are relative to its folder):
  [registry.\"reg.corp:5000\"]
  ca = \"corp.pem\"                     # trusted for this host
  cert = \"me.pem\"                     # shown to this host, with its key
  key = \"me.key\"
  proxy = \"http://proxy:3128\"         # or \"none\"
  mirror = \"cache.corp/hub\"           # asked first; or a list
  trusted-realms = [\"auth.corp\"]      # token servers that may see its login
  plain-http = false
  insecure-tls = false
  [limits]
  jobs = 8
  retry-for = \"10m\"
  max-wait = \"15m\"
  limit-rate = \"20M\"
  [trust]
  policy = \"policy.yaml\"              # or: keys = [\"anna.pub\", \"RWQ...\"], any of which is enough")]
pub(crate) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    config_file: Option<String>,
    settings: Vec<Setting>,
}

/// One value; never a secret.
#[derive(Serialize)]
struct Setting {
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<String>,
    name: &'static str,
    value: String,
    origin: Origin,
}

impl Args {
    /// Prints the settings.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let access = Access::new(&self.registry, Some(&self.transfer), Some(&self.source), &context.environment)?;
        // What cannot be used is better told here than by the next command.
        access.proxies()?;
        access.registries_conf()?;
        let mut settings = limits(&access);
        settings.extend(self.proxies(context));
        settings.extend(certificates(&access, context));
        settings.extend(self.logins(&access));
        settings.extend(self.other_files(context));
        settings.extend(registries(&access));
        settings.extend(trusted(&access, context));
        let config_file = access.file.path.as_ref().map(|path| path.display().to_string());
        let text = text(config_file.as_deref(), context, &settings);
        context.output.result("config", Report { config_file, settings }, &text)?;
        Ok(Outcome::Done)
    }

    fn proxies(&self, context: &Context) -> Vec<Setting> {
        let environment = &context.environment.proxies;
        if let Some(proxy) = &self.registry.proxy {
            let mut all = vec![setting("proxy", Sourced::flag("--proxy", without_login(proxy)))];
            all.extend(environment.no_proxy.as_ref().map(|no_proxy| of_variable("no-proxy", no_proxy, str::to_owned)));
            return all;
        }
        if self.registry.no_proxy_env {
            return vec![setting("proxy", Sourced::flag("--no-proxy-env", "none".to_owned()))];
        }
        let proxies =
            [("https-proxy", &environment.https), ("http-proxy", &environment.http), ("all-proxy", &environment.all)];
        let named = proxies.into_iter().filter_map(|(name, variable)| {
            variable.as_ref().map(|variable| of_variable(name, variable, without_login))
        });
        let mut all: Vec<Setting> = named.collect();
        if all.is_empty() {
            all.push(setting("proxy", Sourced::default("none".to_owned())));
        }
        all.extend(environment.no_proxy.as_ref().map(|no_proxy| of_variable("no-proxy", no_proxy, str::to_owned)));
        all
    }

    fn logins(&self, access: &Access<'_>) -> Vec<Setting> {
        let job = Job { authfile: self.source.src_authfile.as_deref(), ..Job::default() };
        let files = access.login_files(&job).into_iter();
        files.map(|file| setting("logins", file.map(|file| file.name()))).collect()
    }

    fn other_files(&self, context: &Context) -> Vec<Setting> {
        if self.registry.no_registries_conf {
            return vec![setting("registries-conf", Sourced::flag("--no-registries-conf", "none".to_owned()))];
        }
        let files = context.environment.registries_conf_files().into_iter().filter(|file| file.is_file());
        let named = context.environment.registries_conf.is_some();
        let sourced = |value: String| {
            if named { Sourced::environment("CONTAINERS_REGISTRIES_CONF", value) } else { Sourced::default(value) }
        };
        files.map(|file| setting("registries-conf", sourced(file.display().to_string()))).collect()
    }
}

fn limits(access: &Access<'_>) -> Vec<Setting> {
    let rate = access.limit_rate.clone().map(|rate| rate.map(|rate| rate.to_string()));
    vec![
        setting("jobs", access.jobs.clone().map(|jobs| jobs.to_string())),
        setting("retry-for", access.retry_for.clone().map(|span| span.to_string())),
        setting("max-wait", access.max_wait.clone().map(|span| span.to_string())),
        setting("limit-rate", rate.unwrap_or_else(|| Sourced::default("none".to_owned()))),
    ]
}

/// Whom the commands that use bundles trust.
fn trusted(access: &Access<'_>, context: &Context) -> Vec<Setting> {
    let name = |trusting: &Trusting| match trusting {
        Trusting::Keys(_) => "trust",
        Trusting::Policy(_) => "policy",
    };
    let found = trusting(&TrustArgs::default(), &access.file, &context.environment);
    let found = found.map(|found| setting(name(&found.value), found.map(|trusting| trusting.to_string())));
    let state = context.environment.accepted_file();
    let state = state.map(|file| setting("accepted", Sourced::default(file.display().to_string())));
    vec![found.unwrap_or_else(|| setting("trust", Sourced::default("nobody".to_owned())))]
        .into_iter()
        .chain(state)
        .collect()
}

fn certificates(access: &Access<'_>, context: &Context) -> Vec<Setting> {
    let system = context.environment.system_certificates.iter();
    let mut all: Vec<Setting> = system.map(|variable| of_variable("system-ca", variable, str::to_owned)).collect();
    all.extend(access.authorities.iter().map(|ca| setting("ca", ca.clone().map(|path| path.display().to_string()))));
    let folders = context.environment.certificate_folders().into_iter().filter(|folder| folder.is_dir());
    all.extend(folders.map(|folder| setting("certs-d", Sourced::default(folder.display().to_string()))));
    all
}

/// What is said about single registries.
fn registries(access: &Access<'_>) -> Vec<Setting> {
    let mut all = Vec::new();
    let mut of = |host: &Host, name, value: Sourced<String>| {
        all.push(Setting { registry: Some(host.to_string()), ..setting(name, value) });
    };
    for (name, hosts) in [("plain-http", &access.plain_http), ("insecure-tls", &access.insecure_tls)] {
        for host in hosts {
            of(&host.value, name, host.clone().map(|_| "true".to_owned()));
        }
    }
    for mirror in mirrors_by_host(&access.mirrors).into_values().flatten() {
        let shown = |to: &Host, prefix: &str| if prefix.is_empty() { to.to_string() } else { format!("{to}/{prefix}") };
        of(&mirror.value.from, "mirror", mirror.clone().map(|mirror| shown(&mirror.to, &mirror.prefix)));
    }
    for (host, entry) in &access.file.registries {
        let file = |line| Origin::File { path: access.file.path.clone().unwrap_or_default(), line: Some(line) };
        let mut at = |name, value: String, line| of(host, name, Sourced { value, origin: file(line) });
        if let Some(proxy) = &entry.proxy {
            at("proxy", proxy.value.as_deref().map_or_else(|| "none".to_owned(), without_login), proxy.line);
        }
        for path in entry.ca.iter().flat_map(|ca| &ca.value) {
            at("ca", path.display().to_string(), entry.ca.as_ref().map_or(0, |ca| ca.line));
        }
        for (name, path) in [("cert", &entry.cert), ("key", &entry.key)] {
            if let Some(path) = path {
                at(name, path.value.display().to_string(), path.line);
            }
        }
        if let Some(realms) = &entry.trusted_realms {
            at("trusted-realms", realms.value.join(", "), realms.line);
        }
        for (name, value) in [("plain-http", &entry.plain_http), ("insecure-tls", &entry.insecure_tls)] {
            if let Some(no) = value.as_ref().filter(|value| !value.value) {
                at(name, "false".to_owned(), no.line);
            }
        }
    }
    for realm in &access.trusted_realms {
        all.push(setting("trust-realm", realm.clone().map(|host| host.to_string())));
    }
    all
}

fn setting(name: &'static str, value: Sourced<String>) -> Setting {
    Setting { registry: None, name, value: value.value, origin: value.origin }
}

fn of_variable(name: &'static str, variable: &Variable, show: impl Fn(&str) -> String) -> Setting {
    setting(name, Sourced::environment(&variable.name, show(&variable.value)))
}

/// A proxy's address as the rules show it: without user and password.
fn without_login(text: &str) -> String {
    let rules = ProxyRules::new(ProxyTexts { all: Some(text), ..ProxyTexts::default() });
    let shown = rules.ok().and_then(|rules| rules.general().map(ToString::to_string));
    shown.unwrap_or_else(|| "(not an address)".to_owned())
}

fn text(config_file: Option<&str>, context: &Context, settings: &[Setting]) -> String {
    let mut text = match (config_file, usual_config_file(&context.environment)) {
        (Some(file), _) => format!("configuration file: {file}\n"),
        (None, Some(usual)) => format!("configuration file: none ({} is not there)\n", usual.display()),
        (None, None) => "configuration file: none\n".to_owned(),
    };
    let full = |setting: &Setting| match &setting.registry {
        Some(registry) => format!("{registry}  {}", setting.name),
        None => setting.name.to_owned(),
    };
    let width = |of: &dyn Fn(&Setting) -> usize| settings.iter().map(of).max().unwrap_or_default().min(60);
    let names = width(&|setting| full(setting).chars().count());
    let values = width(&|setting| setting.value.chars().count());
    for setting in settings {
        let (name, value, origin) = (full(setting), &setting.value, &setting.origin);
        writeln!(text, "{name:<names$}  {value:<values$}  {origin}").expect("a String takes any text");
    }
    text
}
