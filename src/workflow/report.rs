//! `report`: describe a bundle from its lock and configurations.

use std::collections::BTreeMap;
use std::path::Path;

use crate::bundle::{Bundle, signature_files};
use crate::failure::Failure;
use crate::images::Lock;
use crate::oci::{Digest, ImageConfig};
use crate::plan::{MirrorMap, Target};
use crate::progress::Progress;
use crate::report::{
    BundleFacts, DeltaFacts, RefusedFacts, Report, ReportError, ScanFacts, ScanFinding, SignerFacts, Subject,
    TrustFacts, Verification, describe,
};
use crate::scanner::{Each, SCAN_SCHEMA, ScanRecord, Verdict};
use crate::trust::{SignatureFault, Signer};
use crate::workflow::trust::{self, Trust, TrustSettings, Use};

/// The file that a report is about, where it is not the one that is read.
#[derive(Debug, Clone)]
pub struct ShownFile {
    /// Its name.
    pub name: String,
    /// How many volumes it is in; 0 if it is one file.
    pub volumes: usize,
    /// The file with its checksums.
    pub sums: String,
}

/// What a report should say beside what the bundle holds.
#[derive(Debug, Clone)]
pub struct ReportRequest {
    /// The private registry whose names and commands it shows.
    pub private: Option<Target>,
    /// The file that it is about, if that is another one: a copy.
    pub shown: Option<ShownFile>,
    /// An earlier release that it compares with.
    pub since: Option<Lock>,
    /// What reading every byte showed, where that was done.
    pub verification: Verification,
    /// Who has to have signed it.
    pub trust: TrustSettings,
    /// What a scanner said.
    pub scan: Option<ScanRecord>,
    /// The date that it bears, as `2024-05-01T12:00:00Z`.
    pub dated: Option<String>,
}

/// Describes an opened bundle. Reads its documents, each compared with its digest, and no layer.
pub fn report(bundle: &Bundle, request: &ReportRequest, progress: &dyn Progress) -> Result<Report, Failure> {
    let lock = bundle.lock();
    let names = request.private.as_ref().map(|target| MirrorMap::of_lock(lock, target)).transpose()?;
    Ok(describe(Subject {
        lock,
        configs: &configs(bundle)?,
        bundle: facts(bundle, request.shown.clone()),
        private: request.private.as_ref().zip(names.as_ref()),
        since: request.since.as_ref(),
        delta: bundle.layout().base().map(|base| DeltaFacts::new(base, lock)),
        verification: request.verification.clone(),
        signature_files: signature_files(bundle.path())?.iter().map(|path| name_of(path)).collect(),
        trust: trust_facts(bundle, request, progress)?,
        scan: request.scan.as_ref().map(|record| scan_facts(record, bundle)).transpose()?,
        dated: request.dated.clone(),
    }))
}

fn facts(bundle: &Bundle, shown: Option<ShownFile>) -> BundleFacts {
    let here = || {
        let name = name_of(bundle.path());
        ShownFile { volumes: bundle.bytes().volumes().len(), sums: format!("{name}.sha256"), name }
    };
    let ShownFile { name: file, volumes, sums } = shown.unwrap_or_else(here);
    let layout = bundle.layout();
    BundleFacts { file, id: layout.id(), bytes: layout.total(), volumes, sums, manifest: bundle.lock().manifest }
}

/// What the signatures are worth. Those of damaged bytes are not looked at.
fn trust_facts(bundle: &Bundle, request: &ReportRequest, progress: &dyn Progress) -> Result<TrustFacts, Failure> {
    let release = &bundle.lock().release;
    let trust = match request.verification {
        Verification::Damaged { .. } => Trust::Unchecked,
        _ => trust::look(bundle.path(), bundle.checksums(), release, &request.trust, Use::Look, progress)?,
    };
    let mut facts = TrustFacts::from(&trust);
    // The folder that they are in is nobody's business.
    for refused in &mut facts.refused {
        refused.file = name_of(Path::new(&refused.file));
    }
    Ok(facts)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl From<&Trust> for TrustFacts {
    fn from(trust: &Trust) -> Self {
        let signer = |signer: &Signer| SignerFacts {
            name: signer.name.clone(),
            key: signer.key.to_string(),
            trusted_comment: signer.statement.text.clone(),
        };
        let refused =
            |(file, fault): &(String, SignatureFault)| RefusedFacts { file: file.clone(), message: fault.to_string() };
        let (state, signers, not_counted) = match trust {
            Trust::Unchecked => ("unchecked", &[][..], &[][..]),
            Trust::Trusted { signers, refused } => ("trusted", &signers[..], &refused[..]),
            Trust::Untrusted(judgement) => ("untrusted", &judgement.signers[..], &judgement.refused[..]),
            Trust::Older { signers, .. } => ("older", &signers[..], &[][..]),
        };
        Self {
            state,
            signers: signers.iter().map(signer).collect(),
            refused: not_counted.iter().map(refused).collect(),
        }
    }
}

/// The configurations of all images, as far as they can be read as such.
fn configs(bundle: &Bundle) -> Result<BTreeMap<Digest, ImageConfig>, Failure> {
    let platforms = bundle.lock().images.iter().flat_map(|image| &image.platforms);
    let mut configs = BTreeMap::new();
    for platform in platforms {
        let digest = platform.config.digest;
        configs.insert(digest, ImageConfig::parse(&bundle.read_document(&digest)?));
    }
    Ok(configs)
}

/// The sums of a scan of this very bundle; a record of another one says nothing about it.
fn scan_facts(record: &ScanRecord, bundle: &Bundle) -> Result<ScanFacts, ReportError> {
    if record.schema != SCAN_SCHEMA {
        return Err(ReportError::Record(format!("it has schema `{}`", record.schema)));
    }
    let expected = bundle.layout().id();
    if record.bundle != expected {
        return Err(ReportError::OtherBundle { found: record.bundle.to_string(), expected: expected.to_string() });
    }
    let findings = |verdict: Verdict| {
        let told = record.answers().filter(move |(_, looked)| looked.verdict == verdict);
        told.map(|(layer, looked)| ScanFinding {
            layer: layer.digest.to_string(),
            path: looked.path.clone(),
            message: looked.answer(),
            images: layer.images.clone(),
        })
    };
    let unread = record.layers.iter().filter_map(|layer| {
        let (layer_digest, images) = (layer.digest.to_string(), layer.images.clone());
        Some(ScanFinding { layer: layer_digest, path: None, message: layer.failure.clone()?, images })
    });
    Ok(ScanFacts {
        command: record.scanner.clone(),
        each: match record.each {
            Each::File => "file",
            Each::Layer => "layer",
        }
        .to_owned(),
        complete: record.is_complete(),
        scanned: record.answers().count() as u64,
        bytes: record.answers().map(|(_, looked)| looked.bytes).sum(),
        found: findings(Verdict::Found).collect(),
        failed: findings(Verdict::Failed).chain(unread).collect(),
    })
}
