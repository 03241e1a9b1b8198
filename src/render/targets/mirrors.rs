//! How a site's engines find the private registry when somebody asks for an image by its public name.

use std::collections::BTreeMap;

use minijinja::Value;

use crate::oci::Host;
use crate::render::answers::Answers;
use crate::render::error::RenderError;
use crate::render::images::PrivateImages;
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::template::{Template, text};
use crate::render::values::Certificates;

const REGISTRIES: Template<'_> =
    Template { name: "mirror-registries.conf", text: include_str!("../../../templates/mirror-registries.conf") };
const HOSTS: Template<'_> =
    Template { name: "mirror-hosts.toml", text: include_str!("../../../templates/mirror-hosts.toml") };
const DAEMON: Template<'_> =
    Template { name: "mirror-daemon.json", text: include_str!("../../../templates/mirror-daemon.json") };
const K3S: Template<'_> =
    Template { name: "mirror-k3s.yaml", text: include_str!("../../../templates/mirror-k3s.yaml") };

/// A public host, and the path in the private registry below which its images are.
struct Mirrored {
    host: Host,
    below: Option<String>,
}

pub(in crate::render) fn render(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let registry = images.target().registry().as_str();
    let mirrored = mirrored(images);
    let authority = answers.authority.as_ref().map(Certificates::as_str);
    let mut files = vec![RenderedFile::new(
        "containers/registries.conf.d/octoperf.conf",
        FileMode::Plain,
        registries_conf(registry, &mirrored)?,
    )];
    for one in &mirrored {
        let folder = format!("containerd/certs.d/{}", one.host);
        let toml = HOSTS.fill(&[
            ("host", text(one.host.as_str())),
            ("server", text(&format!("https://{registry}/v2{}", one.path()))),
            ("authority", Value::from(authority.is_some())),
        ])?;
        files.push(RenderedFile::new(format!("{folder}/hosts.toml"), FileMode::Plain, toml));
        files.extend(
            authority.map(|pem| RenderedFile::new(format!("{folder}/ca.crt"), FileMode::Plain, pem.to_owned())),
        );
    }
    let mut notes = vec![
        "Each file says at its top where it belongs; the folders are named after those below /etc.".to_owned(),
        "Logins stand in none of these files: log in on each host (`docker login`, `podman login`), or give Kubernetes a pull secret.".to_owned(),
    ];
    match mirrored.iter().find(|one| one.host.is_docker_hub()) {
        Some(Mirrored { below: None, .. }) => {
            let daemon = DAEMON.fill(&[("mirror", text(&format!("https://{registry}")))])?;
            files.push(RenderedFile::new("docker/daemon.json", FileMode::Plain, daemon));
            notes.push("docker knows mirrors for Docker Hub alone; add the line to the `daemon.json` that is there, and restart docker.".into());
        }
        _ => notes.push(
            "docker takes no mirror below a path, and none but for Docker Hub: with docker, name images as they are called in the registry.".into(),
        ),
    }
    files.push(RenderedFile::new(
        "rancher/k3s/registries.yaml",
        FileMode::Plain,
        k3s(registry, &mirrored, authority.is_some())?,
    ));
    if let Some(pem) = authority {
        for place in [
            "rancher/k3s/registry-ca.crt".to_owned(),
            format!("docker/certs.d/{registry}/ca.crt"),
            format!("containers/certs.d/{registry}/ca.crt"),
        ] {
            files.push(RenderedFile::new(place, FileMode::Plain, pem.to_owned()));
        }
    }
    Ok(Rendered { files, arguments: None, agent: None, images: Vec::new(), notes })
}

impl Mirrored {
    fn path(&self) -> String {
        self.below.as_ref().map_or_else(String::new, |below| format!("/{below}"))
    }
}

/// Where each public host's images are: what stands before an image's own path in its private name.
fn mirrored(images: &PrivateImages) -> Vec<Mirrored> {
    let below = |image: &crate::render::PrivateImage| {
        let (private, own) = (image.name.repository().name.as_str(), image.source.repository().name.as_str());
        let rest = private.strip_suffix(own)?;
        Some(rest.strip_suffix('/').map(str::to_owned))
    };
    let places: BTreeMap<Host, Option<String>> = images
        .iter()
        .filter(|image| image.source.repository().host != *images.target().registry())
        .filter_map(|image| Some((image.source.repository().host.clone(), below(image)?)))
        .collect();
    places.into_iter().map(|(host, below)| Mirrored { host, below }).collect()
}

fn registries_conf(registry: &str, mirrored: &[Mirrored]) -> Result<String, RenderError> {
    let entry = |one: &Mirrored| {
        let location = format!("{registry}{}", one.path());
        Value::from_pairs([("name", text(one.host.as_str())), ("location", text(&location))])
    };
    REGISTRIES.fill(&[("hosts", Value::from(mirrored.iter().map(entry).collect::<Vec<_>>()))])
}

fn k3s(registry: &str, mirrored: &[Mirrored], authority: bool) -> Result<String, RenderError> {
    let entry = |one: &Mirrored| {
        let rewrite = one.below.as_ref().map_or_else(String::new, |below| format!("{below}/$1"));
        Value::from_pairs([
            ("name", text(one.host.as_str())),
            ("below", Value::from(one.below.is_some())),
            ("rewrite", text(&rewrite)),
        ])
    };
    K3S.fill(&[
        ("hosts", Value::from(mirrored.iter().map(entry).collect::<Vec<_>>())),
        ("endpoint", text(&format!("https://{registry}"))),
        ("registry", text(registry)),
        ("authority", Value::from(authority)),
    ])
}
