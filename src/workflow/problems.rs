//! What facts about hosts, servers, images and folders mean for a job: what is in its way, and what is worth knowing.

use std::time::{Duration, SystemTime};

use crate::failure::{ErrorClass, Failure};
use crate::oci::Host;
use crate::registry::{Decision, HostReport, Reach, Vouched};
use crate::wording::count;
use crate::workflow::doctor::{Diagnosis, ImageDiagnosis, ServerDiagnosis, UploadDiagnosis};

/// Clocks that differ by more make certificates and tokens fail.
pub(super) const CLOCK_TOLERANCE: u64 = 300;
/// A certificate that ends sooner is worth a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// Registries whose certificates public authorities sign: another signer stands in between.
const PUBLIC: [&str; 10] = [
    "docker.io",
    "gcr.io",
    "ghcr.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
    "quay.io",
    "registry.access.redhat.com",
    "registry.gitlab.com",
    "registry.k8s.io",
    "registry.redhat.io",
];
const PUBLIC_BELOW: [&str; 3] = [".amazonaws.com", ".azurecr.io", ".pkg.dev"];

/// Whether something between here and the server speaks TLS in the server's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interception {
    /// No sign of it.
    None,
    /// A registry that has public certificates shows one signed by this name.
    Certain(String),
    /// The way leads through a proxy, and the certificate is signed by this name, which is not public. The registry
    /// may have it signed so itself.
    Possible(String),
}

/// Something in the way, or worth knowing.
#[derive(Debug)]
pub struct Problem {
    /// What it is about: a host, an image, a file.
    pub about: String,
    /// What is wrong, with its causes, outermost first.
    pub what: Vec<String>,
    /// What to do.
    pub help: Option<String>,
    /// How the job would end because of it; none if it would run all the same.
    pub class: Option<ErrorClass>,
}

impl Problem {
    /// A failure that is in the way.
    pub(super) fn of(about: &str, failure: &Failure) -> Self {
        Self { class: Some(failure.class()), ..Self::note_of(about, failure) }
    }

    /// A failure that is worth knowing.
    pub(super) fn note_of(about: &str, failure: &Failure) -> Self {
        let help = failure.help().map(str::to_owned);
        Self { about: about.to_owned(), what: failure.chain(), help, class: None }
    }
}

/// What has to be mended first comes first.
pub(super) fn rank(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::Usage | ErrorClass::Input => 0,
        ErrorClass::Network => 1,
        ErrorClass::Access => 2,
        ErrorClass::NotFound => 3,
        ErrorClass::RateLimited => 4,
        ErrorClass::Disk => 5,
        ErrorClass::Integrity | ErrorClass::Trust => 6,
        ErrorClass::Partial | ErrorClass::Locked | ErrorClass::Interrupted | ErrorClass::Other => 7,
    }
}

/// Who opens TLS on the way, judged by who signed. `is_public` says that public authorities sign for this server.
pub(super) fn interception(reach: &Reach, is_public: bool) -> Interception {
    let Some(tls) = &reach.tls else { return Interception::None };
    let strange = match &tls.vouched_by {
        Vouched::PublicAuthority => false,
        Vouched::File(_) | Vouched::System | Vouched::Unchecked => true,
        // An expired certificate is no sign of anybody in between.
        Vouched::Nobody(why) => why.contains("UnknownIssuer"),
    };
    let Some(signer) = tls.chain.last().and_then(|last| last.issuer.clone()).filter(|_| strange) else {
        return Interception::None;
    };
    match reach.route {
        _ if is_public => Interception::Certain(signer),
        Decision::Via(..) => Interception::Possible(signer),
        Decision::Direct(_) => Interception::None,
    }
}

/// Whether public authorities sign for a registry.
pub(super) fn is_public(registry: &Host) -> bool {
    let host = registry.as_str();
    PUBLIC.contains(&host) || PUBLIC_BELOW.iter().any(|below| host.ends_with(below))
}

