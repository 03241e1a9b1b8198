//! `doctor`: looks at everything a job would touch, moves nothing, and says what is in the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::bundle::{BundleError, BundleOutput, ExistingOutput, Layout, check_output, free_space};
use crate::content::{Lookup, folder_of};
use crate::failure::{ErrorClass, Failure};
use crate::images::ImageSet;
use crate::oci::{Digest, Host, ImageRef, Repository};
use crate::plan::Target;
use crate::progress::Silent;
use crate::registry::{Decision, HostReport, PlaceReport, RateLimit, Registry, TlsReport, Vouched};
use crate::transfer::side_by_side;
use crate::workflow::resolve::resolve;

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

/// What to look at.
#[derive(Debug, Clone)]
pub struct DoctorRequest {
    /// Images that would be fetched.
    pub images: Vec<ImageRef>,
    /// The same as a release, whose bundle's size is to be known: that takes their documents.
    pub sized: Option<ImageSet>,
    /// Where images would be sent.
    pub target: Option<Target>,
    /// The bundle that would be written.
    pub output: Option<PathBuf>,
    /// Questions asked at a time.
    pub jobs: usize,
    /// Today.
    pub now: SystemTime,
}

/// What was found.
#[derive(Debug)]
pub struct DoctorReport {
    /// Every host that the job would touch, by name.
    pub hosts: Vec<Diagnosis>,
    /// Every image that would be fetched.
    pub images: Vec<ImageDiagnosis>,
    /// The place of the bundle.
    pub output: Option<OutputDiagnosis>,
    /// What is in the way, or worth knowing; the worst first.
    pub problems: Vec<Problem>,
}

/// What was found about a host.
#[derive(Debug)]
pub struct Diagnosis {
    /// The facts.
    pub report: HostReport,
    /// What the job wants of it.
    pub roles: Roles,
    /// Images that may still be fetched from it.
    pub rate: Option<RateLimit>,
    /// Who opens TLS on the way to it.
    pub interception: Interception,
}

/// What a job wants of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles {
    /// Images are fetched from it under its own name.
    pub source: bool,
    /// Images of other hosts are fetched from it.
    pub mirror: bool,
    /// Images are sent to it.
    pub target: bool,
}

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

/// What was found about an image.
#[derive(Debug)]
pub struct ImageDiagnosis {
    /// Its name.
    pub image: ImageRef,
    /// Who has it, and as what; none where nobody could be asked.
    pub found: Option<Result<(Repository, Option<Digest>), Failure>>,
}

