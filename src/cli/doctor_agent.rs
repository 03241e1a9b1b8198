//! `octobundle doctor agent`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use octobundle::bundle::Bundle;
use octobundle::failure::Failure;
use octobundle::images::Lock;
use octobundle::oci::ImageRef;
use octobundle::plan::Target;
use octobundle::registry::{Anonymous, ProxyRules, ProxyTexts, Registry, RegistrySettings};
use octobundle::render::ServerUrl;
use octobundle::wording::size;
use octobundle::workflow::{self, AgentDoctorReport, AgentDoctorRequest, EngineDiagnosis, ImageDiagnosis, NeededImage};
use serde::Serialize;
use url::Url;

use crate::cli::Context;
use crate::cli::access::{Access, Job, SHORT_CONNECT};
use crate::cli::doctor::{SHORT_ANSWER, image_word};
use crate::cli::exit::{Outcome, class_name, exit_code};
use crate::cli::input::{read_limited, read_lock, usage};
use crate::cli::load::EngineName;
use crate::cli::push::TargetArgs;
use crate::cli::reach::{
    HostJson, ProblemJson, ServerJson, bare_server_json, bare_server_text, host_json, host_text, problem_json,
    problem_text, section,
};
use crate::cli::registry_args::RegistryArgs;

/// On an agent's host: whether an agent would work here, its first test included
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle doctor agent octoperf.tar --registry reg.corp:5000/tools --server-url https://octoperf.corp
  octobundle doctor agent octoperf.lock --registry reg.corp:5000/tools --server-url https://octoperf.corp --engine podman

The engine really fetches the agent's image and its load generators, by digest; they stay there. The exit code says whether
an agent would work: 0, or that of what is in the way.")]
pub(crate) struct Args {
    /// The bundle or its lock, which say what the agents fetch
    #[arg(value_name = "BUNDLE|LOCK", required_unless_present = "images")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
    /// The server's address, as agents reach it
    #[arg(long, value_name = "URL")]
    server_url: String,
    /// Without bundle and lock: an image that agents fetch, by its name in the private registry; the agent's first
    #[arg(long = "image", value_name = "IMAGE", conflicts_with = "bundle")]
    images: Vec<ImageRef>,
    /// Which engine; `auto` takes the one that answers, docker first
    #[arg(long, value_enum, default_value_t = EngineName::Auto)]
    engine: EngineName,
    /// The `HTTP_PROXY` that the agent would be given
    #[arg(long, value_name = "URL", help_heading = "The agent's own proxy")]
    agent_http_proxy: Option<String>,
    /// The `HTTPS_PROXY` that the agent would be given
    #[arg(long, value_name = "URL", help_heading = "The agent's own proxy")]
    agent_https_proxy: Option<String>,
    /// The `NO_PROXY` that the agent would be given
    #[arg(long, value_name = "HOSTS", help_heading = "The agent's own proxy")]
    agent_no_proxy: Option<String>,
    #[command(flatten)]
    reach: RegistryArgs,
}

impl Args {
    /// Looks and reports.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let target = self.target.parse()?;
        let request = self.request(context, &target)?;
        let access = Access::new(&self.reach, None, None, &context.environment)?;
        let job = Job { named: Some(target.registry().clone()), ..Job::default() };
        let mut settings = access.settings(context, &job)?;
        settings.limits.connect = SHORT_CONNECT;
        settings.limits.headers = SHORT_ANSWER;
        let as_agent = Registry::new(self.as_agent(&settings)?, context.progress())?;
        let registry = Arc::new(Registry::new(settings, context.progress())?);
        let report = workflow::doctor_agent(&request, &registry, &as_agent, &context.progress()).await?;
        context.finish_progress();
        context.output.result("doctor agent", json(&report), &text(&report))?;
        Ok(report.verdict().map_or(Outcome::Done, Outcome::Ended))
    }

    fn request(&self, context: &Context, target: &Target) -> Result<AgentDoctorRequest, Failure> {
        let server: ServerUrl = self.server_url.parse()?;
        let server_url = Url::parse(&server.to_string()).expect("the type holds only addresses that parse");
        let images = match &self.bundle {
            Some(path) => workflow::images_of_agents(&lock_in(path)?, target)?,
            None => self.named_images(target)?,
        };
        Ok(AgentDoctorRequest {
            images,
            server_url,
            engine: self.engine.choice(),
            settings: context.environment.engines(),
            now: SystemTime::now(),
        })
    }

    fn named_images(&self, target: &Target) -> Result<Vec<NeededImage>, Failure> {
        let elsewhere = self.images.iter().find(|image| image.repository().host != *target.registry());
        if let Some(image) = elsewhere {
            let what = format!("`{image}` is not in the registry `{}`", target.registry());
            return Err(usage(
                what,
                "name images as they are called there, as in `--image reg.corp:5000/tools/octoperf/docker-agent:9.0.0`",
            ));
        }
        let role = |place| if place == 0 { "agent" } else { "load-generator" };
        let needed = |(place, name): (usize, &ImageRef)| NeededImage {
            name: name.clone(),
            role: role(place).to_owned(),
            locked: None,
        };
        Ok(self.images.iter().enumerate().map(needed).collect())
    }

    /// How the agent reaches its server: through its own proxies, and without any registry's login or certificates.
    fn as_agent(&self, settings: &RegistrySettings) -> Result<RegistrySettings, Failure> {
        let proxy = ProxyRules::new(ProxyTexts {
            http: self.agent_http_proxy.as_deref(),
            https: self.agent_https_proxy.as_deref(),
            all: None,
            no_proxy: self.agent_no_proxy.as_deref(),
        });
        let proxy = proxy.map_err(|error| {
            usage(error.to_string(), "correct `--agent-http-proxy`, `--agent-https-proxy` or `--agent-no-proxy`")
        })?;
        Ok(RegistrySettings {
            proxy,
            trusted: settings.trusted.clone(),
            credentials: Arc::new(Anonymous),
            limits: settings.limits.clone(),
            ..RegistrySettings::default()
        })
    }
}

