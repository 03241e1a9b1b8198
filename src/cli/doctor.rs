//! `octobundle doctor`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use octobundle::failure::Failure;
use octobundle::registry::Registry;
use octobundle::workflow::{self, DoctorReport, DoctorRequest, ImageDiagnosis, UploadDiagnosis};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::access::{Access, Job, SHORT_CONNECT};
use crate::cli::doctor_agent;
use crate::cli::exit::{Outcome, class_name, exit_code};
use crate::cli::input::{ReleaseArgs, usage};
use crate::cli::push::target;
use crate::cli::reach::{
    HostJson, ProblemJson, ServerJson, host_json, host_text, problem_json, problem_text, server_json, server_text,
};
use crate::cli::registry_args::{RegistryArgs, SourceArgs};
use octobundle::wording::size;

/// Somebody is watching; a transfer waits longer for slow proxies.
pub(super) const SHORT_ANSWER: Duration = Duration::from_secs(20);
const JOBS: usize = 8;

/// Look at every registry that a job would touch, and say what is in the way
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  octobundle doctor octoperf-9.2.0 -o octoperf.tar
  octobundle doctor --registry reg.corp:5000/tools
  octobundle doctor agent octoperf.tar --registry reg.corp:5000/tools --server-url https://octoperf.corp

No layer is fetched; of one image a registry, and with `-o` of all, the documents are, which tells where layers come from
and the bundle's size. With `--registry` an upload is begun in each repository and taken back at once: nothing arrives
there. `doctor agent` lets the engine fetch the images. The exit code says whether the job would run: 0, or that of what
is in the way."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    release: ReleaseArgs,
    /// The private registry that a push would go to
    #[arg(long, value_name = "HOST[:PORT][/PATH]")]
    registry: Option<String>,
    /// The bundle that a pull would write
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    reach: RegistryArgs,
}

#[derive(Subcommand)]
enum What {
    /// On an agent's host: whether an agent would work here, its first test included
    Agent(Box<doctor_agent::Args>),
}

impl Args {
    /// Looks and reports.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        if let Some(What::Agent(args)) = &self.what {
            return args.run(context).await;
        }
        let request = self.request()?;
        let access = Access::new(&self.reach, None, Some(&self.source), &context.environment)?;
        let job = Job {
            named: request.target.as_ref().map(|target| target.registry().clone()),
            ..Job::fetching(&request.images, &self.source)
        };
        let mut settings = access.settings(context, &job)?;
        settings.limits.connect = SHORT_CONNECT;
        settings.limits.headers = SHORT_ANSWER;
        let registry = Arc::new(Registry::new(settings, context.progress())?);
        if let Some(target) = request.target.as_ref().filter(|_| request.asks_for_uploads()) {
            let beforehand = "an upload is begun in each repository that the job would send to, and taken back at once: nothing arrives";
            context.output.note(&format!("{}: {beforehand}\n", target.registry()));
        }
        let report = workflow::doctor(&request, &registry).await?;
        context.finish_progress();
        context.output.result("doctor", json(&report), &text(&report))?;
        Ok(report.verdict().map_or(Outcome::Done, Outcome::Ended))
    }

    fn request(&self) -> Result<DoctorRequest, Failure> {
        if self.release.is_empty() && self.registry.is_none() {
            let help = "name a release or manifest, a registry, or both: `octobundle doctor octoperf-9.2.0 --registry reg.corp:5000`";
            return Err(usage("there is nothing to look at", help));
        }
        let wanted = if self.release.is_empty() { None } else { Some(self.release.image_set()?) };
        let images = wanted.iter().flat_map(|wanted| &wanted.images).map(|image| image.name.clone()).collect();
        Ok(DoctorRequest {
            images,
            sized: wanted.filter(|_| self.output.is_some()),
            target: self.registry.as_ref().map(|registry| target(registry, false)).transpose()?,
            output: self.output.clone(),
            jobs: JOBS,
            now: SystemTime::now(),
        })
    }
}

#[derive(Serialize)]
struct Json {
    would_run: bool,
    hosts: Vec<HostJson>,
    servers: Vec<ServerJson>,
    uploads: Vec<UploadJson>,
    images: Vec<ImageJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<OutputJson>,
    problems: Vec<ProblemJson>,
}

#[derive(Serialize)]
struct UploadJson {
    repository: String,
    state: &'static str,
}

#[derive(Serialize)]
struct ImageJson {
    image: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

#[derive(Serialize)]
struct OutputJson {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    free_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed_bytes: Option<u64>,
}

fn json(report: &DoctorReport) -> Json {
    let output = report.output.as_ref();
    Json {
        would_run: report.verdict().is_none(),
        hosts: report.hosts.iter().map(host_json).collect(),
        servers: report.servers.iter().map(server_json).collect(),
        uploads: report.uploads.iter().map(upload_json).collect(),
        images: report.images.iter().map(image_json).collect(),
        output: output.map(|output| OutputJson {
            path: output.path.display().to_string(),
            free_bytes: output.free,
            needed_bytes: output.needed,
        }),
        problems: report.problems.iter().map(problem_json).collect(),
    }
}

fn upload_json(upload: &UploadDiagnosis) -> UploadJson {
    UploadJson { repository: upload.repository.to_string(), state: upload_word(upload) }
}

fn upload_word(upload: &UploadDiagnosis) -> &'static str {
    match &upload.answer {
        Some(Ok(())) => "writable",
        Some(Err(_)) => "failed",
        None => "not-asked",
    }
}

fn image_json(diagnosis: &ImageDiagnosis) -> ImageJson {
    let found = diagnosis.found.as_ref().and_then(|found| found.as_ref().ok());
    ImageJson {
        image: diagnosis.image.to_string(),
        state: image_word(diagnosis),
        from: found.map(|(place, _)| place.to_string()),
        digest: found.and_then(|(_, digest)| digest.map(|digest| digest.to_string())),
    }
}

pub(super) fn image_word(diagnosis: &ImageDiagnosis) -> &'static str {
    match &diagnosis.found {
        Some(Ok(_)) => "found",
        Some(Err(_)) => "failed",
        None => "not-asked",
    }
}

fn text(report: &DoctorReport) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes any text");
    for diagnosis in &report.hosts {
        line(host_text(diagnosis));
    }
    for server in &report.servers {
        line(server_text(server));
    }
    for upload in &report.uploads {
        line(format!("{:<9} {}", upload_word(upload), upload.repository));
    }
    for image in &report.images {
        line(format!("{:<9} {}{}", image_word(image), image.image, image_place(image)));
    }
    if let Some(output) = &report.output {
        let free = output.free.map_or("unknown".to_owned(), size);
        let needed = output.needed.map_or_else(String::new, |needed| format!("{} needed, ", size(needed)));
        line(format!("output    {}: {needed}{free} free in its folder", output.path.display()));
    }
    for problem in &report.problems {
        line(problem_text(problem));
    }
    line(match report.verdict() {
        None => "\nthe job would run".to_owned(),
        Some(class) => format!("\nthe job would not run: {} (exit code {})", class_name(class), exit_code(class)),
    });
    text
}

fn image_place(diagnosis: &ImageDiagnosis) -> String {
    let Some(Ok((place, digest))) = &diagnosis.found else { return String::new() };
    let digest = digest.map_or_else(String::new, |digest| format!("  {}", digest.short()));
    if place == diagnosis.image.repository() { digest } else { format!("{digest}  from {place}") }
}
