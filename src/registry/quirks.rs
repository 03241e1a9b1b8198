//! What certain registries mean by what they say, and what to do about it there.
//!
//! The words are those of the products' own answers; they change, so each row only adds a next step and decides
//! nothing. What a name alone decides stands below them.

use crate::oci::Host;
use crate::registry::error::RegistryError;

/// Words of an answer and the next step that they call for.
struct Quirk {
    /// All of these stand in the answer, in any letter case.
    words: &'static [&'static str],
    /// The next step; `HOST` stands for the registry's name.
    step: &'static str,
}

/// The first row that fits counts.
const QUIRKS: [Quirk; 16] = [
    // Harbor
    Quirk {
        words: &["unauthorized to access repository"],
        step: "the login is missing or lacks this right, or the project does not exist; the names of Harbor's robots hold a `$`, which shells replace unless the name stands in single quotes",
    },
    Quirk {
        words: &["project", "not found"],
        step: "create the project first: in Harbor the first part of a path is a project",
    },
    Quirk {
        words: &["proxy project"],
        step: "name another project in `--registry HOST/PROJECT`: a proxy-cache project takes images from its source alone",
    },
    Quirk {
        words: &["exceed the configured upper limit"],
        step: "the project's quota is used up: have it raised, or have old images deleted and the garbage collected",
    },
    Quirk {
        words: &["configured as immutable"],
        step: "the project allows no tag to change: push below another path with `--registry HOST/PATH`, or have its rule of immutable tags lifted",
    },
    Quirk {
        words: &["projectpolicyviolation"],
        step: "the project hands out images only that are signed or free of known weaknesses: ask its owner for an exception",
    },
    // Amazon ECR
    Quirk {
        words: &["does not exist in the registry with id"],
        step: "create the repository first: `aws ecr create-repository --repository-name NAME`, or set up a creation template",
    },
    Quirk {
        words: &["authorization token has expired"],
        step: "log in again, since ECR's passwords last for 12 hours: `aws ecr get-login-password | octobundle login --username AWS --password-stdin HOST`",
    },
    Quirk {
        words: &["already exists", "immutable"],
        step: "the repository allows no tag to change: push below another path with `--registry HOST/PATH`, or have tag immutability turned off",
    },
    // Sonatype Nexus
    Quirk {
        words: &["does not allow updating"],
        step: "Nexus allows no tag to change there: set the repository's deployment policy to `allow redeploy`, or push into another one",
    },
    Quirk {
        words: &["deploying to groups"],
        step: "a group takes no images: push into a hosted repository, with `--registry HOST/REPOSITORY` or at the port of its own",
    },
    Quirk {
        words: &["nexus"],
        step: "Nexus serves images at `HOST/REPOSITORY`, at a port or at a name of the repository's own: try `--registry HOST/REPOSITORY`, or ask for the connector's port; the Docker Bearer Token Realm has to be active",
    },
    // JFrog Artifactory
    Quirk {
        words: &["default deployment"],
        step: "give the virtual repository a default deployment repository, or push into a local one: `--registry HOST/REPOSITORY`",
    },
    // GitLab, whose only word this is, and token servers in general
    Quirk {
        words: &["insufficient_scope"],
        step: "ask for the right to this repository: the login itself was taken; in GitLab a name is GROUP/PROJECT, which must exist, with at most two parts below",
    },
    // Quay, old Harbor and DTR
    Quirk {
        words: &["manifest_invalid"],
        step: "this registry takes no image of this form: pull again with `--platform linux/amd64`, which leaves indexes and attestations out; Quay's own setting is FEATURE_GENERAL_OCI_SUPPORT",
    },
    Quirk {
        words: &["manifest", "unsupported"],
        step: "this registry takes no image of this form: pull again with `--platform linux/amd64`, which leaves indexes and attestations out",
    },
];

/// Registries that take a blob in one request only: GitHub's damages what comes in several parts, Google's refuses it.
const WHOLE_ONLY: [&str; 4] = ["ghcr.io", "gcr.io", ".gcr.io", ".pkg.dev"];

/// Whether blobs may be sent to this registry in parts, as far as its name tells.
pub(super) fn takes_parts(host: &Host) -> bool {
    let name = host.as_str();
    !WHOLE_ONLY.iter().any(|known| if known.starts_with('.') { name.ends_with(known) } else { name == *known })
}

/// The next step for what a registry said, where its words are known.
pub(super) fn step(error: &RegistryError) -> Option<String> {
    let said = match error {
        RegistryError::LoginMissing { said, .. }
        | RegistryError::LoginRefused { said, .. }
        | RegistryError::Denied { said, .. }
        | RegistryError::NotFound { said, .. }
        | RegistryError::Status { said, .. } => said.to_lowercase(),
        RegistryError::Page { status: 400..=499, title, server, .. } => format!("{title} {server}").to_lowercase(),
        _ => return None,
    };
    let known = QUIRKS.iter().find(|quirk| quirk.words.iter().all(|word| said.contains(word)))?;
    Some(known.step.replace("HOST", &error.host()))
}