/// What was found about the place of a bundle.
#[derive(Debug)]
pub struct OutputDiagnosis {
    /// The bundle's name.
    pub path: PathBuf,
    /// Bytes that are free there, where the system tells.
    pub free: Option<u64>,
    /// The bundle's length, where that was asked for and nothing was in the way.
    pub needed: Option<u64>,
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

impl DoctorReport {
    /// How the job would end; none if it would run.
    pub fn verdict(&self) -> Option<ErrorClass> {
        self.problems.iter().find_map(|problem| problem.class)
    }
}

/// Looks at everything that the job would touch. What is wrong is in the report; only settings that cannot be used
/// are an error.
pub async fn doctor(request: &DoctorRequest, registry: &Arc<Registry>) -> Result<DoctorReport, Failure> {
    let mut hosts = look_at_hosts(request, registry).await?;
    let (images, rates) = look_at_images(request, registry, &hosts).await;
    for diagnosis in &mut hosts {
        diagnosis.rate = rates.get(&diagnosis.report.host).copied();
    }
    let (mut output, of_output) = match &request.output {
        Some(path) => look_at_output(path),
        None => (None, None),
    };
    let mut problems: Vec<Problem> = of_output.into_iter().collect();
    problems.extend(hosts.iter().flat_map(|diagnosis| problems_of_host(diagnosis, &images, request.now)));
    problems.extend(images.iter().filter_map(problem_of_image));
    if let (Some(wanted), Some(output)) = (&request.sized, &mut output)
        && problems.iter().all(|problem| problem.class.is_none())
    {
        problems.extend(look_at_size(wanted, registry, request.jobs, output).await);
    }
    problems.sort_by_key(|problem| problem.class.map_or(u8::MAX, rank));
    Ok(DoctorReport { hosts, images, output, problems })
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

async fn look_at_hosts(request: &DoctorRequest, registry: &Arc<Registry>) -> Result<Vec<Diagnosis>, Failure> {
    let reports = side_by_side(
        request.jobs,
        hosts_of(request, registry),
        |(_, (repository, roles))| {
            let registry = registry.clone();
            async move { registry.probe_host(&repository).await.map(|report| (report, roles)) }
        },
        |result: &Result<_, Failure>| result.is_err(),
    )
    .await;
    reports.into_iter().map(|result| result.map(|(report, roles)| diagnose(report, roles))).collect()
}

/// Each host with the repository whose login is used, and its roles.
fn hosts_of(request: &DoctorRequest, registry: &Registry) -> BTreeMap<Host, (Repository, Roles)> {
    let mut hosts: BTreeMap<Host, (Repository, Roles)> = BTreeMap::new();
    for image in &request.images {
        let own = image.repository();
        for place in registry.places_of(own) {
            let is_own = place.host == own.host;
            let roles = &mut hosts.entry(place.host.clone()).or_insert_with(|| (place, Roles::default())).1;
            roles.source |= is_own;
            roles.mirror |= !is_own;
        }
    }
    if let Some(target) = &request.target {
        let host = target.registry().clone();
        let below = target.prefix().cloned().unwrap_or_else(|| "any".parse().expect("a word is a repository's name"));
        let at_target = || (Repository { host: host.clone(), name: below }, Roles::default());
        hosts.entry(host.clone()).or_insert_with(at_target).1.target = true;
    }
    hosts
}

pub(super) fn diagnose(report: HostReport, roles: Roles) -> Diagnosis {
    let interception = report.tls.as_ref().map_or(Interception::None, |tls| interception(&report, tls));
    Diagnosis { report, roles, rate: None, interception }
}

fn interception(report: &HostReport, tls: &TlsReport) -> Interception {
    let strange = match &tls.vouched_by {
        Vouched::PublicAuthority => false,
        Vouched::File(_) | Vouched::System | Vouched::Unchecked => true,
        // An expired certificate is no sign of anybody in between.
        Vouched::Nobody(why) => why.contains("UnknownIssuer"),
    };
    let Some(signer) = tls.chain.last().and_then(|last| last.issuer.clone()).filter(|_| strange) else {
        return Interception::None;
    };
    let host = report.host.as_str();
    if PUBLIC.contains(&host) || PUBLIC_BELOW.iter().any(|below| host.ends_with(below)) {
        return Interception::Certain(signer);
    }
    match report.route {
        Decision::Via(..) => Interception::Possible(signer),
        Decision::Direct(_) => Interception::None,
    }
}

type Rates = BTreeMap<Host, RateLimit>;

async fn look_at_images(
    request: &DoctorRequest,
    registry: &Arc<Registry>,
    hosts: &[Diagnosis],
) -> (Vec<ImageDiagnosis>, Rates) {
    // A host that cannot be reached is not asked again for each image.
    let dead =
        |report: &HostReport| report.answer.as_ref().is_err_and(|failure| failure.class() == ErrorClass::Network);
    let dead: Vec<Host> = hosts.iter().filter(|one| dead(&one.report)).map(|one| one.report.host.clone()).collect();
    let dead = Arc::new(dead);
    let answers = side_by_side(
        request.jobs,
        request.images.clone(),
        |image| look_at_image(registry.clone(), image, dead.clone()),
        |_: &(ImageDiagnosis, Rates)| false,
    )
    .await;
    let mut rates = Rates::new();
    let mut images = Vec::new();
    for (image, theirs) in answers {
        images.push(image);
        for (host, rate) in theirs {
            let known = rates.entry(host).or_insert(rate);
            known.remaining = known.remaining.min(rate.remaining);
        }
    }
    (images, rates)
}

/// Asks the image's places in their order until one has it.
async fn look_at_image(registry: Arc<Registry>, image: ImageRef, dead: Arc<Vec<Host>>) -> (ImageDiagnosis, Rates) {
    let (mut rates, mut found) = (Rates::new(), None);
    let lookup = match (image.digest(), image.tag()) {
        (Some(digest), _) => Lookup::Digest(digest),
        (None, Some(tag)) => Lookup::Tag(tag.clone()),
        (None, None) => return (ImageDiagnosis { image, found }, rates),
    };
    for place in registry.places_of(image.repository()) {
        if dead.contains(&place.host) {
            continue;
        }
        let PlaceReport { repository, answer, rate } = registry.probe_image(&place, &lookup).await;
        if let Some(rate) = rate {
            rates.insert(place.host.clone(), rate);
        }
        let is_there = answer.is_ok();
        found = Some(answer.map(|digest| (repository, digest)));
        if is_there {
            break;
        }
    }
    (ImageDiagnosis { image, found }, rates)
}

/// Finds out how long the bundle would be, and whether there is room for it.
async fn look_at_size(
    wanted: &ImageSet,
    registry: &Arc<Registry>,
    jobs: usize,
    output: &mut OutputDiagnosis,
) -> Option<Problem> {
    let resolved = resolve(wanted, registry, jobs, &Silent).await;
    match resolved.and_then(|resolved| Ok(Layout::new(resolved.lock)?.total())) {
        Ok(needed) => {
            output.needed = Some(needed);
            problem_of_space(output)
        }
        Err(failure) => Some(Problem::of(&wanted.release, &failure)),
    }
}

fn problem_of_space(output: &OutputDiagnosis) -> Option<Problem> {
    let (needed, free) = (output.needed?, output.free?);
    let failure = Failure::from(BundleError::NoSpace { folder: folder_of(&output.path).to_owned(), needed, free });
    (free < needed).then(|| Problem::of(&output.path.display().to_string(), &failure))
}

fn look_at_output(path: &Path) -> (Option<OutputDiagnosis>, Option<Problem>) {
    let folder = folder_of(path);
    let diagnosis = OutputDiagnosis { path: path.into(), free: free_space(folder).ok().flatten(), needed: None };
    let problem = |failure: Failure| Problem::of(&path.display().to_string(), &failure);
    if let Err(error) = check_output(&BundleOutput::one_file(path), ExistingOutput::Refuse) {
        return (Some(diagnosis), Some(problem(error.into())));
    }
    // The one way to know whether a file can be made there.
    let writable = tempfile::tempfile_in(folder).map_err(|error| {
        Failure::new(ErrorClass::Disk, format!("no file can be made in `{}`: {error}", folder.display()))
            .with_help("choose another folder with `-o FILE`")
    });
    (Some(diagnosis), writable.err().map(problem))
}

pub(super) fn problems_of_host(diagnosis: &Diagnosis, images: &[ImageDiagnosis], now: SystemTime) -> Vec<Problem> {
    let host = &diagnosis.report.host;
    let mut problems = Vec::new();
    problems.extend(problem_of_answer(diagnosis, images));
    problems.extend(problem_of_login(&diagnosis.report));
    problems.extend(problem_of_way(diagnosis));
    problems.extend(diagnosis.report.tls.as_ref().and_then(|tls| problem_of_expiry(host, tls, now)));
    problems.extend(problem_of_clock(&diagnosis.report));
    problems.extend(problem_of_rate(diagnosis, images));
    problems
}

fn problem_of_answer(diagnosis: &Diagnosis, images: &[ImageDiagnosis]) -> Option<Problem> {
    let failure = diagnosis.report.answer.as_ref().err()?;
    let host = &diagnosis.report.host;
    let in_the_way = diagnosis.roles.target
        || images.iter().any(|image| image.image.repository().host == *host && !matches!(image.found, Some(Ok(_))));
    let mut what = failure.chain();
    if let Interception::Certain(signer) = &diagnosis.interception {
        what.insert(
            0,
            format!("something on the way to `{host}` opens TLS: it signs as `{signer}`{}", named_proxy(diagnosis)),
        );
    }
    let help = failure.help().map(str::to_owned);
    Some(Problem { about: host.to_string(), what, help, class: in_the_way.then(|| failure.class()) })
}

fn problem_of_login(report: &HostReport) -> Option<Problem> {
    let failure = report.login.as_ref().err()?;
    let already_said = report.answer.as_ref().is_err_and(|answer| answer.chain() == failure.chain());
    (!already_said).then(|| Problem::of(report.host.as_str(), failure))
}

/// What is worth knowing about a way that works.
fn problem_of_way(diagnosis: &Diagnosis) -> Option<Problem> {
    let report = &diagnosis.report;
    let host = report.host.to_string();
    let warning = |what: String, help: &str| {
        Some(Problem { about: host.clone(), what: vec![what], help: Some(help.into()), class: None })
    };
    if report.address.starts_with("http://") && !report.host.is_loopback() {
        let what = format!("`{host}` is spoken to in plain http: anyone on the way can read and change what is sent");
        return warning(what, "leave out `--plain-http` once the registry speaks TLS");
    }
    report.answer.as_ref().ok()?;
    if !report.tls_checked && report.tls.is_some() {
        let what =
            format!("the certificate of `{host}` is not checked: anyone on the way can read and change what is sent");
        return warning(what, "get its authority's certificate and use `--ca FILE` instead of `--insecure-tls`");
    }
    let proxy = named_proxy(diagnosis);
    match &diagnosis.interception {
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

fn named_proxy(diagnosis: &Diagnosis) -> String {
    match &diagnosis.report.route {
        Decision::Via(proxy, _) => format!(" (the way leads through the proxy {proxy})"),
        Decision::Direct(_) => String::new(),
    }
}

fn problem_of_expiry(host: &Host, tls: &TlsReport, now: SystemTime) -> Option<Problem> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let until = tls.chain.iter().map(|certificate| certificate.until).min()?;
    let left = until.checked_sub(now).filter(|left| *left < SOON.as_secs())?;
    Some(Problem {
        about: host.to_string(),
        what: vec![format!("a certificate of `{host}` ends in {} days", left / 86_400)],
        help: Some("tell whoever runs the registry or the proxy".into()),
        class: None,
    })
}

fn problem_of_clock(report: &HostReport) -> Option<Problem> {
    let difference = report.clock_difference?;
    (difference.unsigned_abs() > CLOCK_TOLERANCE).then(|| {
        let (minutes, word) = (difference.unsigned_abs() / 60, if difference > 0 { "behind" } else { "ahead of" });
        Problem {
            about: report.host.to_string(),
            what: vec![format!("this machine's clock is {minutes} min {word} that of `{}`", report.host)],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_less_room_than_the_bundle_needs_is_in_the_way() {
        let output = |needed, free| OutputDiagnosis { path: "/media/stick/release.tar".into(), needed, free };
        assert!(problem_of_space(&output(Some(100), Some(100))).is_none());
        assert!(problem_of_space(&output(None, Some(1))).is_none());
        assert!(problem_of_space(&output(Some(100), None)).is_none(), "nobody knows");
        let problem = problem_of_space(&output(Some(101), Some(100))).unwrap();
        assert_eq!(problem.class, Some(ErrorClass::Disk));
        assert!(problem.what[0].contains("101 bytes in `/media/stick`, 100 bytes are free"), "{:?}", problem.what);
        assert!(problem.help.is_some());
    }
}
