//! The real binary, run as a user would, on a machine that holds nothing else.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use tempfile::TempDir;

/// Where the binary stands: beside the test, where `OCTOBUNDLE` says, or beside the running example's folder.
pub(crate) fn binary() -> PathBuf {
    if let Some(built) = option_env!("CARGO_BIN_EXE_octobundle") {
        return built.into();
    }
    if let Some(given) = std::env::var_os("OCTOBUNDLE") {
        return given.into();
    }
    let own = std::env::current_exe().expect("a running program knows its file");
    let profile = own.parent().and_then(Path::parent).expect("examples stand in a folder of their own");
    profile.join(format!("octobundle{}", std::env::consts::EXE_SUFFIX))
}

/// A user's folder: home, working directory and temporary folder of the commands that are run in it.
pub(crate) struct Site(TempDir);

impl Site {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("octobundle-").tempdir().expect("a temporary folder can be made"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, with the folders above it, and returns its path.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it is inside of the folder")).expect("folders can be made");
        std::fs::write(&path, contents).expect("files can be written");
        path
    }

    /// Writes a program that tests can run at once.
    #[cfg(unix)]
    pub(crate) fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it is inside of the folder")).expect("folders can be made");
        super::program::install(&path, text);
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A command that sees no environment but `PATH` and this folder.
    pub(crate) fn octobundle<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        self.run(&binary(), arguments)
    }

    /// The same for another program.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, program: &Path, arguments: impl IntoIterator<Item = A>) -> Run {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.0.path()).env("TMPDIR", self.0.path());
        if let Some(system) = std::env::var_os("SYSTEMROOT") {
            // Windows finds its sockets by the first and its temporary folder by the second.
            command.env("SYSTEMROOT", system).env("TMP", self.0.path());
        }
        for (name, folder) in [
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_CACHE_HOME", ".cache"),
            ("XDG_DATA_HOME", ".local/share"),
            ("XDG_RUNTIME_DIR", ".runtime"),
        ] {
            command.env(name, self.path(folder));
        }
        Run { command, input: Vec::new() }
    }
}

/// A command about to be run.
pub(crate) struct Run {
    command: Command,
    input: Vec<u8>,
}

impl Run {
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What the command reads from its standard input; nothing unless given.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Output {
        self.spawn().wait()
    }

    /// Starts it with these streams as standard input, output and error.
    pub(crate) fn with_streams(mut self, input: Stdio, output: Stdio, error: Stdio) -> Child {
        let shown = shown(&self.command);
        self.command.stdin(input).stdout(output).stderr(error);
        self.command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"))
    }

    pub(crate) fn spawn(mut self) -> Running {
        let shown = shown(&self.command);
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        let mut input = child.stdin.take().expect("it was asked for");
        // A command that ends without reading closes the pipe, which is its right.
        std::thread::spawn(move || std::io::Write::write_all(&mut input, &self.input).ok());
        let stdout = collect(child.stdout.take().expect("it was asked for"));
        let stderr = collect(child.stderr.take().expect("it was asked for"));
        Running { shown, child, stdout: Some(stdout), stderr: Some(stderr) }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("a pipe can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A command as a person would type it, without its environment.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// A command under way; it is killed when dropped.
pub(crate) struct Running {
    shown: String,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_some()
    }

    /// Ends it at once, without a chance to tidy up.
    pub(crate) fn kill(mut self) -> Output {
        self.child.kill().expect("a child can be killed");
        self.wait()
    }

    /// Asks it to end, as Ctrl-C does.
    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        super::real::signal(&self.child, signal);
    }

    pub(crate) fn wait(mut self) -> Output {
        let status = self.child.wait().expect("a child can be waited for");
        let text =
            |handle: Option<JoinHandle<String>>| handle.expect("it is waited for once").join().expect("it reads");
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        Output { shown: self.shown.clone(), code: status.code(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    shown: String,
    /// None if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    #[track_caller]
    pub(crate) fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\nstdout:\n{}\nstderr:\n{}", self.shown, self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn assert_ok(self) -> Self {
        self.assert_code(0)
    }

    /// The standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{}: {error}\n{}", self.shown, self.stdout))
    }
}
