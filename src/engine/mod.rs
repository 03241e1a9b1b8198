//! docker or podman on this host: finding it, giving it images or letting it fetch them, asking for their ids, naming
//! them.
//!
//! Both are spoken to over docker's API (1.40 and later: docker 20.10, podman 4.3); podman also by its command, since
//! its socket is off unless someone turned it on. Knows nothing of bundles: it takes a file.

mod address;
mod answer;
mod api;
mod command;
mod error;
mod file_body;
mod host;
mod identity;
mod pull;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::content::FilePart;
use crate::oci::{Digest, ImageRef};

use address::ApiAddress;
use api::Api;
use command::PodmanCommand;

pub use error::{Attempt, EngineError};
pub use host::{EngineHost, RunningContainer};
pub use identity::IdCheck;
pub use pull::{EngineLogin, PullTrouble};

/// Which engine is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// The first that answers; docker is asked first.
    #[default]
    Auto,
    /// docker, and nothing else.
    Docker,
    /// podman, and nothing else.
    Podman,
}

/// Where engines may be. Whoever calls reads the environment; an empty setting is a place less to look.
#[derive(Debug, Clone, Default)]
pub struct EngineSettings {
    /// `DOCKER_HOST`: it alone says where docker is, if it is set.
    pub docker_host: Option<String>,
    /// Where docker's socket may be otherwise: [`EngineSettings::DOCKER_SOCKET`], `$XDG_RUNTIME_DIR/docker.sock`.
    pub docker_sockets: Vec<PathBuf>,
    /// Where podman's socket may be: [`EngineSettings::PODMAN_SOCKET`], `$XDG_RUNTIME_DIR/podman/podman.sock`.
    pub podman_sockets: Vec<PathBuf>,
    /// `PATH`, where the `podman` command is looked for.
    pub path: Option<OsString>,
}

impl EngineSettings {
    /// Where docker listens if nobody said otherwise.
    pub const DOCKER_SOCKET: &str = "/var/run/docker.sock";
    /// Where podman listens for root.
    pub const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
}

/// What answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// docker.
    Docker,
    /// podman, also where it answers in docker's place.
    Podman,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

/// Images as an engine can load them: a docker-archive, an OCI archive, or both in one.
#[derive(Debug, Clone, Copy)]
pub struct Archive<'a> {
    /// What messages call it.
    pub name: &'a Path,
    /// The open files that hold it, in their order; exactly these bytes are sent.
    pub parts: &'a [FilePart],
}

impl Archive<'_> {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.parts.iter().map(|part| part.length).sum()
    }
}

/// An image, in the words of an engine's request.
#[derive(Debug, Clone, Copy)]
pub enum ImageKey<'a> {
    /// By a name it has there.
    Name(&'a ImageRef),
    /// By its id.
    Id(&'a Digest),
}

impl fmt::Display for ImageKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => fmt::Display::fmt(name, f),
            Self::Id(id) => fmt::Display::fmt(id, f),
        }
    }
}

/// An engine that has answered.
#[derive(Debug)]
pub struct Engine {
    kind: EngineKind,
    version: String,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Api(Api),
    Command(PodmanCommand),
}

impl Engine {
    /// Looks for the engine that is wanted; the one returned has told its version.
    ///
    /// An error lists every place that was tried and why each did not do.
    pub async fn find(choice: EngineChoice, settings: &EngineSettings) -> Result<Self, EngineError> {
        let mut attempts = Vec::new();
        for candidate in candidates(choice, settings)? {
            match candidate.ask().await {
                Ok(engine) => return Ok(engine),
                Err(attempt) => attempts.push(attempt),
            }
        }
        Err(EngineError::NoneAnswers { attempts })
    }

    /// What it is.
    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// Its version, in its own words.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where it was found: a socket, an address or a command.
    pub fn place(&self) -> String {
        match &self.way {
            Way::Api(api) => api.place().to_owned(),
            Way::Command(command) => command.place(),
        }
    }

    /// Whether what it says of its folders is about this machine.
    pub fn is_on_this_machine(&self) -> bool {
        match &self.way {
            Way::Api(api) => api.is_on_a_socket(),
            Way::Command(_) => true,
        }
    }

    /// Whether it listens somewhere, and is no command alone: what runs in a container can then use it.
    pub fn listens(&self) -> bool {
        matches!(self.way, Way::Api(_))
    }

    /// Gives it every image of `archive`. Returns what the engine says it loaded, in its words.
    ///
    /// `sent` is told how many bytes of the file are on their way, counted from its start; a `podman` command reads the
    /// file by itself, so there it is told only the whole, at the end. Dropping the future stops the transfer.
    pub async fn load(
        &self,
        archive: Archive<'_>,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Vec<String>, EngineError> {
        match &self.way {
            Way::Api(api) => api.load(archive, sent).await,
            Way::Command(command) => {
                let loaded = command.load(archive).await?;
                sent(archive.length());
                Ok(loaded)
            }
        }
    }

