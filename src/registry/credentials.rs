//! Logins and where they come from.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use crate::failure::{ErrorClass, Failure};
use crate::oci::{Host, Repository};
use crate::registry::auth_file::{AuthConfig, scopes_of};
use crate::registry::helper::{Helper, HelperAnswer};
use crate::registry::secret::Secret;
use crate::registry::sync::lock;

/// A login for a registry.
#[derive(Clone)]
pub enum Credential {
    /// User and password, or a token in the password's place.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token: the token server gives out access tokens for it (`OAuth2`).
    IdentityToken(Secret),
}

/// A login with the place it was found in.
#[derive(Clone)]
pub struct Found {
    /// The login.
    pub credential: Credential,
    /// File and entry, or helper, for messages; never the secret.
    pub origin: String,
}

/// Someone who knows logins.
pub trait CredentialStore: Send + Sync {
    /// The login for a repository; none means anonymous. May read files and run helpers: called where blocking is
    /// allowed, and once per repository and run.
    fn lookup(&self, repository: &Repository) -> Result<Option<Found>, Failure>;
}

/// Knows no login.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl CredentialStore for Anonymous {
    fn lookup(&self, _: &Repository) -> Result<Option<Found>, Failure> {
        Ok(None)
    }
}

/// A login file in docker's or podman's form, or its text.
#[derive(Clone)]
pub enum AuthFile {
    /// A file that was named by the user: it has to be there.
    Required(PathBuf),
    /// A file in a usual place: skipped where it does not exist.
    Usual(PathBuf),
    /// The text itself, as `DOCKER_AUTH_CONFIG` has it.
    Text {
        /// Where it came from, for messages.
        name: String,
        /// The JSON.
        json: Secret,
    },
}

/// Login files, asked in their order; the first that has a login for the repository wins. Inside a file: credential
/// helpers of the host, then entries from the most specific namespace to the host, then the file's general helper.
pub struct AuthFiles {
    files: Vec<(AuthFile, OnceLock<Arc<AuthConfig>>)>,
    helper_folders: Vec<PathBuf>,
    answers: Mutex<HashMap<(String, String), Option<Credential>>>,
}

impl AuthFiles {
    /// Files in the order in which they are asked. Helper programs are looked for in `helper_folders`, which are those
    /// of `PATH`; relative ones are left out.
    pub fn new(files: Vec<AuthFile>, helper_folders: Vec<PathBuf>) -> Self {
        let files = files.into_iter().map(|file| (file, OnceLock::new())).collect();
        let helper_folders = helper_folders.into_iter().filter(|folder| folder.is_absolute()).collect();
        Self { files, helper_folders, answers: Mutex::default() }
    }

    fn in_file(&self, name: &str, config: &AuthConfig, repository: &Repository) -> Result<Option<Found>, Failure> {
        let scopes = scopes_of(repository);
        if let Some(helper) = scopes.iter().find_map(|scope| config.helper_for(scope))
            && let Some(found) = self.ask_helper(name, helper, &repository.host)?
        {
            return Ok(Some(found));
        }
        for scope in &scopes {
            if let Some(credential) = config.entry(scope).map_err(|why| bad_entry(name, scope, why))? {
                return Ok(Some(Found { credential, origin: format!("`{name}`, entry `{scope}`") }));
            }
        }
        match config.general_helper() {
            Some(helper) => self.ask_helper(name, helper, &repository.host),
            None => Ok(None),
        }
    }

    fn ask_helper(&self, file: &str, helper: &str, host: &Host) -> Result<Option<Found>, Failure> {
        let server = if host.is_docker_hub() { "https://index.docker.io/v1/" } else { host.as_str() };
        let key = (helper.to_owned(), server.to_owned());
        let mut answers = lock(&self.answers);
        // Held while the helper runs: one that asks for a password on the screen should ask once.
        let credential = if let Some(known) = answers.get(&key) {
            known.clone()
        } else {
            let helper = Helper::find(helper, &self.helper_folders)
                .map_err(|error| Failure::from(error).within(format!("failed to get a login as `{file}` says")))?;
            let answer = match helper.get(server, host)? {
                HelperAnswer::Login(credential) => Some(credential),
                HelperAnswer::NotFound => None,
            };
            answers.insert(key, answer.clone());
            answer
        };
        let origin = || format!("the credential helper `{helper}` named in `{file}`");
        Ok(credential.map(|credential| Found { credential, origin: origin() }))
    }
}

impl CredentialStore for AuthFiles {
    fn lookup(&self, repository: &Repository) -> Result<Option<Found>, Failure> {
        for (file, read) in &self.files {
            let config = if let Some(config) = read.get() {
                config.clone()
            } else {
                let config = Arc::new(AuthConfig::read(file)?);
                read.get_or_init(|| config).clone()
            };
            if let Some(found) = self.in_file(&file.name(), &config, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl AuthFile {
    /// Its name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Required(path) | Self::Usual(path) => path.display().to_string(),
            Self::Text { name, .. } => name.clone(),
        }
    }
}

fn bad_entry(file: &str, scope: &str, why: &str) -> Failure {
    Failure::new(ErrorClass::Input, format!("the entry `{scope}` of `{file}` cannot be used: {why}"))
        .with_help("log in again, which writes the entry anew: `octobundle login HOST`")
}
