//! `doctor`: looks at everything a job would touch, moves nothing, and says what is in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use url::Url;

use crate::bundle::{BundleError, BundleOutput, ExistingOutput, Layout, check_output, free_space};
use crate::content::{Lookup, folder_of};
use crate::failure::{ErrorClass, Failure};
use crate::images::ImageSet;
use crate::oci::{Digest, Host, ImageRef, Repository, RepositoryName};
use crate::plan::{MirrorMap, Target};
use crate::progress::Silent;
use crate::registry::{HostReport, PlaceReport, RateLimit, Registry, ServerReport};
use crate::transfer::side_by_side;
use crate::workflow::problems::{
    Interception, Problem, interception, is_public, problem_of_image, problems_of_host, problems_of_servers,
    problems_of_uploads, rank,
};
use crate::workflow::resolve::resolve;

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

impl DoctorRequest {
    /// Whether uploads are tried. Without images nobody knows the names of repositories, and not every registry lets
    /// names stand where no path is given.
    pub fn asks_for_uploads(&self) -> bool {
        self.target.as_ref().is_some_and(|target| !self.images.is_empty() || target.prefix().is_some())
    }
}

/// What was found.
#[derive(Debug)]
pub struct DoctorReport {
    /// Every registry that the job would touch, by name.
    pub hosts: Vec<Diagnosis>,
    /// The other servers that these send the job to, by address.
    pub servers: Vec<ServerDiagnosis>,
    /// Every repository that the job would send to.
    pub uploads: Vec<UploadDiagnosis>,
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

/// What was found about a server that registries send their users to.
#[derive(Debug)]
pub struct ServerDiagnosis {
    /// The facts.
    pub report: ServerReport,
    /// What it is for.
    pub uses: BTreeSet<ServerUse>,
    /// Who opens TLS on the way to it.
    pub interception: Interception,
}

/// What a server does for a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerUse {
    /// It gives the tokens for this one.
    Tokens(Host),
    /// It gives out this one's blobs.
    Blobs(Host),
}

