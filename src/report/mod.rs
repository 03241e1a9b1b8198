//! The paper about a bundle: one description, given out as a page, as JSON, as a table or as text for a ticket.
//!
//! A report is a function of the bundle and of what was asked to be looked at; it holds no clock, no path and no host
//! unless they were given. Values from outside stay as they came; each form makes them harmless in its own way.

mod changes;
mod commands;
mod csv;
mod delta;
mod describe;
mod error;
mod html;
mod picture;
mod text;

use serde::Serialize;

use crate::oci::Digest;

pub use delta::DeltaFacts;
pub use describe::{Subject, describe};
pub use error::ReportError;
pub use html::policy;

/// The `schema` of reports that this version writes.
pub const REPORT_SCHEMA: &str = "octobundle/report/v1";

/// What is to be said about a bundle.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`REPORT_SCHEMA`].
    pub schema: &'static str,
    /// The program and version that wrote it.
    pub made_by: String,
    /// When, as `2024-05-01T12:00:00Z`, where a date was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dated: Option<String>,
    /// The release's name.
    pub release: String,
    /// The release in words.
    pub title: String,
    /// The file.
    pub bundle: BundleFacts,
    /// What it builds on, if it is a delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<DeltaFacts>,
    /// Sums.
    pub totals: Totals,
    /// The images in the manifest's order.
    pub images: Vec<ImageFacts>,
    /// Every layer once, the largest first.
    pub layers: Vec<LayerFacts>,
    /// What differs from an earlier release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// Whether the bytes were read and compared.
    pub verification: Verification,
    /// The signature files beside the bundle, by name.
    pub signature_files: Vec<String>,
    /// What they are worth.
    pub trust: TrustFacts,
    /// What a scanner said about the files inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan: Option<ScanFacts>,
    /// What to type next, by purpose.
    pub commands: Vec<Commands>,
}

/// The file.
#[derive(Debug, Clone, Serialize)]
pub struct BundleFacts {
    /// Its name, without folders.
    pub file: String,
    /// The digest of its `SHA256SUMS`, which covers everything else in it.
    pub id: Digest,
    /// Its length in bytes.
    pub bytes: u64,
    /// How many volumes it is in; 0 if it is one file.
    #[serde(skip_serializing_if = "is_zero")]
    pub volumes: usize,
    /// The file that `sha256sum -c` reads, beside it.
    #[serde(skip)]
    pub sums: String,
    /// The digest of the release manifest.
    pub manifest: Digest,
}

/// Sums over a bundle.
#[derive(Debug, Clone, Serialize)]
pub struct Totals {
    /// Images.
    pub images: usize,
    /// Different layers.
    pub layers: usize,
    /// Bytes of layers, each counted once.
    pub layer_bytes: u64,
    /// Bytes of layers that more than one image uses, each counted once.
    pub shared_bytes: u64,
    /// Bytes that the bundle would be longer if every image brought its own copy of them.
    pub saved_bytes: u64,
}

/// One image.
#[derive(Debug, Clone, Serialize)]
pub struct ImageFacts {
    /// Its name in the release.
    pub name: String,
    /// Its name in the private registry, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_name: Option<String>,
    /// What it does.
    pub role: String,
    /// Its groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Where its bytes came from.
    pub source: String,
    /// What the name stands for.
    pub digest: Digest,
    /// What that is.
    pub media_type: String,
    /// The index at the source, where the bundle holds a part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// Whether its bytes came over a connection that anyone could have changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// Bytes of its layers, each counted once.
    pub bytes: u64,
    /// Those that no other image uses.
    pub own_bytes: u64,
    /// What its labels say about licences.
    pub licences: Vec<String>,
    /// Its platforms.
    pub platforms: Vec<PlatformFacts>,
}

/// One platform of an image.
#[derive(Debug, Clone, Serialize)]
pub struct PlatformFacts {
    /// `os/architecture[/variant]`; none for attestations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Its image manifest.
    pub digest: Digest,
    /// Its configuration, which engines call the image's id.
    pub config: Digest,
    /// When it was built, as the builder wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Bytes of its layers.
    pub bytes: u64,
    /// Its layers, lowest first.
    pub layers: Vec<Digest>,
    /// Its labels, by name.
    pub labels: Vec<Label>,
}