pub(super) fn problems_of_host(diagnosis: &Diagnosis, images: &[ImageDiagnosis], now: SystemTime) -> Vec<Problem> {
    let reach = &diagnosis.report.reach;
    let mut problems = Vec::new();
    problems.extend(problem_of_answer(diagnosis, images));
    problems.extend(problem_of_login(&diagnosis.report));
    problems.extend(problem_of_way(reach, &diagnosis.interception, diagnosis.report.answer.is_ok()));
    problems.extend(problem_of_expiry(reach, now));
    problems.extend(problem_of_clock(reach));
    problems.extend(problem_of_rate(diagnosis, images));
    problems
}

fn problem_of_answer(diagnosis: &Diagnosis, images: &[ImageDiagnosis]) -> Option<Problem> {
    let failure = diagnosis.report.answer.as_ref().err()?;
    let reach = &diagnosis.report.reach;
    let in_the_way = diagnosis.roles.target
        || images
            .iter()
            .any(|image| image.image.repository().host == diagnosis.report.host && !matches!(image.found, Some(Ok(_))));
    let problem = Problem { what: what_fails(reach, &diagnosis.interception, failure), ..Problem::of("", failure) };
    Some(Problem { about: reach.host.clone(), class: problem.class.filter(|_| in_the_way), ..problem })
}

/// A failure, below the news that somebody opens TLS: that is mostly why.
fn what_fails(reach: &Reach, interception: &Interception, failure: &Failure) -> Vec<String> {
    let mut what = failure.chain();
    if let Interception::Certain(signer) = interception {
        let (host, proxy) = (&reach.host, named_proxy(reach));
        what.insert(0, format!("something on the way to `{host}` opens TLS: it signs as `{signer}`{proxy}"));
    }
    what
}

fn problem_of_login(report: &HostReport) -> Option<Problem> {
    let failure = report.login.as_ref().err()?;
    let already_said = report.answer.as_ref().is_err_and(|answer| answer.chain() == failure.chain());
    (!already_said).then(|| Problem::of(report.host.as_str(), failure))
}

/// What stands in the way at servers that registries send their users to. What was said of a registry is not said again.
pub(super) fn problems_of_servers(servers: &[ServerDiagnosis], hosts: &[Diagnosis], now: SystemTime) -> Vec<Problem> {
    let first = |failure: &Failure| failure.chain().into_iter().next();
    let said_of_hosts: Vec<_> = hosts.iter().filter_map(|host| first(host.report.answer.as_ref().err()?)).collect();
    let opened = |server: &ServerDiagnosis| hosts.iter().any(|host| host.interception == server.interception);
    let mut problems = Vec::new();
    for server in servers {
        let reach = &server.report.reach;
        match &server.report.answer {
            Err(failure) if first(failure).is_none_or(|text| !said_of_hosts.contains(&text)) => {
                let what = what_fails(reach, &server.interception, failure);
                problems.push(Problem { about: reach.host.clone(), what, ..Problem::of("", failure) });
            }
            answer if !opened(server) => problems.extend(problem_of_way(reach, &server.interception, answer.is_ok())),
            _ => {}
        }
        problems.extend(problem_of_expiry(reach, now));
        problems.extend(problem_of_clock(reach));
    }
    problems
}

/// What is worth knowing about a way that works.
fn problem_of_way(reach: &Reach, interception: &Interception, answers: bool) -> Option<Problem> {
    let host = reach.host.clone();
    let warning = |what: String, help: &str| {
        Some(Problem { about: host.clone(), what: vec![what], help: Some(help.into()), class: None })
    };
    if reach.in_the_clear {
        let what = format!("`{host}` is spoken to in plain http: anyone on the way can read and change what is sent");
        return warning(what, "leave out `--plain-http` once the registry speaks TLS");
    }
    if !answers {
        return None;
    }
    if !reach.tls_checked && reach.tls.is_some() {
        let what =
            format!("the certificate of `{host}` is not checked: anyone on the way can read and change what is sent");
        return warning(what, "get its authority's certificate and use `--ca FILE` instead of `--insecure-tls`");
    }
    let proxy = named_proxy(reach);
    match interception {
        Interception::None => None,
        Interception::Certain(signer) => warning(
            format!(
                "something on the way to `{host}` opens TLS{proxy}: it signs as `{signer}` and reads along, logins too"
            ),
            "ask whoever runs it for an exception for this host if that is not meant",
        ),
        Interception::Possible(signer) => warning(
            format!(
                "the certificate of `{host}` is signed by `{signer}`, which is no public authority{proxy}: unless the registry has it from there, the proxy opens TLS"
            ),
            "compare with a connection without the proxy: `--no-proxy-env`",
        ),
    }
}

