//! Credential helpers: programs called `docker-credential-NAME` that keep logins, spoken to as docker does.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::failure::{ErrorClass, Explain};
use crate::oci::Host;
use crate::registry::auth_file::credential;
use crate::registry::credentials::Credential;
use crate::registry::secret::Secret;

/// Long enough for one that asks its user; shorter than a person's patience with a silent program.
const PATIENCE: Duration = Duration::from_secs(30);
/// Far more than any login has.
const MAX_ANSWER: u64 = 1024 * 1024;
/// How docker's own helpers say that they know no login; anything else is a failure.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A helper that exists.
pub(super) struct Helper {
    name: String,
    program: PathBuf,
    patience: Duration,
}

/// What a helper said.
pub(super) enum HelperAnswer {
    Login(Credential),
    NotFound,
}

/// A helper that could not be used. Its output is never shown, since it may hold a password.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelperError {
    #[error("`{0}` is no name of a credential helper: up to 64 of `A-Za-z0-9_-`")]
    Name(String),
    #[error("the credential helper `docker-credential-{0}` is not in any folder of PATH")]
    Missing(String),
    #[error("the credential helper `docker-credential-{name}` cannot be run")]
    Run { name: String, server: String, source: io::Error },
    #[error("the credential helper `docker-credential-{name}` did not answer within {seconds} s")]
    Slow { name: String, server: String, seconds: u64 },
    #[error("the credential helper `docker-credential-{name}` failed for `{server}` ({status})")]
    Failed { name: String, server: String, status: ExitStatus },
    #[error("the credential helper `docker-credential-{name}` gave no usable answer for `{server}`: {why}")]
    Answer { name: String, server: String, why: &'static str },
}

impl Explain for HelperError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Name(_) => ErrorClass::Input,
            Self::Missing(_) | Self::Run { .. } | Self::Slow { .. } | Self::Failed { .. } | Self::Answer { .. } => {
                ErrorClass::Access
            }
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Name(_) => Some("correct `credHelpers` or `credsStore` in the login file".into()),
            Self::Missing(name) => {
                Some(format!("install `docker-credential-{name}`, or take it out of the login file and log in again"))
            }
            Self::Run { name, server, .. }
            | Self::Slow { name, server, .. }
            | Self::Failed { name, server, .. }
            | Self::Answer { name, server, .. } => {
                Some(format!("try it by hand: `echo {server} | docker-credential-{name} get`"))
            }
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default, rename = "ServerURL")]
    server: String,
    #[serde(default, rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: Secret,
}

impl Helper {
    /// Looks for the helper in absolute folders. Its name comes from a file and becomes a program's, so that it must
    /// be a plain word.
    pub(super) fn find(name: &str, folders: &[PathBuf]) -> Result<Self, HelperError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(HelperError::Name(name.chars().take(80).collect()));
        }
        let file = format!("docker-credential-{name}{}", std::env::consts::EXE_SUFFIX);
        let program = folders.iter().map(|folder| folder.join(&file)).find(|program| is_program(program));
        let program = program.ok_or_else(|| HelperError::Missing(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), program, patience: PATIENCE })
    }

    /// Asks for the login of `server`, docker's word for `host`.
    pub(super) fn get(&self, server: &str, host: &Host) -> Result<HelperAnswer, HelperError> {
        let Some(output) = self.ask("get", server, server.as_bytes())? else {
            return Ok(HelperAnswer::NotFound);
        };
        understand(&output, host).map_err(|why| HelperError::Answer {
            name: self.name.clone(),
            server: server.to_owned(),
            why,
        })
    }

    /// Gives it a login to keep.
    pub(super) fn store(&self, server: &str, user: &str, password: &Secret) -> Result<(), HelperError> {
        #[derive(Serialize)]
        struct Login<'a> {
            #[serde(rename = "ServerURL")]
            server: &'a str,
            #[serde(rename = "Username")]
            user: &'a str,
            #[serde(rename = "Secret")]
            secret: &'a str,
        }
        let login = Login { server, user, secret: password.reveal() };
        let input = Zeroizing::new(serde_json::to_vec(&login).expect("three texts are always JSON"));
        self.ask("store", server, &input).map(|_| ())
    }

    /// Lets it forget a login; false if it knows none.
    pub(super) fn erase(&self, server: &str, host: &Host) -> Result<bool, HelperError> {
        // Some helpers erase what is not there without a word, and one fails.
        if matches!(self.get(server, host)?, HelperAnswer::NotFound) {
            return Ok(false);
        }
        self.ask("erase", server, server.as_bytes()).map(|_| true)
    }

    /// What it is called in files.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its answer; none where it knows no such login.
    fn ask(&self, verb: &str, server: &str, input: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, HelperError> {
        let (name, server) = (self.name.clone(), server.to_owned());
        match self.run(verb, input) {
            Ok(Some((status, output))) if status.success() => Ok(Some(output)),
            Ok(Some((_, output))) if String::from_utf8_lossy(&output).trim() == NOT_FOUND => Ok(None),
            Ok(Some((status, _))) => Err(HelperError::Failed { name, server, status }),
            Ok(None) => Err(HelperError::Slow { name, server, seconds: self.patience.as_secs() }),
            Err(source) => Err(HelperError::Run { name, server, source }),
        }
    }

    /// Runs it to its end; none if it takes too long.
    fn run(&self, verb: &str, text: &[u8]) -> io::Result<Option<(ExitStatus, Zeroizing<Vec<u8>>)>> {
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let deadline = Instant::now() + self.patience;
        let mut input = child.stdin.take().expect("the child was given a pipe");
        let output = child.stdout.take().expect("the child was given a pipe");
        // One that does not read its input says what it has to say by its answer.
        let _ = input.write_all(text);
        drop(input);
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut read = Zeroizing::new(Vec::new());
            let outcome = output.take(MAX_ANSWER).read_to_end(&mut read).map(|_| read);
            // Nobody listens any more if it took too long.
            let _ = sender.send(outcome);
        });
        let Ok(output) = receiver.recv_timeout(self.patience) else {
            stop(&mut child);
            return Ok(None);
        };
        let Some(status) = wait_until(&mut child, deadline)? else {
            stop(&mut child);
            return Ok(None);
        };
        Ok(Some((status, output?)))
    }
}

