//! `sign`: read a bundle whole, then write a signature beside it.

use std::path::PathBuf;

use crate::bundle::{self, BundleError, BundlePlace, check_signature_path, signature_path, write_signature};
use crate::failure::{ErrorClass, Failure};
use crate::oci::Digest;
use crate::progress::Progress;
use crate::trust::{BundleName, SecretKey, Statement};

/// What `sign` was asked for.
#[derive(Debug, Clone)]
pub struct SignRequest {
    /// The bundle.
    pub bundle: BundlePlace,
    /// The signature's file; none for the usual one beside the bundle.
    pub output: Option<PathBuf>,
    /// The bundle's name; none for that of its release.
    pub name: Option<BundleName>,
    /// Its number under that name; none for the time of signing.
    pub sequence: Option<u64>,
    /// Seconds since 1970 by this machine's clock.
    pub now: u64,
    /// Threads that read the bundle.
    pub threads: usize,
}

/// What `sign` did.
#[derive(Debug)]
pub struct SignReport {
    /// The signature's file.
    pub file: PathBuf,
    /// The release that the bundle holds.
    pub release: String,
    /// Its images.
    pub images: usize,
    /// The digest of what was signed.
    pub checksums: Digest,
    /// What was said with the signature.
    pub statement: String,
}

/// Signs a bundle's `SHA256SUMS` once everything in the bundle agrees with it: who signs vouches for the content.
pub fn sign(request: &SignRequest, key: &SecretKey, progress: &dyn Progress) -> Result<SignReport, Failure> {
    // Reading everything takes long; a name that is taken is told before.
    request.output.as_deref().map(check_signature_path).transpose()?;
    let verdict = bundle::verify(&request.bundle, request.threads, progress)?;
    let (Some(checksums), Some(lock)) = (verdict.checksums, verdict.lock) else {
        let what = format!("{} things are wrong with it, so it was not signed", verdict.findings.len());
        return Err(BundleError::Damaged { path: verdict.path, what }.into());
    };
    let name = request.name.clone().unwrap_or_else(|| BundleName::of_release(&lock.release));
    let statement = Statement::to_write(request.now, &name, request.sequence);
    let signature = key.sign(&checksums, &statement);
    // A processor that errs must not give a signature away that nobody can check.
    signature.verify(&key.public(), &checksums).map_err(|fault| {
        Failure::new(ErrorClass::Other, format!("the signature that was just made does not hold: {fault}"))
            .with_help("run the same command again; if it repeats, try another machine")
    })?;
    let file = request.output.clone().unwrap_or_else(|| signature_path(&verdict.path, key.public().id()));
    write_signature(&file, &signature.to_file(&format!("signature by octobundle, key {}", key.public().id())))?;
    let (release, images) = (lock.release.clone(), lock.images.len());
    Ok(SignReport { file, release, images, checksums: Digest::of(&checksums), statement })
}