/// A label, as the image's builder wrote it.
#[derive(Debug, Clone, Serialize)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// One layer.
#[derive(Debug, Clone, Serialize)]
pub struct LayerFacts {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it is.
    pub media_type: String,
    /// The images that use it, by name, in the manifest's order.
    pub images: Vec<String>,
}

/// What differs from an earlier release.
#[derive(Debug, Clone, Serialize)]
pub struct Changes {
    /// The earlier release's name.
    pub since: String,
    /// Images that it had not.
    pub added: Vec<String>,
    /// Images that it had and this one has not.
    pub removed: Vec<String>,
    /// Images under the same name with another digest.
    pub moved: Vec<Moved>,
    /// How many images are the same.
    pub unchanged: usize,
    /// Blobs and documents that it had not.
    pub new_blobs: usize,
    /// Their bytes.
    pub new_bytes: u64,
    /// Bytes of blobs and documents that both have.
    pub kept_bytes: u64,
}

/// An image with another digest than before.
#[derive(Debug, Clone, Serialize)]
pub struct Moved {
    /// Its name.
    pub name: String,
    /// What it stood for.
    pub from: Digest,
    /// What it stands for.
    pub to: Digest,
    /// Bytes of it that are nowhere in the earlier release.
    pub new_bytes: u64,
}

/// Whether the bytes of the bundle were read and compared with their digests.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Verification {
    /// They were not read for this report.
    NotChecked,
    /// All of them agree.
    Sound {
        /// How many were read.
        bytes: u64,
    },
    /// Some do not.
    Damaged {
        /// How many were read.
        bytes: u64,
        /// What is wrong, a sentence each.
        findings: Vec<String>,
    },
}

/// What is known of a bundle's signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrustFacts {
    /// `unchecked`, `trusted`, `untrusted`, or `older` than what was accepted before.
    pub state: &'static str,
    /// Those who are trusted and have signed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<SignerFacts>,
    /// Signature files that do not count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedFacts>,
}

/// Somebody who signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignerFacts {
    /// What the policy calls the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The key's number.
    pub key: String,
    /// What was said with the signature.
    pub trusted_comment: String,
}

/// A signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedFacts {
    /// Its file.
    pub file: String,
    /// Why.
    pub message: String,
}

/// What a scanner said, summed up from the record of `scan`.
#[derive(Debug, Clone, Serialize)]
pub struct ScanFacts {
    /// The scanner's command.
    pub command: Vec<String>,
    /// What was given to it at a time.
    pub each: String,
    /// Whether every layer was read to its end and the scanner answered for everything.
    pub complete: bool,
    /// What was given to it.
    pub scanned: u64,
    /// Bytes of that.
    pub bytes: u64,
    /// What it objected to.
    pub found: Vec<ScanFinding>,
    /// Where it, or the reading, failed.
    pub failed: Vec<ScanFinding>,
}

/// One thing in a scan that is not clean.
#[derive(Debug, Clone, Serialize)]
pub struct ScanFinding {
    /// The layer.
    pub layer: String,
    /// The file inside, where files were given one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What was said.
    pub message: String,
    /// The images that use the layer.
    pub images: Vec<String>,
}

/// What to type for one purpose.
#[derive(Debug, Clone, Serialize)]
pub struct Commands {
    /// The purpose.
    pub purpose: &'static str,
    /// What should be known about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The lines, each for a POSIX shell.
    pub lines: Vec<String>,
}

/// A form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One page for a browser or a printer.
    Html,
    /// All of it, for programs.
    Json,
    /// A row a platform of an image, for spreadsheets.
    Csv,
    /// Plain text, for a ticket.
    Text,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Report {
    /// The text of a file in this form. The same report gives the same bytes.
    pub fn render(&self, form: Form) -> Result<String, ReportError> {
        match form {
            Form::Html => html::page(self),
            Form::Json => Ok(self.json()),
            Form::Csv => Ok(csv::table(self)),
            Form::Text => Ok(text::text(self)),
        }
    }

    fn json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("a report holds only text, numbers and lists");
        format!("{}\n", crate::wording::plain_json(&json))
    }
}