/// Waits for a child that has closed its output, which ends at once as a rule.
fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn stop(child: &mut Child) {
    // It may have ended by itself in the meantime.
    let _ = child.kill();
    let _ = child.wait();
}

fn understand(output: &[u8], host: &Host) -> Result<HelperAnswer, &'static str> {
    let wire: Wire = serde_json::from_slice(output).map_err(|_| "it is not the JSON it should be")?;
    if !wire.server.is_empty() {
        let plain = wire.server.trim_start_matches("https://").trim_start_matches("http://");
        let named: Option<Host> = plain.split('/').next().and_then(|name| name.parse().ok());
        if named.as_ref() != Some(host) {
            return Err("it is for another server");
        }
    }
    if wire.secret.reveal().is_empty() {
        return Ok(HelperAnswer::NotFound);
    }
    Ok(HelperAnswer::Login(credential(&wire.user, wire.secret)))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

#[cfg(all(test, unix))] // helpers that are shell scripts
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    /// A helper that is a shell script.
    fn helper(script: &str) -> (tempfile::TempDir, Helper) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("docker-credential-test");
        // Written by another process: a file that this one has open for writing cannot be run while any thread forks.
        let mut writer = Command::new("tee").arg(&program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        write!(writer.stdin.take().unwrap(), "#!/bin/sh\n{script}\n").unwrap();
        assert!(writer.wait().unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut helper = Helper::find("test", &[folder.path().to_owned()]).unwrap();
        helper.patience = Duration::from_secs(5);
        (folder, helper)
    }

    fn ask(script: &str) -> Result<HelperAnswer, HelperError> {
        let (_folder, helper) = helper(script);
        helper.get("reg.corp", &"reg.corp".parse().unwrap())
    }

    #[test]
    fn a_helper_gets_the_server_and_gives_the_login() {
        let answer = ask(r#"read server; echo "{\"ServerURL\":\"$server\",\"Username\":\"$1\",\"Secret\":\"pw\"}""#);
        let Ok(HelperAnswer::Login(Credential::Basic { user, password })) = answer else { panic!("no login") };
        assert_eq!((user.as_str(), password.reveal()), ("get", "pw"));
        let answer = ask(r#"echo '{"ServerURL":"https://reg.corp","Username":"<token>","Secret":"t"}'"#);
        assert!(matches!(answer, Ok(HelperAnswer::Login(Credential::IdentityToken(_)))));
    }

    #[test]
    fn a_07_only_not_found_continues_the_search() {
        let not_found = ask("echo credentials not found in native keychain; exit 1");
        assert!(matches!(not_found, Ok(HelperAnswer::NotFound)));
        for (script, kind) in [
            ("echo locked; exit 1", "failed for `reg.corp`"),
            ("echo CANARY", "no usable answer"),
            (r#"echo '{"ServerURL":"evil.corp","Username":"u","Secret":"CANARY"}'"#, "another server"),
            (r#"echo '{"Username":"u"}'"#, "no usable answer"),
            ("kill -9 $$", "failed for"),
        ] {
            let error = ask(script).err().unwrap_or_else(|| panic!("{script}"));
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(kind) && !shown.contains("CANARY"), "{script}: {shown}");
            assert!(error.help().unwrap().contains("docker-credential-test get"), "{script}");
        }
    }

    #[test]
    fn sec_14_a_helper_that_hangs_is_ended() {
        let (_folder, mut helper) = helper("exec sleep 1000");
        helper.patience = Duration::from_millis(200);
        let error = helper.get("reg.corp", &"reg.corp".parse().unwrap()).err().unwrap();
        assert!(matches!(error, HelperError::Slow { .. }), "{error}");
    }

    #[test]
    fn sec_15_a_helpers_name_is_a_plain_word() {
        for name in ["", "../test", "a/b", "a b", "a\0", "a;b", ".", &"a".repeat(65)] {
            assert!(matches!(Helper::find(name, &["/bin".into()]), Err(HelperError::Name(_))), "{name:?}");
        }
        assert!(matches!(Helper::find("none", &["/nonexistent".into()]), Err(HelperError::Missing(_))));
    }
}
