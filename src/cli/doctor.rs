//! `octobundle doctor`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use octobundle::failure::{ErrorClass, Failure};
use octobundle::registry::{
    CertificateReport, Decision, HostReport, LoginAnswer, RateLimit, Registry, Resolved, TlsReport, Vouched,
};
use octobundle::workflow::{self, Diagnosis, DoctorReport, DoctorRequest, ImageDiagnosis, Interception, Problem};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::access::{Access, Job, SHORT_CONNECT};
use crate::cli::doctor_agent;
use crate::cli::exit::{Outcome, class_name, exit_code};
use crate::cli::input::{ReleaseArgs, usage};
use crate::cli::push::target;
use crate::cli::registry_args::{RegistryArgs, SourceArgs};
use octobundle::wording::size;

/// Somebody is watching; a transfer waits longer for slow proxies.
pub(super) const SHORT_ANSWER: Duration = Duration::from_secs(20);
const JOBS: usize = 8;
/// Addresses of a name that are shown; some names have dozens.
const SHOWN_ADDRESSES: usize = 4;

/// Look at every registry that a job would touch, and say what is in the way
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  octobundle doctor octoperf-9.2.0 -o octoperf.tar
  octobundle doctor --registry reg.corp:5000/tools
  octobundle doctor agent octoperf.tar --registry reg.corp:5000/tools --server-url https://octoperf.corp

No layer is fetched and nothing is sent, but by `doctor agent`, whose engine fetches the images. With `-o` the images'
documents are fetched, which tells the bundle's size. The exit code says whether the job would run: 0, or that of what is
in the way."
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
    images: Vec<ImageJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<OutputJson>,
    problems: Vec<ProblemJson>,
}

#[derive(Serialize)]
pub(super) struct HostJson {
    host: String,
    address: String,
    roles: Vec<&'static str>,
    addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    route_reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<String>,
    reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_accepted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<RateJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_difference_seconds: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct TlsJson {
    chain: Vec<CertificateJson>,
    vouched_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intercepted: Option<&'static str>,
}

#[derive(Serialize)]
struct CertificateJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    from: String,
    until: String,
}

#[derive(Serialize)]
struct RateJson {
    limit: u64,
    remaining: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_seconds: Option<u64>,
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

#[derive(Serialize)]
pub(super) struct ProblemJson {
    about: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    messages: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

fn json(report: &DoctorReport) -> Json {
    let output = report.output.as_ref();
    Json {
        would_run: report.verdict().is_none(),
        hosts: report.hosts.iter().map(host_json).collect(),
        images: report.images.iter().map(image_json).collect(),
        output: output.map(|output| OutputJson {
            path: output.path.display().to_string(),
            free_bytes: output.free,
            needed_bytes: output.needed,
        }),
        problems: report.problems.iter().map(problem_json).collect(),
    }
}

pub(super) fn host_json(diagnosis: &Diagnosis) -> HostJson {
    let report = &diagnosis.report;
    let addresses = addresses(&report.resolved);
    let (proxy, route_reason) = route_json(&report.route);
    HostJson {
        host: report.host.to_string(),
        address: report.address.clone(),
        roles: roles(diagnosis),
        addresses,
        proxy,
        route_reason,
        tls: report.tls.as_ref().map(|tls| TlsJson {
            intercepted: Some(match diagnosis.interception {
                Interception::None => "no",
                Interception::Certain(_) => "yes",
                Interception::Possible(_) => "possibly",
            }),
            ..tls_json(tls)
        }),
        login: report.login.as_ref().ok().and_then(Clone::clone),
        reachable: report.answer.as_ref().err().is_none_or(|failure| failure.class() != ErrorClass::Network),
        login_accepted: report.answer.as_ref().ok().map(|answer| answer.login == LoginAnswer::Accepted),
        rate_limit: diagnosis.rate.map(|rate| RateJson {
            limit: rate.limit,
            remaining: rate.remaining,
            window_seconds: rate.window,
        }),
        clock_difference_seconds: report.clock_difference,
    }
}

/// The addresses of a name, as far as they were looked up here.
pub(super) fn addresses(resolved: &Resolved) -> Vec<String> {
    match resolved {
        Resolved::Addresses(all) => all.iter().map(ToString::to_string).collect(),
        Resolved::ByProxy | Resolved::Failed(_) => Vec::new(),
    }
}

/// The proxy, if one is on the way, and why.
pub(super) fn route_json(route: &Decision) -> (Option<String>, String) {
    match route {
        Decision::Direct(why) => (None, why.clone()),
        Decision::Via(proxy, why) => (Some(proxy.to_string()), why.clone()),
    }
}

/// What was shown in TLS; who opens it on the way is left out.
pub(super) fn tls_json(tls: &TlsReport) -> TlsJson {
    TlsJson {
        chain: tls.chain.iter().map(certificate_json).collect(),
        vouched_by: vouched_word(&tls.vouched_by),
        file: match &tls.vouched_by {
            Vouched::File(path) => Some(path.display().to_string()),
            _ => None,
        },
        intercepted: None,
    }
}

fn roles(diagnosis: &Diagnosis) -> Vec<&'static str> {
    let roles = diagnosis.roles;
    let all = [(roles.source, "source"), (roles.mirror, "mirror"), (roles.target, "target")];
    all.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect()
}

fn vouched_word(vouched: &Vouched) -> &'static str {
    match vouched {
        Vouched::PublicAuthority => "public-authority",
        Vouched::File(_) => "file",
        Vouched::System => "system-store",
        Vouched::Unchecked => "unchecked",
        Vouched::Nobody(_) => "nobody",
    }
}

