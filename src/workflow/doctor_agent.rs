//! `doctor agent`: whether an agent would work on this host, found out by doing what it would do.
//!
//! The images are really fetched, by the engine and by digest: what the engine trusts, which login it has and what the
//! registry holds are known only then. They stay in the engine, where the agent needs them.

use std::sync::Arc;
use std::time::SystemTime;

use url::Url;

use crate::bundle::free_space;
use crate::engine::{
    Engine, EngineChoice, EngineHost, EngineKind, EngineLogin, EngineSettings, IdCheck, ImageKey, RunningContainer,
};
use crate::failure::{ErrorClass, Failure};
use crate::images::{Lock, LockedImage};
use crate::oci::{Digest, ImageRef, Repository};
use crate::plan::{MirrorMap, Target};
use crate::progress::{Arrival, Event, Phase, Progress};
use crate::registry::{Credential, LoginAnswer, Registry, ServerReport, Vouched};
use crate::wording::size;
use crate::workflow::doctor::{Diagnosis, ImageDiagnosis, Roles, diagnose};
use crate::workflow::problems::{CLOCK_TOLERANCE, Problem, problem_of_image, problems_of_host, rank};

/// Roles in a release manifest.
const AGENT: &str = "agent";
const LOAD_GENERATOR: &str = "load-generator";
/// What the vendor asks for: <https://api.octoperf.com/doc/on-premise-agent/>.
const PROCESSORS: u32 = 4;
const MEMORY: u64 = 8_000_000_000;
const DISK: u64 = 16_000_000_000;

/// What to look at.
#[derive(Debug, Clone)]
pub struct AgentDoctorRequest {
    /// What agents fetch; the agent's own image first.
    pub images: Vec<NeededImage>,
    /// The server, as agents reach it.
    pub server_url: Url,
    /// Which engine.
    pub engine: EngineChoice,
    /// Where engines may be.
    pub settings: EngineSettings,
    /// Today.
    pub now: SystemTime,
}

/// An image that an agent's host has to get.
#[derive(Debug, Clone)]
pub struct NeededImage {
    /// Its name in the private registry, by digest where that is known.
    pub name: ImageRef,
    /// What it does.
    pub role: String,
    /// What it has to be, where a bundle or a lock says so.
    pub locked: Option<LockedImage>,
}

/// What was found.
#[derive(Debug)]
pub struct AgentDoctorReport {
    /// The engine; none where none answers.
    pub engine: Option<EngineDiagnosis>,
    /// The private registry, as octobundle reaches it.
    pub registry: Diagnosis,
    /// The server, as the agent would reach it.
    pub server: ServerReport,
    /// Every image that the engine was asked to fetch, with its role.
    pub images: Vec<(String, ImageDiagnosis)>,
    /// What is in the way, or worth knowing; the worst first.
    pub problems: Vec<Problem>,
}

/// What was found about the engine and its machine.
#[derive(Debug)]
pub struct EngineDiagnosis {
    /// docker or podman.
    pub kind: EngineKind,
    /// In its own words.
    pub version: String,
    /// Socket, address or command.
    pub place: String,
    /// The machine, as the engine tells.
    pub host: EngineHost,
    /// Bytes that are free where the engine keeps its images; none where it is another machine's.
    pub free: Option<u64>,
    /// Containers that look like agents.
    pub agents: Vec<String>,
}

impl AgentDoctorReport {
    /// How starting an agent would end; none if it would work.
    pub fn verdict(&self) -> Option<ErrorClass> {
        self.problems.iter().find_map(|problem| problem.class)
    }
}

/// What the agents of a release fetch: their own image and its load generators, under their private names.
pub fn images_of_agents(lock: &Lock, target: &Target) -> Result<Vec<NeededImage>, Failure> {
    let names = MirrorMap::of_lock(lock, target)?;
    let of_role = |role: &'static str| lock.images.iter().filter(move |image| image.role == role);
    let needed = |image: &LockedImage| {
        let private = names.target_of(&image.name)?;
        Some(NeededImage {
            name: ImageRef::pinned(private.repository().clone(), image.root.digest),
            role: image.role.clone(),
            locked: Some(image.clone()),
        })
    };
    if of_role(AGENT).next().is_none() {
        return Err(Failure::new(ErrorClass::NotFound, "there is no image with the role `agent` in it")
            .with_help("see what is in it: `octobundle inspect FILE`"));
    }
    Ok(of_role(AGENT).chain(of_role(LOAD_GENERATOR)).filter_map(needed).collect())
}

