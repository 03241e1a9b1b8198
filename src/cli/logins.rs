//! Where logins are looked for, and in which order: docker's files before podman's, the first file that has a login
//! for the repository wins.

use std::path::{Path, PathBuf};

use octobundle::failure::Failure;
use octobundle::oci::Repository;
use octobundle::registry::{AuthFile, AuthFiles, CredentialStore, Found, Secret};

use crate::cli::settings::Environment;
use crate::cli::sourced::{Origin, Sourced};

/// The login files in their order. A file that was named with a flag is the only one.
pub(crate) fn login_files(flag: Option<&Path>, environment: &Environment) -> Vec<Sourced<AuthFile>> {
    if let Some(path) = flag {
        return vec![Sourced::flag("--authfile", AuthFile::Required(path.into()))];
    }
    let variables = &environment.auth_files;
    let own = variables.octobundle.clone().map(AuthFile::Required);
    // podman's own variable may name a file that its next login makes.
    let podman = variables.registry.clone().map(AuthFile::Usual);
    let text = variables.docker_json.clone();
    let text = text.map(|json| AuthFile::Text { name: "DOCKER_AUTH_CONFIG".into(), json: Secret::new(json) });
    let named =
        [("OCTOBUNDLE_AUTHFILE", own), ("REGISTRY_AUTH_FILE", podman), ("DOCKER_AUTH_CONFIG", text)].into_iter();
    let named = named.filter_map(|(name, file)| Some(Sourced::environment(name, file?)));
    let usual = usual_files(environment).map(|path| Sourced::default(AuthFile::Usual(path)));
    named.chain(usual).collect()
}

fn usual_files(environment: &Environment) -> impl Iterator<Item = PathBuf> {
    let podman = |folder: PathBuf| folder.join("containers/auth.json");
    let all = [
        environment.docker_config_file(),
        environment.runtime_dir.clone().map(podman),
        environment.config_folder().map(podman),
    ];
    all.into_iter().flatten()
}

/// The store of a run: says at `-v` which login is used.
pub(crate) fn login_store(files: Vec<Sourced<AuthFile>>, environment: &Environment) -> impl CredentialStore + use<> {
    let files = files.into_iter().map(|file| file.value).collect();
    Told(AuthFiles::new(files, environment.program_folders()))
}

/// The file that `login` writes: the named one, or docker's.
pub(crate) fn login_target(flag: Option<&Path>, environment: &Environment) -> Option<Sourced<PathBuf>> {
    if let Some(path) = flag {
        return Some(Sourced::flag("--authfile", path.into()));
    }
    if let Some(path) = environment.auth_files.octobundle.clone() {
        return Some(Sourced::environment("OCTOBUNDLE_AUTHFILE", path));
    }
    environment.docker_config_file().map(|value| Sourced { value, origin: Origin::Default })
}

struct Told<S>(S);

impl<S: CredentialStore> CredentialStore for Told<S> {
    fn lookup(&self, repository: &Repository) -> Result<Option<Found>, Failure> {
        let found = self.0.lookup(repository)?;
        let origin = found.as_ref().map_or("none found, asking as nobody", |found| &found.origin);
        tracing::info!("login for `{repository}`: {origin}");
        Ok(found)
    }
}
