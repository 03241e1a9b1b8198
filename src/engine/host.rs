//! What an engine tells of the machine that it runs on, and of what runs there.

use std::path::PathBuf;

use serde::Deserialize;

use crate::engine::answer::{cut, id};
use crate::oci::Digest;

/// The machine, as far as its engine tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineHost {
    /// Processors.
    pub processors: Option<u32>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Where the engine keeps images and containers.
    pub data_root: Option<PathBuf>,
    /// Whether the engine fetches through a proxy of its own.
    pub has_proxy: bool,
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningContainer {
    /// Its name.
    pub name: String,
    /// The image's name as it was started with; an id where that name has gone to another image since.
    pub image: String,
    /// The image's id.
    pub id: Option<Digest>,
}

/// Reads docker's `GET /info`, which podman answers too.
pub(super) fn of_docker(answer: &[u8]) -> Result<EngineHost, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Info {
        #[serde(rename = "NCPU", default)]
        processors: u32,
        #[serde(default)]
        mem_total: u64,
        #[serde(default)]
        docker_root_dir: String,
        #[serde(default)]
        http_proxy: String,
        #[serde(default)]
        https_proxy: String,
    }
    let info: Info = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    Ok(EngineHost {
        processors: (info.processors > 0).then_some(info.processors),
        memory: (info.mem_total > 0).then_some(info.mem_total),
        data_root: path(&info.docker_root_dir),
        has_proxy: !info.http_proxy.is_empty() || !info.https_proxy.is_empty(),
    })
}

/// Reads `podman info --format json`.
pub(super) fn of_podman(answer: &[u8]) -> Result<EngineHost, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Host {
        #[serde(default)]
        cpus: u32,
        #[serde(default)]
        mem_total: u64,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Store {
        #[serde(default)]
        graph_root: String,
    }
    #[derive(Deserialize)]
    struct Info {
        host: Host,
        store: Store,
    }
    let Info { host, store } = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    Ok(EngineHost {
        processors: (host.cpus > 0).then_some(host.cpus),
        memory: (host.mem_total > 0).then_some(host.mem_total),
        data_root: path(&store.graph_root),
        // The command has the environment of whoever runs it.
        has_proxy: false,
    })
}

/// Reads the list of running containers, which both engines write alike.
pub(super) fn containers(answer: &[u8]) -> Result<Vec<RunningContainer>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container {
        #[serde(default)]
        names: Option<Vec<String>>,
        #[serde(default)]
        image: String,
        #[serde(rename = "ImageID", default)]
        image_id: String,
    }
    let all: Vec<Container> = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    let told = |one: Container| RunningContainer {
        // docker writes names as paths; a link to a container is a second name of more parts.
        name: one.names.unwrap_or_default().first().map_or(String::new(), |name| cut(name.trim_start_matches('/'))),
        image: cut(&one.image),
        id: id(&one.image_id).ok(),
    };
    Ok(all.into_iter().map(told).collect())
}

fn path(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    path.is_absolute().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_engines_tell_of_their_machine() {
        let docker = br#"{"NCPU":2,"MemTotal":8000,"DockerRootDir":"/var/lib/docker","HttpsProxy":"http://px:1"}"#;
        let podman = br#"{"host":{"cpus":2,"memTotal":8000,"os":"linux"},"store":{"graphRoot":"/var/lib/docker"}}"#;
        let expected = EngineHost {
            processors: Some(2),
            memory: Some(8000),
            // On Windows that is no folder of this machine.
            data_root: cfg!(unix).then(|| "/var/lib/docker".into()),
            has_proxy: true,
        };
        assert_eq!(of_docker(docker), Ok(expected.clone()));
        assert_eq!(of_podman(podman), Ok(EngineHost { has_proxy: false, ..expected }));
        assert_eq!(of_docker(b"{}"), Ok(EngineHost::default()));
        for answer in [&b""[..], b"<html>", b"5"] {
            assert!(of_docker(answer).is_err() && of_podman(answer).is_err());
        }
    }

    #[test]
    fn running_containers_are_read_of_both() {
        let digest = Digest::of(b"config");
        let docker = format!(r#"[{{"Names":["/agent-1"],"Image":"reg.corp/a:1","ImageID":"{digest}"}}]"#);
        let podman = format!(r#"[{{"Names":["agent-1"],"Image":"reg.corp/a:1","ImageID":"{}"}}]"#, digest.hex());
        for answer in [docker, podman] {
            let expected = RunningContainer { name: "agent-1".into(), image: "reg.corp/a:1".into(), id: Some(digest) };
            assert_eq!(containers(answer.as_bytes()), Ok(vec![expected]));
        }
        assert_eq!(containers(b"[]"), Ok(Vec::new()));
        assert!(containers(b"{}").is_err() && containers(b"<html>").is_err());
    }
}
