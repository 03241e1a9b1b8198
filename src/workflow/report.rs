//! `report`: describe a bundle from its lock and configurations.

use std::collections::BTreeMap;

use crate::bundle::Bundle;
use crate::failure::Failure;
use crate::images::Lock;
use crate::oci::{Digest, ImageConfig};
use crate::plan::{MirrorMap, Target};
use crate::report::{BundleFacts, Report, ReportError, ScanFacts, ScanFinding, Subject, Verification, describe};
use crate::scanner::{Each, SCAN_SCHEMA, ScanRecord, Verdict};

/// What a report should say beside what the bundle holds.
#[derive(Debug, Clone)]
pub struct ReportRequest {
    /// The private registry whose names and commands it shows.
    pub private: Option<Target>,
    /// An earlier release that it compares with.
    pub since: Option<Lock>,
    /// What reading every byte showed, where that was done.
    pub verification: Verification,
    /// What a scanner said.
    pub scan: Option<ScanRecord>,
    /// The date that it bears, as `2024-05-01T12:00:00Z`.
    pub dated: Option<String>,
}

/// Describes an opened bundle. Reads its documents, each compared with its digest, and no layer.
pub fn report(bundle: &Bundle, request: &ReportRequest) -> Result<Report, Failure> {
    let lock = bundle.lock();
    let names = request.private.as_ref().map(|target| MirrorMap::of_lock(lock, target)).transpose()?;
    Ok(describe(Subject {
        lock,
        configs: &configs(bundle)?,
        bundle: BundleFacts {
            file: bundle.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            id: bundle.layout().id(),
            bytes: bundle.layout().total(),
            volumes: bundle.bytes().volumes().len(),
            manifest: lock.manifest,
        },
        private: request.private.as_ref().zip(names.as_ref()),
        since: request.since.as_ref(),
        verification: request.verification.clone(),
        scan: request.scan.as_ref().map(|record| scan_facts(record, bundle)).transpose()?,
        dated: request.dated.clone(),
    }))
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
