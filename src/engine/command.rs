//! podman by its command, for hosts where nobody turned its socket on.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::content::FilePart;
use crate::engine::answer::{self, MAX_ANSWER};
use crate::engine::error::EngineError;
use crate::engine::file_body::Pieces;
use crate::engine::host::{self, EngineHost, RunningContainer};
use crate::engine::{Archive, EngineKind, ImageKey};
use crate::oci::{Digest, ImageRef};

pub(super) const PROGRAM: &str = "podman";
/// For questions; rootless podman sets up its user namespace first. Loading has no limit.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The `podman` command.
#[derive(Debug)]
pub(super) struct PodmanCommand {
    program: PathBuf,
}

/// What a command left behind.
struct Ended {
    status: std::process::ExitStatus,
    out: String,
    err: String,
}

impl PodmanCommand {
    /// The first `podman` on `path` that may be executed.
    pub(super) fn find(path: Option<&OsStr>) -> Result<Self, EngineError> {
        let folders = path.iter().flat_map(std::env::split_paths);
        let file = format!("{PROGRAM}{EXE_SUFFIX}");
        // An empty or relative part of PATH means the folder one happens to be in; nobody wants a program from there.
        let mut programs = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(&file));
        let program = programs.find(|program| is_executable(program));
        program.map(|program| Self { program }).ok_or(EngineError::NoProgram { program: PROGRAM })
    }

    pub(super) fn place(&self) -> String {
        self.program.display().to_string()
    }

    pub(super) async fn version(&self) -> Result<String, EngineError> {
        let arguments = ["version", "--format", "{{.Client.Version}}"];
        let version = self.quick(&arguments).await?.success(self, &arguments)?;
        match version.trim() {
            "" => Err(self.not_podmans(&arguments, "it is empty")),
            version => Ok(answer::cut(version)),
        }
    }

    pub(super) async fn image_id(&self, image: ImageKey<'_>) -> Result<Option<Digest>, EngineError> {
        let name = image.to_string();
        // Status 1 is "no", anything else is trouble.
        let exists = ["image", "exists", &name];
        let asked = self.quick(&exists).await?;
        if asked.status.code() == Some(1) {
            return Ok(None);
        }
        asked.success(self, &exists)?;
        let inspect = ["image", "inspect", "--format", "{{.Id}}", &name];
        let id = self.quick(&inspect).await?.success(self, &inspect)?;
        answer::id(id.trim()).map(Some).map_err(|reason| self.not_podmans(&inspect, &reason))
    }

    pub(super) async fn tag(&self, image: ImageKey<'_>, name: &ImageRef) -> Result<(), EngineError> {
        // podman's command would take name and digest for a name of its own.
        let (image, name) = (image.to_string(), name.without_digest().to_string());
        let arguments = ["tag", &image, &name];
        self.quick(&arguments).await?.success(self, &arguments).map(|_| ())
    }

    pub(super) async fn host(&self) -> Result<EngineHost, EngineError> {
        self.told(&["info", "--format", "json"], host::of_podman).await
    }

    pub(super) async fn running(&self) -> Result<Vec<RunningContainer>, EngineError> {
        self.told(&["ps", "--format", "json"], host::containers).await
    }

    async fn told<T>(&self, arguments: &[&str], read: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, EngineError> {
        let answer = self.quick(arguments).await?.success(self, arguments)?;
        read(answer.as_bytes()).map_err(|reason| self.not_podmans(arguments, &reason))
    }

    /// Fetches with podman's own logins: its command takes none that would not stand in a list of processes.
    pub(super) async fn pull(&self, image: &ImageRef) -> Result<(), EngineError> {
        let name = match image.digest() {
            Some(digest) => ImageRef::pinned(image.repository().clone(), digest).to_string(),
            None => image.to_string(),
        };
        let mut command = self.command();
        command.args(["pull", "--quiet", &name]);
        let ended = self.run(command).await?;
        if ended.status.success() {
            return Ok(());
        }
        Err(EngineError::Pull {
            place: self.place(),
            kind: EngineKind::Podman,
            image: Box::new(image.clone()),
            message: ended.words(),
        })
    }

    /// A file of its own is read by podman itself. Volumes are written to its standard input, from which it makes a
    /// file in its own temporary folder.
    pub(super) async fn load(&self, archive: Archive<'_>) -> Result<Vec<String>, EngineError> {
        let mut command = self.command();
        command.args(["load", "--quiet"]);
        let ended = match archive.parts {
            [only] if is_whole_file(only) => {
                if is_taken_as_a_file(&only.path) {
                    command.arg("-i").arg(&only.path);
                } else {
                    let file = only.file.try_clone().map_err(|source| self.start(source))?;
                    command.args(["-i", "/dev/stdin"]).stdin(file);
                }
                self.run(command).await?
            }
            _ => {
                command.stdin(Stdio::piped());
                self.run_with(command, archive).await?
            }
        };
        if ended.status.success() {
            return Ok(ended.out.lines().chain(ended.err.lines()).flat_map(answer::loaded_names).collect());
        }
        Err(EngineError::Load { place: self.place(), archive: archive.name.to_owned(), message: ended.words() })
    }

    /// Layers are not compressed anew: those that never were come out as they were, and the others with other bytes in
    /// any case.
    pub(super) async fn save(&self, image: ImageKey<'_>, file: &File) -> Result<(), EngineError> {
        let image = image.to_string();
        let arguments = ["save", "--quiet", "--format", "oci-archive", "--uncompressed", &image];
        let kept = |source| EngineError::Keep { place: self.place(), source };
        let mut command = self.command();
        command.args(arguments).stdout(file.try_clone().map_err(kept)?);
        self.run(command).await?.success(self, &arguments).map(|_| ())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn quick(&self, arguments: &[&str]) -> Result<Ended, EngineError> {
        let mut command = self.command();
        command.args(arguments);
        tokio::time::timeout(ANSWER_TIMEOUT, self.run(command)).await.unwrap_or_else(|_| {
            Err(EngineError::Silent {
                place: self.place(),
                request: shown(arguments),
                seconds: ANSWER_TIMEOUT.as_secs(),
            })
        })
    }

    async fn run(&self, mut command: Command) -> Result<Ended, EngineError> {
        let mut child = command.spawn().map_err(|source| self.start(source))?;
        self.end_of(&mut child).await
    }

    /// Runs a command that reads an archive from its standard input.
    async fn run_with(&self, mut command: Command, archive: Archive<'_>) -> Result<Ended, EngineError> {
        let mut child = command.spawn().map_err(|source| self.start(source))?;
        let input = child.stdin.take();
        let (fed, ended) = tokio::join!(feed(input, archive.parts), self.end_of(&mut child));
        match fed {
            Err(source) => Err(EngineError::Archive { path: archive.name.to_owned(), source }),
            Ok(()) => ended,
        }
    }

    async fn end_of(&self, child: &mut Child) -> Result<Ended, EngineError> {
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, err, status) = tokio::join!(text(out), text(err), child.wait());
        let start = |source| self.start(source);
        Ok(Ended { status: status.map_err(start)?, out: out.map_err(start)?, err: err.map_err(start)? })
    }

    fn start(&self, source: io::Error) -> EngineError {
        EngineError::Start { program: self.program.clone(), source }
    }

    fn not_podmans(&self, arguments: &[&str], reason: &str) -> EngineError {
        EngineError::Answer { place: self.place(), request: shown(arguments), reason: answer::cut(reason) }
    }
}

