//! The form of docker's `config.json` and podman's `auth.json`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::failure::{ErrorClass, Failure};
use crate::oci::{Host, Repository};
use crate::registry::credentials::{AuthFile, Credential};
use crate::registry::secret::Secret;

/// The largest file of a person with hundreds of logins is far below.
const MAX_FILE: u64 = 1024 * 1024;
/// Docker writes this user's name beside a refresh token.
const TOKEN_USER: &str = "<token>";
/// Docker pads; others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a login file says, its keys in one form.
#[derive(Default)]
pub(super) struct AuthConfig {
    entries: BTreeMap<String, Entry>,
    helpers: BTreeMap<String, String>,
    general_helper: Option<String>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    general_helper: Option<String>,
}

#[derive(Deserialize, Default)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
}

/// The keys under which a repository's login may stand: from its full name over its namespaces to its host.
pub(super) fn scopes_of(repository: &Repository) -> Vec<String> {
    let full = repository.to_string();
    let ends = full.match_indices('/').map(|(at, _)| at).chain([full.len()]);
    let mut scopes: Vec<String> = ends.map(|end| full[..end].to_owned()).collect();
    scopes.reverse();
    scopes
}

/// One form for the ways in which keys are written: `https://index.docker.io/v1/` and `docker.io` are one. A key
/// that names no host is none.
pub(super) fn scope_of_key(key: &str) -> Option<String> {
    let (plain, address) = match key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")) {
        Some(rest) => (rest, true),
        None => (key, false),
    };
    let (host, path) = plain.split_once('/').unwrap_or((plain, ""));
    let host: Host = host.parse().ok()?;
    let path = path.trim_end_matches('/');
    // A path behind a scheme, or the API's own, is part of an address and not a namespace.
    if path.is_empty() || address || matches!(path, "v1" | "v2") {
        Some(host.to_string())
    } else {
        Some(format!("{host}/{path}"))
    }
}

impl AuthConfig {
    pub(super) fn read(file: &AuthFile) -> Result<Self, Failure> {
        match file {
            AuthFile::Required(path) => {
                Self::parse(&file.name(), read(path).map_err(|error| unreadable(path, &error))?.as_bytes())
            }
            AuthFile::Usual(path) => match read(path) {
                Ok(text) => Self::parse(&file.name(), text.as_bytes()),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    Ok(Self::default())
                }
                Err(error) => Err(unreadable(path, &error)),
            },
            AuthFile::Text { name, json } => Self::parse(name, json.reveal().as_bytes()),
        }
    }

    fn parse(name: &str, json: &[u8]) -> Result<Self, Failure> {
        if json.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        // The parser's own message would repeat what stands in the file.
        let file: Wire = serde_json::from_slice(json).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Failure::new(ErrorClass::Input, format!("the login file `{name}` is not as it should be at {place}"))
                .with_help("correct it, or move it away and log in again")
        })?;
        // Of two keys that mean the same, the plain one counts: it sorts behind none with a scheme.
        let named = |key: String| scope_of_key(&key).map(|scope| (key.contains("://"), scope));
        let mut entries = BTreeMap::new();
        for (key, entry) in file.auths {
            if let Some((address, scope)) = named(key)
                && !(address && entries.contains_key(&scope))
            {
                entries.insert(scope, entry);
            }
        }
        let helpers = file.helpers.into_iter().filter_map(|(key, name)| Some((scope_of_key(&key)?, name))).collect();
        Ok(Self { entries, helpers, general_helper: file.general_helper.filter(|name| !name.is_empty()) })
    }

    pub(super) fn helper_for(&self, scope: &str) -> Option<&str> {
        self.helpers.get(scope).map(String::as_str)
    }

    pub(super) fn general_helper(&self) -> Option<&str> {
        self.general_helper.as_deref()
    }

    /// The login that stands under a key. Docker leaves empty entries where a helper keeps the login.
    pub(super) fn entry(&self, scope: &str) -> Result<Option<Credential>, &'static str> {
        self.entries.get(scope).map_or(Ok(None), Entry::credential)
    }
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, &'static str> {
        let filled = |secret: &&Secret| !secret.reveal().is_empty();
        if let Some(token) = self.identitytoken.as_ref().filter(filled) {
            return Ok(Some(Credential::IdentityToken(token.clone())));
        }
        if let Some(auth) = self.auth.as_ref().filter(filled) {
            return decoded(auth).map(Some);
        }
        match (&self.username, &self.password) {
            (Some(user), Some(password)) if !user.is_empty() => Ok(Some(credential(user, password.clone()))),
            _ => Ok(None),
        }
    }
}

fn decoded(auth: &Secret) -> Result<Credential, &'static str> {
    let bytes = BASE64.decode(auth.reveal().trim()).map(Zeroizing::new).map_err(|_| "its `auth` is not base64")?;
    let pair = std::str::from_utf8(&bytes).map_err(|_| "its `auth` is not text")?;
    let (user, password) = pair.split_once(':').ok_or("its `auth` is not `user:password`")?;
    // Docker's own reader drops these too.
    Ok(credential(user, Secret::new(password.trim_matches('\0'))))
}