/// Looks at everything that an agent on this host needs. `registry` reaches registries as octobundle does, `as_agent`
/// reaches the server as the agent would. What is wrong is in the report; only settings that cannot be used are an
/// error.
pub async fn doctor_agent(
    request: &AgentDoctorRequest,
    registry: &Arc<Registry>,
    as_agent: &Registry,
    progress: &Arc<dyn Progress>,
) -> Result<AgentDoctorReport, Failure> {
    let first = request.images.first().ok_or_else(|| Failure::new(ErrorClass::Usage, "no image was named"))?;
    let roles = Roles { source: true, ..Roles::default() };
    let at_registry = diagnose(registry.probe_host(first.name.repository()).await?, roles);
    let server = as_agent.probe_server(&request.server_url).await?;
    let mut problems = problems_of_server(&server);
    let (mut engine, mut images) = (None, not_asked(&request.images));
    match Engine::find(request.engine, &request.settings).await {
        Ok(found) => {
            let (diagnosis, more) = look_at_engine(&found, request).await;
            problems.extend(more);
            let room = room_for(&found, &diagnosis, &request.images).await;
            match room {
                Ok(()) => images = fetch(&found, request, registry, progress).await,
                Err(problem) => problems.push(problem),
            }
            engine = Some(diagnosis);
        }
        Err(error) => problems.push(Problem::of("the engine", &error.into())),
    }
    let plain: Vec<ImageDiagnosis> = images.iter().map(|(_, image)| image.copy_of_verdict()).collect();
    problems.extend(problems_of_host(&at_registry, &plain, request.now));
    problems.extend(images.iter().filter_map(|(role, image)| problem_of_fetch(role, image)));
    problems.extend(note_of_login(&at_registry, &request.images));
    problems.sort_by_key(|problem| problem.class.map_or(u8::MAX, rank));
    Ok(AgentDoctorReport { engine, registry: at_registry, server, images, problems })
}

fn not_asked(images: &[NeededImage]) -> Vec<(String, ImageDiagnosis)> {
    let unknown = |image: &NeededImage| ImageDiagnosis { image: image.name.clone(), found: None };
    images.iter().map(|image| (image.role.clone(), unknown(image))).collect()
}

async fn look_at_engine(engine: &Engine, request: &AgentDoctorRequest) -> (EngineDiagnosis, Vec<Problem>) {
    let mut problems = Vec::new();
    let host = engine.host().await.unwrap_or_else(|error| {
        problems.push(Problem::note_of("the engine", &error.into()));
        EngineHost::default()
    });
    let running = engine.running().await.unwrap_or_else(|error| {
        problems.push(Problem::note_of("the engine", &error.into()));
        Vec::new()
    });
    let free = host.data_root.as_ref().filter(|_| engine.is_on_this_machine());
    let free = free.and_then(|folder| free_space(folder).ok().flatten());
    let agents = running.iter().filter(|one| is_agent(one, &request.images)).map(|one| one.name.clone()).collect();
    let (kind, version, place) = (engine.kind(), engine.version().to_owned(), engine.place());
    let diagnosis = EngineDiagnosis { kind, version, place, host, free, agents };
    problems.extend((!engine.listens()).then(problem_of_socket));
    problems.extend(problem_of_agents(&diagnosis));
    problems.extend(notes_of_machine(&diagnosis));
    (diagnosis, problems)
}

/// By its image's path, whatever registry and tag, or by the image itself where its name has moved on.
fn is_agent(container: &RunningContainer, images: &[NeededImage]) -> bool {
    images.iter().filter(|image| image.role == AGENT).any(|image| {
        let wanted = image.locked.as_ref().map_or(image.name.repository(), |locked| locked.name.repository());
        let path = wanted.name.as_str();
        let same_path = container.image.parse::<ImageRef>().is_ok_and(|name| {
            let theirs = name.repository().name.as_str();
            theirs == path || theirs.strip_suffix(path).is_some_and(|rest| rest.ends_with('/'))
        });
        let same_image = match (&container.id, &image.locked) {
            (Some(id), Some(locked)) => IdCheck::of(id, locked).is_same(),
            _ => false,
        };
        same_path || same_image
    })
}

/// podman works without its socket, and an agent does not.
fn problem_of_socket() -> Problem {
    Problem {
        about: "the engine".into(),
        what: vec![
            "podman answers as a command alone: the agent, which starts load generators through its socket, would not start"
                .into(),
        ],
        help: Some("switch the socket on: `systemctl enable --now podman.socket`".into()),
        class: Some(ErrorClass::Other),
    }
}

