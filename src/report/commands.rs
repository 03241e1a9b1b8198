//! What to type next, for the reader of a report.

use std::path::Path;

use crate::failure::typed;
use crate::images::Lock;
use crate::plan::{MirrorMap, Target};
use crate::report::{BundleFacts, Commands, DeltaFacts};

const AGENT_ROLE: &str = "agent";

/// How to check the bundle, and how to use it here or from a registry. A bundle in volumes is read as what they are
/// together.
pub(super) fn commands(
    lock: &Lock,
    bundle: &BundleFacts,
    delta: Option<&DeltaFacts>,
    private: Option<(&Target, &MirrorMap)>,
) -> Vec<Commands> {
    let word = typed(Path::new(&bundle.file));
    let sums = typed(Path::new(&bundle.sums));
    let in_volumes = bundle.volumes > 0;
    let with_file = |command: &str, option: &str| {
        if in_volumes { format!("cat {word}.[0-9][0-9][0-9] | {command}") } else { format!("{command}{option} {word}") }
    };
    let print_sums = if in_volumes {
        format!("cat {word}.[0-9][0-9][0-9] | tar -xOf - SHA256SUMS | sha256sum")
    } else {
        format!("tar -xOf {word} SHA256SUMS | sha256sum")
    };
    let mut all = vec![
        Commands {
            purpose: "Check the file",
            note: Some("Each says by itself whether it is whole; the first needs nothing but coreutils.".into()),
            lines: vec![format!("sha256sum -c {sums}"), format!("octobundle verify {word}")],
        },
        Commands {
            purpose: "Check that it is the bundle of this report",
            note: Some(format!("It prints the id above, without its first word: {}", bundle.id.hex())),
            lines: vec![print_sums],
        },
        match delta {
            None => Commands {
                purpose: "Load it on one host",
                note: None,
                lines: vec![
                    format!("octobundle load {word}"),
                    with_file("docker load", " -i"),
                    with_file("podman load", " -i"),
                ],
            },
            Some(delta) => Commands {
                purpose: "Load it on one host",
                note: Some(format!(
                    "It is a delta: OLD is the bundle of {}, without which neither docker nor podman can load it.",
                    delta.name
                )),
                lines: vec![format!("octobundle load {word} --base OLD")],
            },
        },
    ];
    if let Some((target, names)) = private {
        all.extend(from_registry(lock, &word, target, names));
    }
    all
}

fn from_registry(lock: &Lock, word: &str, target: &Target, names: &MirrorMap) -> Vec<Commands> {
    let pulls = lock.images.iter().filter_map(|image| {
        let name = names.target_of(&image.name)?;
        Some(format!("docker pull {}@{}", name.repository(), image.root.digest))
    });
    let mut all = vec![
        Commands {
            purpose: "Send it to the registry",
            note: None,
            lines: vec![format!("octobundle push {word} --registry {target}")],
        },
        Commands {
            purpose: "Pull from the registry, pinned",
            note: Some("A digest names exactly the bytes of this report. podman pull takes the same names.".into()),
            lines: pulls.collect(),
        },
    ];
    if lock.images.iter().any(|image| image.role == AGENT_ROLE) {
        all.push(Commands {
            purpose: "Start an agent",
            note: Some("Prints the docker run line and writes the token into a file of mode 0600; fill in the words in capitals.".into()),
            lines: vec![format!(
                "octobundle render agent {word} --registry {target} --server-url https://SERVER --name NAME --token-file FILE"
            )],
        });
    }
    all
}