    /// The id of an image; none if the engine does not have it. What the id is the digest of, [`IdCheck`] tells.
    pub async fn image_id(&self, image: ImageKey<'_>) -> Result<Option<Digest>, EngineError> {
        match &self.way {
            Way::Api(api) => api.image_id(image).await,
            Way::Command(command) => command.image_id(image).await,
        }
    }

    /// Lets it fetch an image, by digest where the name has one. What arrived, in bytes of packed layers, is told to
    /// `arrived`; only docker tells.
    ///
    /// An API shows the registry `login`; podman's command has logins of its own, and is given none.
    pub async fn pull(
        &self,
        image: &ImageRef,
        login: Option<&EngineLogin>,
        arrived: impl Fn(u64),
    ) -> Result<(), EngineError> {
        match &self.way {
            Way::Api(api) => api.pull(self.kind, image, login, arrived).await,
            Way::Command(command) => command.pull(image).await,
        }
    }

    /// Writes an archive of one image into `file`. Its layers are the registry's bytes only where the engine keeps
    /// those: docker with containerd's store; others pack them anew.
    pub async fn save(&self, image: ImageKey<'_>, file: &File) -> Result<(), EngineError> {
        match &self.way {
            Way::Api(api) => api.save(image, file).await,
            Way::Command(command) => command.save(image, file).await,
        }
    }

    /// What it tells of its machine.
    pub async fn host(&self) -> Result<EngineHost, EngineError> {
        match &self.way {
            Way::Api(api) => api.host().await,
            Way::Command(command) => command.host().await,
        }
    }

    /// The containers that run.
    pub async fn running(&self) -> Result<Vec<RunningContainer>, EngineError> {
        match &self.way {
            Way::Api(api) => api.running().await,
            Way::Command(command) => command.running().await,
        }
    }

    /// Gives an image that the engine has another name. The name must have a tag: engines take no digest here.
    pub async fn tag(&self, image: ImageKey<'_>, name: &ImageRef) -> Result<(), EngineError> {
        let Some(tag) = name.tag() else {
            return Err(EngineError::NoTag { name: Box::new(name.clone()) });
        };
        match &self.way {
            Way::Api(api) => api.tag(image, name.repository(), tag).await,
            Way::Command(command) => command.tag(image, name).await,
        }
    }
}

enum Candidate {
    Api(ApiAddress),
    PodmanCommand(Option<OsString>),
}

impl Candidate {
    async fn ask(self) -> Result<Engine, Attempt> {
        match self {
            Self::Api(address) => {
                let place = address.to_string();
                Engine::by_api(address).await.map_err(|error| Attempt::new(place, error))
            }
            Self::PodmanCommand(path) => Engine::by_command(path.as_deref())
                .await
                .map_err(|error| Attempt::new(format!("the command `{}`", command::PROGRAM), error)),
        }
    }
}

impl Engine {
    async fn by_api(address: ApiAddress) -> Result<Self, EngineError> {
        let api = Api::new(address)?;
        let told = api.version().await?;
        Ok(Self { kind: told.kind, version: told.version, way: Way::Api(api) })
    }

    async fn by_command(path: Option<&OsStr>) -> Result<Self, EngineError> {
        let command = PodmanCommand::find(path)?;
        let version = command.version().await?;
        Ok(Self { kind: EngineKind::Podman, version, way: Way::Command(command) })
    }
}

/// Where to look, in order.
fn candidates(choice: EngineChoice, settings: &EngineSettings) -> Result<Vec<Candidate>, EngineError> {
    let at_sockets = |sockets: &[PathBuf]| {
        sockets.iter().map(|socket| Candidate::Api(ApiAddress::Socket(socket.clone()))).collect::<Vec<_>>()
    };
    let docker = || match &settings.docker_host {
        Some(host) => Ok(vec![Candidate::Api(ApiAddress::parse(host)?)]),
        None => Ok(at_sockets(&settings.docker_sockets)),
    };
    let podman = || {
        let mut places = at_sockets(&settings.podman_sockets);
        places.push(Candidate::PodmanCommand(settings.path.clone()));
        places
    };
    Ok(match choice {
        EngineChoice::Docker => docker()?,
        EngineChoice::Podman => podman(),
        EngineChoice::Auto => docker()?.into_iter().chain(podman()).collect(),
    })
}

#[cfg(all(test, unix))] // sockets of Unix and a shell
mod tests;