/// What was found about a repository that would be sent to.
#[derive(Debug)]
pub struct UploadDiagnosis {
    /// Which.
    pub repository: Repository,
    /// Whether it took the beginning of an upload, which was taken back at once; none where its registry was not there
    /// to be asked.
    pub answer: Option<Result<(), Failure>>,
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
    let (uploads, of_names) = look_at_uploads(request, registry, &hosts).await;
    let (servers, of_servers) = look_at_servers(request, registry, &hosts, &images).await?;
    let (mut output, of_output) = match &request.output {
        Some(path) => look_at_output(path),
        None => (None, None),
    };
    let mut problems: Vec<Problem> = of_output.into_iter().chain(of_names).chain(of_servers).collect();
    problems.extend(hosts.iter().flat_map(|diagnosis| problems_of_host(diagnosis, &images, request.now)));
    problems.extend(problems_of_servers(&servers, &hosts, request.now));
    problems.extend(images.iter().filter_map(problem_of_image));
    problems.extend(problems_of_uploads(&uploads));
    if let (Some(wanted), Some(output)) = (&request.sized, &mut output)
        && problems.iter().all(|problem| problem.class.is_none())
    {
        problems.extend(look_at_size(wanted, registry, request.jobs, output).await);
    }
    problems.sort_by_key(|problem| problem.class.map_or(u8::MAX, rank));
    Ok(DoctorReport { hosts, servers, uploads, images, output, problems })
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
    let interception = interception(&report.reach, is_public(&report.host));
    Diagnosis { report, roles, rate: None, interception }
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

fn lookup_of(image: &ImageRef) -> Option<Lookup> {
    let by_tag = || image.tag().map(|tag| Lookup::Tag(tag.clone()));
    image.digest().map(Lookup::Digest).or_else(by_tag)
}

/// Asks the image's places in their order until one has it.
async fn look_at_image(registry: Arc<Registry>, image: ImageRef, dead: Arc<Vec<Host>>) -> (ImageDiagnosis, Rates) {
    let (mut rates, mut found) = (Rates::new(), None);
    let Some(lookup) = lookup_of(&image) else { return (ImageDiagnosis { image, found }, rates) };
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

/// Begins an upload in every repository that the job would send to, and takes it back.
async fn look_at_uploads(
    request: &DoctorRequest,
    registry: &Arc<Registry>,
    hosts: &[Diagnosis],
) -> (Vec<UploadDiagnosis>, Option<Problem>) {
    let Some(target) = request.target.as_ref().filter(|_| request.asks_for_uploads()) else {
        return (Vec::new(), None);
    };
    let repositories = match repositories_at(target, &request.images) {
        Ok(repositories) => repositories,
        Err(failure) => return (Vec::new(), Some(Problem::of(&target.to_string(), &failure))),
    };
    let answers = |one: &Diagnosis| one.report.host == *target.registry() && one.report.answer.is_ok();
    let askable = hosts.iter().any(answers);
    let asked = side_by_side(
        request.jobs,
        repositories,
        |repository| {
            let registry = registry.clone();
            async move {
                let answer = if askable { Some(registry.try_upload(&repository).await) } else { None };
                UploadDiagnosis { repository, answer }
            }
        },
        |_| false,
    );
    (asked.await, None)
}

/// Those of the images; without images one below the given path.
fn repositories_at(target: &Target, images: &[ImageRef]) -> Result<BTreeSet<Repository>, Failure> {
    if !images.is_empty() {
        let names = MirrorMap::new(images, target)?;
        return Ok(names.iter().map(|(_, name)| name.repository().clone()).collect());
    }
    let trial: RepositoryName = "octobundle-doctor".parse().expect("a word is a repository's name");
    let below = target.prefix().map(|prefix| trial.below(prefix.as_str()));
    let host = target.registry().clone();
    Ok(below.into_iter().flatten().map(|name| Repository { host: host.clone(), name }).collect())
}

/// Finds the servers that give tokens and blobs for the registries, and looks at each.
async fn look_at_servers(
    request: &DoctorRequest,
    registry: &Arc<Registry>,
    hosts: &[Diagnosis],
    images: &[ImageDiagnosis],
) -> Result<(Vec<ServerDiagnosis>, Vec<Problem>), Failure> {
    let mut found: BTreeMap<Url, BTreeSet<ServerUse>> = BTreeMap::new();
    for host in hosts_of(request, registry).into_values().map(|(repository, _)| repository) {
        if let Some(url) = registry.token_server_of(&host)? {
            found.entry(url).or_default().insert(ServerUse::Tokens(host.host));
        }
    }
    let mut problems = Vec::new();
    for (place, store) in stores_of(request, registry, hosts, images).await {
        match store {
            Ok(Some(url)) => drop(found.entry(url).or_default().insert(ServerUse::Blobs(place.host))),
            Ok(None) => {}
            Err(failure) => problems.push(Problem::of(&place.to_string(), &failure)),
        }
    }
    let reports = side_by_side(
        request.jobs,
        found,
        |(url, uses)| {
            let registry = registry.clone();
            async move { registry.probe_server(&url).await.map(|report| (report, uses)) }
        },
        |result: &Result<_, Failure>| result.is_err(),
    )
    .await;
    let with_verdict = |(report, uses): (ServerReport, BTreeSet<ServerUse>)| {
        let of_public = uses.iter().any(|use_| is_public(use_.registry()));
        let interception = interception(&report.reach, of_public);
        ServerDiagnosis { report, uses, interception }
    };
    let servers: Result<Vec<_>, Failure> = reports.into_iter().map(|result| result.map(with_verdict)).collect();
    Ok((servers?, problems))
}

/// Asks each place where images were found for one of them, since only then it tells where its blobs are. Where few
/// images may still be fetched, none is spent on it.
async fn stores_of(
    request: &DoctorRequest,
    registry: &Arc<Registry>,
    hosts: &[Diagnosis],
    images: &[ImageDiagnosis],
) -> Vec<(Repository, Result<Option<Url>, Failure>)> {
    let spare = |host: &Host| {
        let known = hosts.iter().find(|one| one.report.host == *host).and_then(|one| one.rate);
        known.is_none_or(|rate| rate.remaining > images.len() as u64)
    };
    let mut firsts: BTreeMap<Host, (Repository, Lookup)> = BTreeMap::new();
    for image in images {
        if let (Some(Ok((place, _))), Some(lookup)) = (&image.found, lookup_of(&image.image))
            && spare(&place.host)
        {
            firsts.entry(place.host.clone()).or_insert_with(|| (place.clone(), lookup));
        }
    }
    side_by_side(
        request.jobs,
        firsts.into_values(),
        |(place, lookup)| {
            let registry = registry.clone();
            async move {
                let store = registry.store_of(&place, &lookup).await;
                (place, store)
            }
        },
        |_| false,
    )
    .await
}

impl ServerUse {
    /// The registry that it is for.
    pub fn registry(&self) -> &Host {
        match self {
            Self::Tokens(registry) | Self::Blobs(registry) => registry,
        }
    }
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