fn problem_of_agents(engine: &EngineDiagnosis) -> Option<Problem> {
    let names = engine.agents.join("`, `");
    let remove = |name: &str| format!("`{} rm -f {name}`", engine.kind);
    match &engine.agents[..] {
        [] => None,
        [one] => Some(Problem {
            about: "agents".into(),
            what: vec![format!("an agent runs on this host already: `{one}`")],
            help: Some(format!("one agent a host: start no second one, or remove it first: {}", remove(one))),
            class: None,
        }),
        [first, ..] => Some(Problem {
            about: "agents".into(),
            what: vec![format!(
                "{} agents run on this host: `{names}`; they are in each other's way when tests start and when they upgrade themselves",
                engine.agents.len()
            )],
            help: Some(format!("keep one of them, and remove the others as in {}", remove(first))),
            class: Some(ErrorClass::Other),
        }),
    }
}

/// What the vendor asks for and the machine lacks.
fn notes_of_machine(engine: &EngineDiagnosis) -> Vec<Problem> {
    let note = |what: String, help: &str| Problem {
        about: "this host".into(),
        what: vec![what],
        help: Some(help.to_owned()),
        class: None,
    };
    let mut notes = Vec::new();
    if let Some(count) = engine.host.processors.filter(|count| *count < PROCESSORS) {
        let what = format!("it has {count} processors; OctoPerf asks for {PROCESSORS} or more");
        notes.push(note(what, "give the machine more, or plan fewer virtual users on it"));
    }
    if let Some(bytes) = engine.host.memory.filter(|bytes| *bytes < MEMORY) {
        let what = format!("it has {} of memory; OctoPerf asks for 8 GB or more, better 16", size(bytes));
        notes.push(note(what, "give the machine more, or plan fewer virtual users on it"));
    }
    if let Some(bytes) = engine.free.filter(|bytes| *bytes < DISK) {
        let what =
            format!("{} are free where {} keeps its images; OctoPerf asks for 16 GB or more", size(bytes), engine.kind);
        let help = format!("make room: `{} system df` shows what takes it", engine.kind);
        notes.push(note(what, &help));
    }
    notes
}

/// Whether the layers that the engine lacks fit on its disk, packed as they are; unpacked they need more.
async fn room_for(engine: &Engine, at: &EngineDiagnosis, images: &[NeededImage]) -> Result<(), Problem> {
    let Some(free) = at.free else { return Ok(()) };
    let mut needed: u64 = 0;
    for image in images {
        let Some(locked) = &image.locked else { continue };
        if !engine.image_id(ImageKey::Name(&image.name)).await.is_ok_and(|id| id.is_some()) {
            // An engine takes one platform; the largest is what may be asked for.
            let of_platform = locked.platforms.iter().map(|one| one.layers.iter().map(|layer| layer.size).sum::<u64>());
            needed = needed.saturating_add(of_platform.max().unwrap_or_default());
        }
    }
    if needed <= free {
        return Ok(());
    }
    Err(Problem {
        about: "this host".into(),
        what: vec![format!(
            "{} are free where {} keeps its images, and the images have {} of packed layers",
            size(free),
            at.kind,
            size(needed)
        )],
        help: Some(format!(
            "make room: `{} system df` shows what takes it, `{} image prune` removes what nobody uses",
            at.kind, at.kind
        )),
        class: Some(ErrorClass::Disk),
    })
}

/// Lets the engine fetch every image, one after the other: engines share their bandwidth among layers by themselves.
async fn fetch(
    engine: &Engine,
    request: &AgentDoctorRequest,
    registry: &Arc<Registry>,
    progress: &Arc<dyn Progress>,
) -> Vec<(String, ImageDiagnosis)> {
    let bytes = request.images.iter().map(size_of).sum();
    progress.report(Event::Planned { images: request.images.len(), blobs: request.images.len(), bytes });
    progress.report(Event::Phase(Phase::Loading));
    let mut done = Vec::new();
    for image in &request.images {
        let (digest, bytes) = (digest_of(image), size_of(image));
        progress.report(Event::BlobStarted { digest, size: bytes, image: image.name.to_string() });
        let found = fetch_one(engine, image, registry, |position| {
            progress.report(Event::BlobAt { digest, position: position.min(bytes) });
        })
        .await;
        if found.is_ok() {
            progress.report(Event::BlobDone { digest, size: bytes, arrival: Arrival::Moved });
            progress.report(Event::ImageDone { image: image.name.to_string() });
        }
        done.push((image.role.clone(), ImageDiagnosis { image: image.name.clone(), found: Some(found) }));
    }
    done
}

fn size_of(image: &NeededImage) -> u64 {
    image.locked.as_ref().map_or(0, |locked| locked.layers().map(|layer| layer.size).sum())
}

/// What progress knows it by.
fn digest_of(image: &NeededImage) -> Digest {
    image.name.digest().unwrap_or_else(|| Digest::of(image.name.to_string().as_bytes()))
}

