//! What engines answer: bounded, and read into what we need of it.

use serde::Deserialize;

use crate::engine::EngineKind;
use crate::oci::Digest;

/// The most that is read of an answer. The description of an image is some kilobytes.
pub(super) const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// The most of an engine's words that an error repeats.
const MAX_MESSAGE: usize = 1_000;

/// An engine's account of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) kind: EngineKind,
    pub(super) version: String,
}

/// Reads `GET /version`. podman answers docker's question, and gives itself away by a component's name.
pub(super) fn version(answer: &[u8]) -> Result<Told, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Component {
        #[serde(default)]
        name: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Version {
        version: String,
        #[serde(default)]
        components: Vec<Component>,
    }
    let told: Version = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    let is_podman = told.components.iter().any(|component| component.name.starts_with("Podman"));
    let kind = if is_podman { EngineKind::Podman } else { EngineKind::Docker };
    Ok(Told { kind, version: cut(&told.version) })
}

/// Reads the `Id` of `GET /images/NAME/json`.
pub(super) fn image_id(answer: &[u8]) -> Result<Digest, String> {
    #[derive(Deserialize)]
    struct Image {
        #[serde(rename = "Id")]
        id: String,
    }
    let image: Image = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    id(&image.id)
}

/// An id as engines write it: docker with its algorithm, podman's command without.
pub(super) fn id(text: &str) -> Result<Digest, String> {
    let full = if text.contains(':') { text.to_owned() } else { format!("sha256:{text}") };
    full.parse().map_err(|error: crate::oci::BadDigest| error.to_string())
}

/// Why a load did not work.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LoadFault {
    /// The engine says so.
    Said(String),
    /// The answer is none.
    Unreadable(String),
}

/// Reads the answer to `POST /images/load`: objects one after the other, status 200 even where one is an error.
pub(super) fn loaded(answer: &[u8]) -> Result<Vec<String>, LoadFault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Detail {
        message: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        stream: Option<String>,
        error: Option<String>,
        error_detail: Option<Detail>,
    }
    let mut said = Vec::new();
    for line in serde_json::Deserializer::from_slice(answer).into_iter::<Line>() {
        let line = line.map_err(|error| LoadFault::Unreadable(error.to_string()))?;
        let detail = line.error_detail.and_then(|detail| detail.message);
        if let Some(error) = line.error.or(detail) {
            return Err(LoadFault::Said(cut(&error)));
        }
        said.extend(line.stream.iter().flat_map(|stream| stream.lines()).flat_map(loaded_names));
    }
    Ok(said)
}

/// The names in `Loaded image: NAME` of docker and podman (whose socket puts several in one line, with commas),
/// `Loaded image(s): NAME` of older podmans, and `Loaded image ID: sha256:…`.
pub(super) fn loaded_names(line: &str) -> Vec<String> {
    match line.split_once(": ") {
        Some(("Loaded image" | "Loaded image(s)" | "Loaded image ID", names)) => {
            names.split(',').map(|name| cut(name.trim())).collect()
        }
        _ => Vec::new(),
    }
}

/// The `message` of an error answer, or its text where it has none.
pub(super) fn message(answer: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    match serde_json::from_slice::<Error>(answer) {
        Ok(error) => cut(&error.message),
        Err(_) => cut(String::from_utf8_lossy(answer).trim()),
    }
}

/// The start of foreign text.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_is_known_by_its_components() {
        let docker = br#"{"Version":"20.10.24","Components":[{"Name":"Engine"},{"Name":"containerd"}]}"#;
        let podman = br#"{"Version":"4.3.1","Components":[{"Name":"Podman Engine"}]}"#;
        assert_eq!(version(docker), Ok(Told { kind: EngineKind::Docker, version: "20.10.24".into() }));
        assert_eq!(version(podman), Ok(Told { kind: EngineKind::Podman, version: "4.3.1".into() }));
        assert_eq!(version(br#"{"Version":"1"}"#).unwrap().kind, EngineKind::Docker);
        for answer in [&b""[..], b"<html>", b"{}", b"[]"] {
            assert!(version(answer).is_err());
        }
    }

    #[test]
    fn an_error_in_a_load_answer_is_found_wherever_it_stands() {
        let good = b"{\"stream\":\"Loaded image: a:1\\n\"}\r\n{\"stream\":\"Loaded image ID: sha256:ab\\n\"}\n{\"progress\":\"x\"}";
        assert_eq!(loaded(good), Ok(vec!["a:1".to_owned(), "sha256:ab".to_owned()]));
        let podman = b"{\"stream\":\"Loaded image: a:1,b:1\\n\"}";
        assert_eq!(loaded(podman), Ok(vec!["a:1".to_owned(), "b:1".to_owned()]));
        let bad = b"{\"stream\":\"Loaded image: a:1\\n\"}\n{\"errorDetail\":{\"message\":\"no space left on device\"},\"error\":\"no space left on device\"}";
        assert_eq!(loaded(bad), Err(LoadFault::Said("no space left on device".into())));
        let detail = b"{\"errorDetail\":{\"message\":\"broken\"}}";
        assert_eq!(loaded(detail), Err(LoadFault::Said("broken".into())));
        assert!(matches!(loaded(b"{\"stream\":\"Loa"), Err(LoadFault::Unreadable(_))));
        assert!(matches!(loaded(b"<html>proxy</html>"), Err(LoadFault::Unreadable(_))));
        assert_eq!(loaded(b""), Ok(Vec::new()));
    }

    #[test]
    fn an_id_is_read_with_and_without_its_algorithm() {
        let digest = Digest::of(b"config");
        assert_eq!(id(&digest.to_string()), Ok(digest));
        assert_eq!(id(&digest.hex()), Ok(digest));
        assert!(id("deadbeef").is_err() && id("").is_err() && id("sha512:ab").is_err());
        assert_eq!(image_id(format!("{{\"Id\":\"{digest}\"}}").as_bytes()), Ok(digest));
    }

    #[test]
    fn foreign_words_are_cut() {
        assert_eq!(message(&vec![b'x'; 5_000]).len(), MAX_MESSAGE);
        assert_eq!(message(b"{\"message\":\"no such image\"}"), "no such image");
    }
}
