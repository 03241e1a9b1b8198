//! Logins written where docker would write them: into a credential helper where one is configured, else into the file
//! itself. What else stands in the file stays as it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Serialize as _;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::content::{Readers, folder_of, write_whole};
use crate::failure::{ErrorClass, Failure};
use crate::oci::Host;
use crate::registry::auth_file::scope_of_key;
use crate::registry::helper::Helper;
use crate::registry::secret::Secret;

/// The limit that reading has too.
const MAX_FILE: u64 = 1024 * 1024;

/// A login file in docker's form, to be written.
pub struct LoginFile {
    path: PathBuf,
    helper_folders: Vec<PathBuf>,
}

/// Where a login was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In this helper's care.
    Helper(String),
    /// In the file, in base64, which anyone who may read the file can undo.
    Plainly,
}

impl LoginFile {
    /// The file at `path`, which may not be there yet. Helper programs are looked for in `helper_folders`; relative
    /// ones are left out.
    pub fn new(path: PathBuf, helper_folders: Vec<PathBuf>) -> Self {
        // What a link points to is written, not the link.
        let path = fs::canonicalize(&path).unwrap_or(path);
        Self { path, helper_folders: helper_folders.into_iter().filter(|folder| folder.is_absolute()).collect() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a login for `host` in place of an older one. The file gets mode 0600 and appears in one step.
    pub fn keep(&self, host: &Host, user: &str, password: &Secret) -> Result<Kept, Failure> {
        let mut file = self.read()?;
        let key = key_of(host);
        let helper = self.helper(&file, host)?;
        let entry = if let Some(helper) = &helper {
            helper.store(key, user, password)?;
            json!({})
        } else {
            let pair = Zeroizing::new(format!("{user}:{}", password.reveal()));
            json!({ "auth": base64::prelude::BASE64_STANDARD.encode(pair.as_bytes()) })
        };
        let auths = self.auths(&mut file)?;
        remove(auths, host);
        auths.insert(key.to_owned(), entry);
        self.write(&file)?;
        Ok(helper.map_or(Kept::Plainly, |helper| Kept::Helper(helper.name().to_owned())))
    }

    /// Forgets the logins for `host`; false if there was none.
    pub fn forget(&self, host: &Host) -> Result<bool, Failure> {
        let mut file = self.read()?;
        let erased = match self.helper(&file, host)? {
            Some(helper) => helper.erase(key_of(host), host)?,
            None => false,
        };
        let auths = self.auths(&mut file)?;
        let before = auths.len();
        remove(auths, host);
        let removed = auths.len() < before;
        if removed {
            self.write(&file)?;
        }
        Ok(erased || removed)
    }

    fn helper(&self, file: &Map<String, Value>, host: &Host) -> Result<Option<Helper>, Failure> {
        let of_host = file.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
            let own = helpers.iter().find(|(key, _)| is_for(key, host));
            own.and_then(|(_, name)| name.as_str())
        });
        let general = || file.get("credsStore").and_then(Value::as_str);
        let Some(name) = of_host.or_else(general).filter(|name| !name.is_empty()) else { return Ok(None) };
        let helper = Helper::find(name, &self.helper_folders).map_err(|error| {
            Failure::from(error).within(format!("failed to keep a login as `{}` says", self.path.display()))
        })?;
        Ok(Some(helper))
    }

