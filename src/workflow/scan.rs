//! `scan`: give every file of every layer to a scanner, keep what it answers.

use std::io::Read;
use std::sync::Arc;

use crate::bundle::Bundle;
use crate::failure::Failure;
use crate::layers::{Content, Entry, Kind, LayerError, Limits, read_layer, unpack};
use crate::progress::{Event, Phase, Progress};
use crate::scanner::{Each, Looked, SCAN_SCHEMA, ScanRecord, ScannedLayer, Scanner, ScannerError, Verdict};
use crate::workflow::layers::{file_system_layers, read_verified};

/// What to scan with, and how.
pub struct ScanRequest {
    /// The scanner.
    pub scanner: Scanner,
    /// What is given to it at a time.
    pub each: Each,
    /// Whether it must first object to the test file.
    pub self_test: bool,
    /// How far reading a layer may go.
    pub limits: Limits,
}

/// Scans a bundle's layers, each once. What cannot be read or answered stands in the record; a scanner that cannot be
/// started, or does not see what it is given, ends it.
pub async fn scan(
    bundle: &Arc<Bundle>,
    request: ScanRequest,
    progress: &Arc<dyn Progress>,
) -> Result<ScanRecord, Failure> {
    let (scanner, each, limits) = (Arc::new(request.scanner), request.each, request.limits);
    if request.self_test {
        let scanner = scanner.clone();
        tokio::task::spawn_blocking(move || scanner.prove()).await.expect("the scanner's test does not panic")?;
    }
    let wanted = file_system_layers(bundle.lock());
    progress.report(Event::Phase(Phase::Verifying));
    progress.report(Event::Planned {
        images: bundle.lock().images.len(),
        blobs: wanted.len(),
        bytes: wanted.iter().map(|layer| layer.content.size).sum(),
    });
    let users = bundle.lock().users();
    let mut layers = Vec::new();
    for layer in wanted {
        let scanner = scanner.clone();
        let looked = read_verified(bundle, &layer, progress, move |reader| {
            Ok(match each {
                Each::File => each_file(reader, limits, &scanner),
                Each::Layer => whole_layer(reader, limits, &scanner),
            })
        });
        let (answers, failure) = match looked.await {
            Ok(ended) => {
                let (answers, failure) = ended?;
                (answers, failure.map(|error| error.to_string()))
            }
            Err(failure) => (Vec::new(), Some(failure.to_string())),
        };
        let digest = layer.content.digest;
        let images = users.get(&digest).into_iter().flatten().map(ToString::to_string).collect();
        layers.push(ScannedLayer { digest, images, answers, failure });
    }
    Ok(ScanRecord {
        schema: SCAN_SCHEMA.to_owned(),
        bundle: bundle.layout().id(),
        release: bundle.lock().release.clone(),
        scanner: scanner.command().to_vec(),
        each,
        layers,
    })
}

/// The answers for a layer, and why there are no more of them. Only a scanner that cannot be used is an error.
type Answers = Result<(Vec<Looked>, Option<LayerError>), ScannerError>;

/// One answer a file. Files without content are passed over: there is nothing to look at.
fn each_file(packed: &mut dyn Read, limits: Limits, scanner: &Scanner) -> Answers {
    let (mut answers, mut broken) = (Vec::new(), None);
    let read = read_layer(packed, limits, &mut |entry, content| {
        if entry.size == 0 {
            return Ok(());
        }
        let looked = match look_at(entry, content, scanner) {
            Ok(looked) => looked,
            Err(ScannerError::Content(error)) => return Err(LayerError::from_io(error)),
            Err(error) => {
                broken = Some(error);
                return Err(LayerError::Archive("the scanner cannot be used".to_owned()));
            }
        };
        content.meter().keep(size_of::<Looked>() + entry.path.len() + looked.said.len())?;
        answers.push(Looked { path: Some(entry.path.clone()), ..looked });
        Ok(())
    });
    broken.map_or(Ok((answers, read.err())), Err)
}

fn look_at(entry: &Entry, content: &mut Content<'_>, scanner: &Scanner) -> Result<Looked, ScannerError> {
    match entry.kind {
        Kind::File => scanner.look(content),
        Kind::Directory | Kind::HardLink(_) | Kind::Other => {
            let why = "its content is stored in a form that is not read";
            Ok(Looked { bytes: entry.size, ..Looked::failed(None, why.to_owned()) })
        }
    }
}

fn whole_layer(packed: &mut dyn Read, limits: Limits, scanner: &Scanner) -> Answers {
    let looked = unpack(packed, limits).map(|mut unpacked| scanner.look(&mut unpacked));
    match looked {
        Ok(Ok(looked)) => Ok((vec![looked], None)),
        Ok(Err(ScannerError::Content(error))) => Ok((Vec::new(), Some(LayerError::from_io(error)))),
        Ok(Err(error)) => Err(error),
        Err(error) => Ok((Vec::new(), Some(error))),
    }
}

/// How a scan ended.
pub fn scan_verdict(record: &ScanRecord) -> Verdict {
    match () {
        () if record.count(Verdict::Found) > 0 => Verdict::Found,
        () if record.is_complete() => Verdict::Clean,
        () => Verdict::Failed,
    }
}