impl Ended {
    fn success(self, podman: &PodmanCommand, arguments: &[&str]) -> Result<String, EngineError> {
        if self.status.success() {
            return Ok(self.out);
        }
        let command = format!("{} {}", podman.place(), shown(arguments));
        Err(EngineError::Command { command, status: self.status.to_string(), message: self.words() })
    }

    /// What it complained of. Where the text is long, the end says why.
    fn words(&self) -> String {
        let text = self.err.trim();
        let start = text.char_indices().rev().nth(999).map_or(0, |(start, _)| start);
        text[start..].to_owned()
    }
}

/// Writes an archive to a command. One that ends before it has read all has its reasons, which its status tells.
async fn feed(input: Option<impl AsyncWrite + Unpin>, parts: &[FilePart]) -> io::Result<()> {
    let Some(mut input) = input else {
        return Ok(());
    };
    let mut pieces = Pieces::new(parts.to_vec());
    while let Some(piece) = pieces.next().await {
        match input.write_all(&piece?).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
    Ok(())
}

/// Whether a part is all of its file.
fn is_whole_file(part: &FilePart) -> bool {
    part.at == 0 && part.file.metadata().is_ok_and(|about| about.len() == part.length)
}

/// podman refuses names with a colon, which it needs for `transport:path`, and fetches what looks like an address.
fn is_taken_as_a_file(archive: &Path) -> bool {
    !archive.as_os_str().as_encoded_bytes().contains(&b':')
}

#[cfg(unix)]
fn is_executable(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(program).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(program: &Path) -> bool {
    program.is_file()
}

fn shown(arguments: &[&str]) -> String {
    arguments.join(" ")
}

/// The start of what a command says. The rest is read too, so that the command is not stopped by a full pipe.
async fn text(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let Some(mut from) = from else {
        return Ok(String::new());
    };
    let mut start = Vec::new();
    (&mut from).take(MAX_ANSWER as u64).read_to_end(&mut start).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&start).into_owned())
}