async fn fetch_one(
    engine: &Engine,
    image: &NeededImage,
    registry: &Arc<Registry>,
    arrived: impl Fn(u64),
) -> Result<(Repository, Option<Digest>), Failure> {
    let login = registry.login_for(image.name.repository()).await?.map(|login| match login {
        Credential::Basic { user, password } => EngineLogin::password(&user, password.reveal()),
        Credential::IdentityToken(token) => EngineLogin::identity_token(token.reveal()),
    });
    engine.pull(&image.name, login.as_ref(), arrived).await?;
    let Some(id) = engine.image_id(ImageKey::Name(&image.name)).await? else {
        let text = format!("{} says that it fetched `{}`, but does not have it", engine.place(), image.name);
        return Err(Failure::new(ErrorClass::Integrity, text).with_help("look at the engine's own log"));
    };
    if image.locked.as_ref().is_some_and(|locked| !IdCheck::of(&id, locked).is_same()) {
        let text = format!("`{}` in {} is {id}, which is not in the bundle", image.name, engine.place());
        return Err(Failure::new(ErrorClass::Integrity, text).with_help("look at the engine's own log"));
    }
    Ok((image.name.repository().clone(), image.name.digest()))
}

fn problem_of_fetch(role: &str, image: &ImageDiagnosis) -> Option<Problem> {
    let mut problem = problem_of_image(image)?;
    if role == LOAD_GENERATOR {
        problem.what.insert(
            0,
            "this load generator cannot be fetched: the agent would come up, and the first test that needs it would fail"
                .into(),
        );
    }
    Some(problem)
}

/// An agent fetches load generators by itself, and not with the engine's logins.
fn note_of_login(registry: &Diagnosis, images: &[NeededImage]) -> Option<Problem> {
    let asked = registry.report.answer.as_ref().is_ok_and(|answer| answer.login == LoginAnswer::Accepted);
    let fetches = images.iter().any(|image| image.role == LOAD_GENERATOR);
    (asked && fetches).then(|| Problem {
        about: registry.report.reach.host.clone(),
        what: vec![
            "the registry wants a login, and the containers that an agent starts do not get the engine's".into(),
        ],
        help: Some(
            "give the agent the login as Java options: `octobundle render agent … --registry-user USER --registry-password-file FILE --registry-user-property PROPERTY --registry-password-property PROPERTY`; OctoPerf's documentation of providers names the properties"
                .into(),
        ),
        class: None,
    })
}

fn problems_of_server(server: &ServerReport) -> Vec<Problem> {
    let reach = &server.reach;
    let about = reach.host.clone();
    let note = |what: String, help: &str, class: Option<ErrorClass>| Problem {
        about: about.clone(),
        what: vec![what],
        help: Some(help.to_owned()),
        class,
    };
    let mut problems = Vec::new();
    match &server.answer {
        Err(failure) => {
            let mut problem = Problem::of(&about, failure);
            problem.what.insert(0, format!("an agent here would not reach its server {}", reach.address));
            problems.push(problem);
        }
        Ok(407) => problems.push(note(
            "the proxy on the way to the server wants another login or none that we can give (HTTP 407)".into(),
            "put user and password into the agent's proxy address",
            Some(ErrorClass::Access),
        )),
        Ok(status @ 500..) => problems.push(note(
            format!("the server, or a proxy before it, answers HTTP {status}"),
            "see that the server runs: its own log, and that of the balancer before it, say why",
            Some(ErrorClass::Network),
        )),
        Ok(_) => {}
    }
    if reach.in_the_clear {
        problems.push(note(
            "the server is spoken to in plain http: the agent's token crosses the network unprotected".into(),
            "give the server a certificate and use its https address",
            None,
        ));
    }
    if let Some(tls) = reach.tls.as_ref().filter(|_| server.answer.is_ok())
        && matches!(tls.vouched_by, Vouched::File(_) | Vouched::System)
    {
        let signer = tls.chain.last().and_then(|last| last.issuer.clone()).unwrap_or_else(|| "an own authority".into());
        problems.push(note(
            format!("the server's certificate is signed by `{signer}`, which is no public authority"),
            "the agent's Java has to know this authority: what this host trusts does not count in its container",
            None,
        ));
    }
    if let Some(apart) = reach.clock_difference.filter(|apart| apart.unsigned_abs() > CLOCK_TOLERANCE) {
        let word = if apart > 0 { "behind" } else { "ahead of" };
        problems.push(note(
            format!("this machine's clock is {} min {word} that of the server", apart.unsigned_abs() / 60),
            "set the clock: certificates and tokens hold for certain times only",
            None,
        ));
    }
    problems
}

impl ImageDiagnosis {
    /// As far as it decides what is in the way: who has it.
    fn copy_of_verdict(&self) -> Self {
        let found = match &self.found {
            Some(Ok(found)) => Some(Ok(found.clone())),
            _ => None,
        };
        Self { image: self.image.clone(), found }
    }
}