/// A pair as files and helpers have it; a certain user's name says that the password is a refresh token.
pub(super) fn credential(user: &str, password: Secret) -> Credential {
    if user == TOKEN_USER {
        Credential::IdentityToken(password)
    } else {
        Credential::Basic { user: user.to_owned(), password }
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(ErrorClass::Input, format!("failed to read the login file `{}`: {error}", path.display()))
        .with_help(format!("look at it: `ls -l {}`; logins are written by `octobundle login HOST`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::credentials::{AuthFiles, CredentialStore};

    fn store(json: &str) -> AuthFiles {
        AuthFiles::new(vec![AuthFile::Text { name: "test".into(), json: Secret::new(json) }], Vec::new())
    }

    fn user(json: &str, repository: &str) -> Option<String> {
        let found = store(json).lookup(&repository.parse().unwrap()).unwrap()?;
        match found.credential {
            Credential::Basic { user, password } => Some(format!("{user}:{}", password.reveal())),
            Credential::IdentityToken(token) => Some(format!("token:{}", token.reveal())),
        }
    }

    fn pair(text: &str) -> String {
        base64::prelude::BASE64_STANDARD.encode(text)
    }

    #[test]
    fn the_most_specific_namespace_wins() {
        let json = format!(
            r#"{{"auths": {{"reg.corp": {{"auth": "{}"}}, "reg.corp/a": {{"auth": "{}"}}, "reg.corp/a/b": {{"auth": "{}"}}}}}}"#,
            pair("host:1"),
            pair("a:2"),
            pair("b:3")
        );
        for (repository, expected) in [
            ("reg.corp/a/b", Some("b:3")),
            ("reg.corp/a/b/c", Some("b:3")),
            ("reg.corp/a/bb", Some("a:2")),
            ("reg.corp/x", Some("host:1")),
            ("reg.corp:5000/a", None),
        ] {
            assert_eq!(user(&json, repository).as_deref(), expected, "{repository}");
        }
    }

    #[test]
    fn sec_17_only_the_very_host_matches() {
        let json = format!(r#"{{"auths": {{"registry.local": {{"auth": "{}"}}}}}}"#, pair("u:p"));
        for repository in [
            "evil-registry.local/a",
            "registry.local.evil/a",
            "a.registry.local/a",
            "registry.local:5000/a",
            "docker.io/registry.local/a",
        ] {
            assert_eq!(user(&json, repository), None, "{repository}");
        }
        assert!(user(&json, "registry.local/a").is_some());
    }

    #[test]
    fn docker_hubs_names_are_one_host() {
        for key in [
            "https://index.docker.io/v1/",
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
            "https://registry-1.docker.io",
        ] {
            let json = format!(r#"{{"auths": {{"{key}": {{"auth": "{}"}}}}}}"#, pair("hub:pw:with:colons"));
            assert_eq!(user(&json, "redis").as_deref(), Some("hub:pw:with:colons"), "{key}");
        }
    }

    #[test]
    fn entries_of_all_forms_are_read() {
        let unpadded = pair("u:pw").trim_end_matches('=').to_owned();
        for (entry, expected) in [
            (format!(r#"{{"auth": "{unpadded}"}}"#), Some("u:pw")),
            (r#"{"username": "u", "password": "pw"}"#.into(), Some("u:pw")),
            (r#"{"username": "u", "identitytoken": "t"}"#.into(), Some("token:t")),
            (format!(r#"{{"auth": "{}"}}"#, pair("<token>:t")), Some("token:t")),
            ("{}".into(), None),
            (r#"{"auth": "", "email": "x"}"#.into(), None),
        ] {
            let json = format!(r#"{{"auths": {{"https://reg.corp": {entry}}}, "currentContext": "x"}}"#);
            assert_eq!(user(&json, "reg.corp/a").as_deref(), expected, "{entry}");
        }
    }

    #[test]
    fn a_broken_file_is_named_and_not_shown() {
        for json in [
            r#"{"auths": {"reg.corp": {"auth": "Q0FOQVJZCANARY!"}}}"#,
            r#"{"auths": {"reg.corp": "CANARY"}}"#,
            r#"{"auths": "CANARY"}"#,
            r#"{"auths": {"reg.corp": {"auth": "CANARY"#,
        ] {
            let failure = store(json).lookup(&"reg.corp/a".parse().unwrap()).err().unwrap();
            let shown = format!("{failure} {failure:?} {:?}", failure.help());
            assert!(shown.contains("`test`") && !shown.contains("CANARY"), "{shown}");
        }
    }

    #[test]
    fn a_named_file_has_to_be_there_and_a_usual_one_not() {
        let repository = "reg.corp/a".parse().unwrap();
        let missing = std::path::PathBuf::from("/nonexistent/auth.json");
        assert!(
            AuthFiles::new(vec![AuthFile::Usual(missing.clone())], Vec::new()).lookup(&repository).unwrap().is_none()
        );
        let failure = AuthFiles::new(vec![AuthFile::Required(missing)], Vec::new()).lookup(&repository).err().unwrap();
        assert!(failure.to_string().contains("/nonexistent/auth.json"), "{failure}");
    }
}
