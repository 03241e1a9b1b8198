//! `split` and `join`: a bundle → the same bundle in another form.
//!
//! Both are a copy of the bundle's content into a new draft: what is not what its digest says never gets a name, and a
//! run that was stopped is continued.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use crate::bundle::{Bundle, BundleError, BundlePlace, Sealed, check_output};
use crate::failure::Failure;
use crate::images::Lock;
use crate::progress::{Phase, Progress};
use crate::transfer::CopyFailure;
use crate::workflow::write::{Proof, WriteRequest, write};

/// What `split` and `join` were asked for.
#[derive(Debug, Clone)]
pub struct RecutRequest {
    /// The bundle.
    pub bundle: BundlePlace,
    /// How the new one is written. An output without a file name is a folder, in which the bundle keeps its name.
    pub write: WriteRequest,
}

/// What `split` and `join` did.
#[derive(Debug)]
pub struct RecutReport {
    /// What is in the bundle.
    pub lock: Lock,
    /// The bundle's length in bytes.
    pub bundle_bytes: u64,
    /// The new files, once they are whole.
    pub sealed: Option<Sealed>,
    /// What could not be copied.
    pub failures: Vec<CopyFailure>,
}

/// The name that a bundle keeps in a folder. It may come from a description, so hidden names are not taken from it.
fn own_name(bundle: &Bundle, folder: &Path) -> Result<OsString, BundleError> {
    match bundle.path().file_name() {
        Some(name) if !name.as_encoded_bytes().starts_with(b".") => Ok(name.to_owned()),
        _ => Err(BundleError::NotAFile { path: folder.to_owned(), what: "a folder" }),
    }
}

/// Writes a bundle anew in the form that is wanted. Every byte is compared with its digest on the way.
pub async fn recut(request: &RecutRequest, progress: &Arc<dyn Progress>) -> Result<RecutReport, Failure> {
    let bundle = Arc::new(tokio::task::block_in_place(|| Bundle::open(&request.bundle))?);
    let mut write_request = request.write.clone();
    if write_request.output.path.is_dir() {
        let name = own_name(&bundle, &write_request.output.path)?;
        write_request.output.path.push(name);
    }
    check_output(&write_request.output, write_request.existing)?;
    let layout = bundle.layout().clone();
    write_request.output.form.lengths(layout.total())?;
    let documents = bundle
        .lock()
        .documents()
        .into_keys()
        .map(|digest| Ok((digest, bundle.read_document(&digest)?)))
        .collect::<Result<BTreeMap<_, _>, BundleError>>()?;
    let written =
        write(&write_request, layout, &documents, &bundle, (Phase::Copying, Proof::OnTheWay), progress).await?;
    Ok(RecutReport {
        lock: bundle.lock().clone(),
        bundle_bytes: bundle.layout().total(),
        sealed: written.sealed,
        failures: written.outcome.failures,
    })
}