    fn auths<'a>(&self, file: &'a mut Map<String, Value>) -> Result<&'a mut Map<String, Value>, Failure> {
        let auths = file.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        auths.as_object_mut().ok_or_else(|| self.malformed("`auths` is no object"))
    }

    fn read(&self) -> Result<Map<String, Value>, Failure> {
        let text = match read_limited(&self.path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(self.failed("read", &error)),
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Map::new());
        }
        // The parser's own message would repeat what stands in the file.
        serde_json::from_slice(&text)
            .map_err(|error| self.malformed(&format!("line {}, column {}", error.line(), error.column())))
    }

    fn malformed(&self, place: &str) -> Failure {
        let what = format!("the login file `{}` is not as it should be: {place}", self.path.display());
        let path = self.path.display();
        Failure::new(ErrorClass::Input, what)
            .with_help(format!("correct it, or move it away and log in again: `mv {path} {path}.old`"))
    }

    fn failed(&self, verb: &str, error: &io::Error) -> Failure {
        let what = format!("failed to {verb} the login file `{}`: {error}", self.path.display());
        Failure::new(ErrorClass::Disk, what).with_help("choose another file: `--authfile FILE`")
    }

    fn write(&self, file: &Map<String, Value>) -> Result<(), Failure> {
        self.write_whole(file).map_err(|error| self.failed("write", &error))
    }

    fn write_whole(&self, file: &Map<String, Value>) -> io::Result<()> {
        create_private(folder_of(&self.path))?;
        let mut text = Zeroizing::new(Vec::new());
        // With tabs, as docker writes it: who compares the file sees what changed.
        let form = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        file.serialize(&mut serde_json::Serializer::with_formatter(&mut *text, form))?;
        write_whole(&self.path, &text, Readers::Owner)
    }
}

/// Docker's key for a host.
fn key_of(host: &Host) -> &str {
    if host.is_docker_hub() { "https://index.docker.io/v1/" } else { host.as_str() }
}

fn is_for(key: &str, host: &Host) -> bool {
    scope_of_key(key).as_deref() == Some(host.as_str())
}

/// Removes all spellings of `host`, since readers take any of them; entries of its namespaces stay.
fn remove(auths: &mut Map<String, Value>, host: &Host) {
    auths.retain(|key, _| !is_for(key, host));
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut text = Vec::new();
    fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(text)
}

#[cfg(unix)]
fn create_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn create_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(before: &str, host: &str) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, before).unwrap();
        let file = LoginFile::new(path.clone(), Vec::new());
        assert_eq!(file.keep(&host.parse().unwrap(), "me", &Secret::new("pw")).unwrap(), Kept::Plainly);
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn what_else_stands_in_the_file_stays() {
        let before = r#"{"HttpHeaders": {"a": "b"}, "auths": {"other.corp": {"auth": "eDp5"}}, "psFormat": "x"}"#;
        let after = keep(before, "reg.corp:5000");
        assert_eq!(
            after,
            json!({
                "HttpHeaders": {"a": "b"},
                "auths": {"other.corp": {"auth": "eDp5"}, "reg.corp:5000": {"auth": "bWU6cHc="}},
                "psFormat": "x",
            })
        );
    }

    #[test]
    fn other_spellings_of_the_host_are_replaced_and_its_namespaces_stay() {
        let before = r#"{"auths": {"https://reg.corp": {"auth": "old"}, "reg.corp/ns": {"auth": "bnM6bnM="}}}"#;
        let auths = keep(before, "reg.corp")["auths"].clone();
        assert_eq!(auths, json!({"reg.corp/ns": {"auth": "bnM6bnM="}, "reg.corp": {"auth": "bWU6cHc="}}));
        let hub = keep(r#"{"auths": {"docker.io": {"auth": "old"}}}"#, "docker.io")["auths"].clone();
        assert_eq!(hub, json!({"https://index.docker.io/v1/": {"auth": "bWU6cHc="}}));
    }

    #[test]
    fn a_file_that_is_not_understood_is_left_alone_and_not_shown() {
        for before in [r#"{"auths": "CANARY"}"#, r#"{"auths": {"a": "CANARY"#, "[\"CANARY\"]"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.json");
            fs::write(&path, before).unwrap();
            let file = LoginFile::new(path.clone(), Vec::new());
            let failure = file.keep(&"reg.corp".parse().unwrap(), "me", &Secret::new("pw")).err().unwrap();
            assert!(!format!("{failure} {:?}", failure.help()).contains("CANARY"), "{failure}");
            assert_eq!(fs::read_to_string(&path).unwrap(), before);
        }
    }
}