fn named_proxy(reach: &Reach) -> String {
    match &reach.route {
        Decision::Via(proxy, _) => format!(" (the way leads through the proxy {proxy})"),
        Decision::Direct(_) => String::new(),
    }
}

fn problem_of_expiry(reach: &Reach, now: SystemTime) -> Option<Problem> {
    let (host, tls) = (&reach.host, reach.tls.as_ref()?);
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let until = tls.chain.iter().map(|certificate| certificate.until).min()?;
    let left = until.checked_sub(now).filter(|left| *left < SOON.as_secs())?;
    Some(Problem {
        about: host.clone(),
        what: vec![format!("a certificate of `{host}` ends in {}", count(left / 86_400, "day"))],
        help: Some("tell whoever runs the registry or the proxy".into()),
        class: None,
    })
}

fn problem_of_clock(reach: &Reach) -> Option<Problem> {
    let difference = reach.clock_difference?;
    (difference.unsigned_abs() > CLOCK_TOLERANCE).then(|| {
        let (minutes, word) = (difference.unsigned_abs() / 60, if difference > 0 { "behind" } else { "ahead of" });
        Problem {
            about: reach.host.clone(),
            what: vec![format!("this machine's clock is {minutes} min {word} that of `{}`", reach.host)],
            help: Some("set the clock: certificates and tokens hold for certain times only".into()),
            class: None,
        }
    })
}

fn problem_of_rate(diagnosis: &Diagnosis, images: &[ImageDiagnosis]) -> Option<Problem> {
    let (rate, host) = (diagnosis.rate?, &diagnosis.report.host);
    let from_here = |image: &&ImageDiagnosis| match &image.found {
        Some(Ok((place, _))) => place.host == *host,
        _ => false,
    };
    let wanted = images.iter().filter(from_here).count() as u64;
    (rate.remaining < wanted).then(|| Problem {
        about: host.to_string(),
        what: vec![format!("`{host}` lets {} of {} images be fetched for now, {wanted} are wanted", rate.remaining, rate.limit)],
        help: Some(format!(
            "log in, which often allows more: `octobundle login {host}`; or use a mirror: `--mirror {host}=REGISTRY`; or wait: `--max-wait 6h`"
        )),
        class: Some(ErrorClass::RateLimited),
    })
}

pub(super) fn problem_of_image(diagnosis: &ImageDiagnosis) -> Option<Problem> {
    let Some(Err(failure)) = &diagnosis.found else { return None };
    Some(Problem::of(&diagnosis.image.to_string(), failure))
}

/// Repositories that take no upload: where many say the same, it is one problem.
pub(super) fn problems_of_uploads(uploads: &[UploadDiagnosis]) -> Vec<Problem> {
    let mut told: Vec<(Problem, usize)> = Vec::new();
    for upload in uploads {
        let Some(Err(failure)) = &upload.answer else { continue };
        let problem = Problem::of(&upload.repository.to_string(), failure);
        let alike = |known: &&mut (Problem, usize)| known.0.class == problem.class && known.0.help == problem.help;
        match told.iter_mut().find(alike) {
            Some((_, more)) => *more += 1,
            None => told.push((problem, 0)),
        }
    }
    let with_number = |(mut problem, more): (Problem, usize)| {
        if more > 0 {
            problem.what.push(format!("the same for {more} more of the repositories"));
        }
        problem
    };
    told.into_iter().map(with_number).collect()
}
