//! What a scanner answered, kept so that a report can show it.

use serde::{Deserialize, Serialize};

use crate::oci::Digest;

/// The `schema` of records that this version writes and reads.
pub const SCAN_SCHEMA: &str = "octobundle/scan/v1";

/// What is given to the scanner at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Each {
    /// A file.
    File,
    /// A layer, unpacked, as one tar.
    Layer,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing to object.
    Clean,
    /// It objects.
    Found,
    /// It could not say.
    Failed,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// The file in the layer; none where the layer was given as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How many bytes were given.
    pub bytes: u64,
    /// The scanner's exit code; none if it did not end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What that means.
    pub verdict: Verdict,
    /// The beginning of what it said, unless all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
}

/// The answers for one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScannedLayer {
    /// The layer.
    pub digest: Digest,
    /// The images that use it.
    pub images: Vec<String>,
    /// One for each thing that was given; none where the layer cannot be read.
    pub answers: Vec<Looked>,
    /// Why the layer cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// All answers for a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanRecord {
    /// [`SCAN_SCHEMA`].
    pub schema: String,
    /// The bundle's id.
    pub bundle: Digest,
    /// The release's name.
    pub release: String,
    /// The scanner's command.
    pub scanner: Vec<String>,
    /// What was given to it at a time.
    pub each: Each,
    /// The layers, in the order in which they were read.
    pub layers: Vec<ScannedLayer>,
}

impl Looked {
    /// An answer by exit code.
    pub(super) fn ended(exit_code: Option<i32>, said: String) -> Self {
        match exit_code {
            Some(0) => Self { path: None, bytes: 0, exit_code, verdict: Verdict::Clean, said: String::new() },
            Some(1) => Self { path: None, bytes: 0, exit_code, verdict: Verdict::Found, said },
            _ => Self::failed(exit_code, said),
        }
    }

    /// No answer.
    pub(crate) fn failed(exit_code: Option<i32>, said: String) -> Self {
        Self { path: None, bytes: 0, exit_code, verdict: Verdict::Failed, said }
    }

    /// The answer in words.
    pub fn answer(&self) -> String {
        let code = self.exit_code.map_or("no exit code".to_owned(), |code| format!("exit code {code}"));
        match self.said.trim() {
            "" => code,
            said => format!("{code}, {said}"),
        }
    }
}

impl ScanRecord {
    /// Every answer with its layer.
    pub fn answers(&self) -> impl Iterator<Item = (&ScannedLayer, &Looked)> {
        self.layers.iter().flat_map(|layer| layer.answers.iter().map(move |looked| (layer, looked)))
    }

    /// Whether every layer was read and every answer says something.
    pub fn is_complete(&self) -> bool {
        self.layers.iter().all(|layer| layer.failure.is_none())
            && self.answers().all(|(_, looked)| looked.verdict != Verdict::Failed)
    }

    /// How many answers mean this.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.answers().filter(|(_, looked)| looked.verdict == verdict).count()
    }
}