fn certificate_json(certificate: &CertificateReport) -> CertificateJson {
    CertificateJson {
        subject: certificate.subject.clone(),
        issuer: certificate.issuer.clone(),
        from: day(certificate.from),
        until: day(certificate.until),
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

pub(super) fn problem_json(problem: &Problem) -> ProblemJson {
    ProblemJson {
        about: problem.about.clone(),
        class: problem.class.map(class_name),
        exit_code: problem.class.map(exit_code),
        messages: problem.what.clone(),
        help: problem.help.clone(),
    }
}

fn text(report: &DoctorReport) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes any text");
    for diagnosis in &report.hosts {
        line(host_text(diagnosis));
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

/// A host with what was found about it, a fact a line.
pub(super) fn host_text(diagnosis: &Diagnosis) -> String {
    let mut text = format!("{}  ({})\n", diagnosis.report.host, roles(diagnosis).join(", "));
    for (name, value) in host_lines(diagnosis) {
        writeln!(text, "  {name:<10} {value}").expect("a String takes any text");
    }
    text
}

/// What is wrong, its causes and the next step, after an empty line.
pub(super) fn problem_text(problem: &Problem) -> String {
    let (first, causes) = problem.what.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let word = if problem.class.is_some() { "problem" } else { "note" };
    let mut text = format!("\n{word}: {}: {first}", problem.about);
    for cause in causes {
        write!(text, "\n  cause: {cause}").expect("a String takes any text");
    }
    if let Some(help) = &problem.help {
        write!(text, "\n  help: {help}").expect("a String takes any text");
    }
    text
}

fn host_lines(diagnosis: &Diagnosis) -> Vec<(&'static str, String)> {
    let report = &diagnosis.report;
    let mut lines = vec![("address", report.address.clone()), ("name", resolved(&report.resolved))];
    lines.push(("way", way(&report.route)));
    lines.extend(report.tls.iter().flat_map(tls_lines));
    lines.push((
        "login",
        match &report.login {
            Ok(Some(origin)) => format!("from {origin}"),
            Ok(None) => "none found, asking as nobody".to_owned(),
            Err(_) => "looking for one failed".to_owned(),
        },
    ));
    lines.push(("answer", answer(report)));
    lines.extend(diagnosis.rate.map(|rate| ("limit", rate_line(rate))));
    lines.extend(report.clock_difference.map(clock_line));
    lines
}

/// How a host is reached.
pub(super) fn way(route: &Decision) -> String {
    match route {
        Decision::Direct(why) => format!("direct: {why}"),
        Decision::Via(proxy, why) => format!("through the proxy {proxy}: {why}"),
    }
}

/// Each certificate, and who vouches for them.
pub(super) fn tls_lines(tls: &TlsReport) -> Vec<(&'static str, String)> {
    let chain = tls.chain.iter().map(|certificate| ("TLS", certificate_line(certificate)));
    chain.chain([("trusted", vouched(&tls.vouched_by))]).collect()
}

/// How far clocks are apart.
pub(super) fn clock_line(seconds: i64) -> (&'static str, String) {
    ("clock", format!("{} s apart", seconds.unsigned_abs()))
}

/// What is known of a name's addresses.
pub(super) fn resolved(resolved: &Resolved) -> String {
    match resolved {
        Resolved::Addresses(all) => {
            let shown: Vec<String> = all.iter().take(SHOWN_ADDRESSES).map(ToString::to_string).collect();
            let more = all.len().saturating_sub(SHOWN_ADDRESSES);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!("is {}{more}", shown.join(", "))
        }
        Resolved::ByProxy => "looked up by the proxy".to_owned(),
        Resolved::Failed(why) => format!("cannot be resolved: {why}"),
    }
}

fn certificate_line(certificate: &CertificateReport) -> String {
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "(no name)".to_owned());
    let (subject, issuer) = (name(&certificate.subject), name(&certificate.issuer));
    format!("{subject}, signed by {issuer}, until {}", day(certificate.until))
}

fn vouched(vouched: &Vouched) -> String {
    match vouched {
        Vouched::PublicAuthority => "yes: a public authority".to_owned(),
        Vouched::File(path) => format!("yes: {}", path.display()),
        Vouched::System => "yes: an authority that was added to this machine's store".to_owned(),
        Vouched::Unchecked => "not checked".to_owned(),
        Vouched::Nobody(why) => format!("no: {why}"),
    }
}

fn answer(report: &HostReport) -> String {
    match &report.answer {
        Ok(answer) => {
            let login = match (answer.login, &report.login) {
                (LoginAnswer::Accepted, Ok(Some(_))) => "took the login",
                (LoginAnswer::Accepted, _) => "gave a token to nobody in particular",
                (LoginAnswer::NotAsked, _) => "asked for no login",
            };
            let server = answer.server.as_ref().map_or_else(String::new, |server| format!(" ({server})"));
            format!("a registry{server}, {login}")
        }
        Err(failure) => failure.chain().into_iter().next().unwrap_or_default(),
    }
}

fn rate_line(rate: RateLimit) -> String {
    let window = rate.window.map_or_else(String::new, |seconds| format!(" in {} h", seconds.div_ceil(3_600)));
    format!("{} of {} images{window} are left", rate.remaining, rate.limit)
}

fn image_place(diagnosis: &ImageDiagnosis) -> String {
    let Some(Ok((place, digest))) = &diagnosis.found else { return String::new() };
    let digest = digest.map_or_else(String::new, |digest| format!("  {}", digest.short()));
    if place == diagnosis.image.repository() { digest } else { format!("{digest}  from {place}") }
}

/// A day, as in 2026-11-21.
fn day(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    moment.map_or_else(|| "an unknown day".to_owned(), |moment| moment.strftime("%Y-%m-%d").to_string())
}