/// The lock in a bundle, or one that stands alone, which is JSON.
fn lock_in(path: &Path) -> Result<Lock, Failure> {
    if read_limited(path, 1)? == b"{" { read_lock(path) } else { Ok(Bundle::open(path)?.lock().clone()) }
}

#[derive(Serialize)]
struct Json {
    would_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<EngineJson>,
    hosts: Vec<HostJson>,
    server: ServerJson,
    images: Vec<ImageJson>,
    problems: Vec<ProblemJson>,
}

#[derive(Serialize)]
struct EngineJson {
    kind: String,
    version: String,
    place: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    processors: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free_bytes: Option<u64>,
    has_proxy: bool,
    agents: Vec<String>,
}

#[derive(Serialize)]
struct ImageJson {
    image: String,
    role: String,
    state: &'static str,
}

fn json(report: &AgentDoctorReport) -> Json {
    Json {
        would_run: report.verdict().is_none(),
        engine: report.engine.as_ref().map(engine_json),
        hosts: vec![host_json(&report.registry)],
        server: bare_server_json(&report.server),
        images: report.images.iter().map(|(role, image)| image_json(role, image)).collect(),
        problems: report.problems.iter().map(problem_json).collect(),
    }
}

fn engine_json(engine: &EngineDiagnosis) -> EngineJson {
    EngineJson {
        kind: engine.kind.to_string(),
        version: engine.version.clone(),
        place: engine.place.clone(),
        processors: engine.host.processors,
        memory_bytes: engine.host.memory,
        data_root: engine.host.data_root.as_ref().map(|path| path.display().to_string()),
        free_bytes: engine.free,
        has_proxy: engine.host.has_proxy,
        agents: engine.agents.clone(),
    }
}

fn image_json(role: &str, image: &ImageDiagnosis) -> ImageJson {
    ImageJson { image: image.image.to_string(), role: role.to_owned(), state: fetched_word(image) }
}

/// An engine does more than find an image.
fn fetched_word(image: &ImageDiagnosis) -> &'static str {
    match image_word(image) {
        "found" => "fetched",
        other => other,
    }
}

fn text(report: &AgentDoctorReport) -> String {
    let mut text = report.engine.as_ref().map_or_else(String::new, engine_text);
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes any text");
    line(host_text(&report.registry));
    line(bare_server_text(&report.server, "server"));
    for (role, image) in &report.images {
        line(format!("{:<9} {} ({role})", fetched_word(image), image.image));
    }
    for problem in &report.problems {
        line(problem_text(problem));
    }
    line(match report.verdict() {
        None => "\nan agent would work on this host".to_owned(),
        Some(class) => {
            format!("\nan agent would not work on this host: {} (exit code {})", class_name(class), exit_code(class))
        }
    });
    text
}

fn engine_text(engine: &EngineDiagnosis) -> String {
    let host = &engine.host;
    let mut lines = vec![("found", format!("{} {} at {}", engine.kind, engine.version, engine.place))];
    lines.extend(host.processors.map(|count| ("processors", count.to_string())));
    lines.extend(host.memory.map(|bytes| ("memory", size(bytes))));
    lines.extend(host.data_root.as_ref().map(|folder| {
        let free = engine.free.map_or("unknown".to_owned(), size);
        ("disk", format!("{free} free at {}", folder.display()))
    }));
    if host.has_proxy {
        lines.push(("way", "the engine fetches through a proxy of its own, where its settings say so".to_owned()));
    }
    let agents = if engine.agents.is_empty() { "none runs".to_owned() } else { engine.agents.join(", ") };
    lines.push(("agents", agents));
    section("the engine", &lines) + "\n"
}
