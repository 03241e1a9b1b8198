//! Whether a bundle is signed by whom it should be, and newer than what was accepted before: asked by every command
//! before a byte leaves.

use std::path::{Path, PathBuf};

use crate::bundle::{Bundle, read_signature, signature_files};
use crate::failure::{ErrorClass, Failure, typed};
use crate::oci::Digest;
use crate::progress::{Event, Progress};
use crate::trust::{
    Judgement, MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Older, Policy, Signature, SignatureFault, Signed, Signer,
};
use crate::wording::{count, line};
use crate::workflow::state::State;

/// A clock that is this far off makes signatures look as if they came from the future.
const CLOCK_TOLERANCE: u64 = 24 * 60 * 60;

/// Whom to trust, and what was accepted before.
#[derive(Debug, Clone, Default)]
pub struct TrustSettings {
    /// Who has to have signed; without it no signature is looked at.
    pub policy: Option<Policy>,
    /// Signature files; without any those beside the bundle.
    pub signatures: Vec<PathBuf>,
    /// The file that remembers what was accepted.
    pub state: Option<PathBuf>,
    /// Why an older bundle may be used all the same.
    pub allow_older: Option<String>,
    /// Seconds since 1970 by this machine's clock.
    pub now: u64,
}

/// What the bundle is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To know. Nothing is remembered.
    Look,
    /// To send or to run it. What is accepted is remembered.
    Accept,
}

/// What is known of a bundle's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// No policy, so nobody looked.
    Unchecked,
    /// Enough of those who are trusted have signed it.
    Trusted {
        /// They.
        signers: Vec<Signer>,
        /// Signature files that do not count, each with the reason.
        refused: Vec<(String, SignatureFault)>,
    },
    /// Not enough have.
    Untrusted(Judgement),
    /// Enough have, but a newer one was accepted before.
    Older {
        /// They.
        signers: Vec<Signer>,
        /// The bundle's name, and what it is compared with.
        name: String,
        /// What was accepted.
        older: Older,
    },
}

/// Refuses a bundle that the policy does not let pass. Without a policy it warns. Ask before a byte leaves.
pub fn check(
    bundle: &Bundle,
    settings: &TrustSettings,
    wanted: Use,
    progress: &dyn Progress,
) -> Result<Trust, Failure> {
    let release = &bundle.lock().release;
    let trust = look(bundle.path(), bundle.checksums(), release, settings, wanted, progress)?;
    match &trust {
        Trust::Unchecked => {
            let text = "no signature was checked: nobody says who made this bundle (`--trust FILE.pub`, docs/trust.md)";
            progress.report(Event::Warning(text.to_owned()));
            Ok(trust)
        }
        Trust::Trusted { .. } => Ok(trust),
        Trust::Untrusted(judgement) => Err(refusal(bundle.path(), judgement)),
        Trust::Older { name, older, .. } => Err(too_old(bundle.path(), name, older)),
    }
}

/// Says what the signatures of these checksums are worth. Failing to look is an error, and never trust.
pub fn look(
    bundle: &Path,
    checksums: &[u8],
    release: &str,
    settings: &TrustSettings,
    wanted: Use,
    progress: &dyn Progress,
) -> Result<Trust, Failure> {
    let Some(policy) = &settings.policy else { return Ok(Trust::Unchecked) };
    let judgement = policy.judge(checksums, &read_all(bundle, settings)?);
    if !judgement.is_trusted() {
        return Ok(Trust::Untrusted(judgement));
    }
    warn_of_clocks(&judgement.signers, settings.now, progress);
    let bundle_id = Digest::of(checksums);
    if let Some((name, older)) = compare(&judgement, release, &bundle_id, settings, wanted)? {
        return Ok(Trust::Older { signers: judgement.signers, name, older });
    }
    Ok(Trust::Trusted { signers: judgement.signers, refused: judgement.refused })
}

/// Every signature of the bundle, as far as it can be read.
fn read_all(bundle: &Path, settings: &TrustSettings) -> Result<Vec<Signed>, Failure> {
    let found = if settings.signatures.is_empty() { signature_files(bundle)? } else { settings.signatures.clone() };
    if found.len() > MAX_SIGNATURES {
        let text = format!("`{}` has {} signature files, more than {MAX_SIGNATURES}", bundle.display(), found.len());
        return Err(Failure::new(ErrorClass::Trust, text).with_help("name those that count with `--signature FILE`"));
    }
    found.iter().map(|path| read_one(path)).collect()
}

fn read_one(path: &Path) -> Result<Signed, Failure> {
    let bytes = read_signature(path)?;
    let signature =
        if bytes.len() as u64 > MAX_SIGNATURE_BYTES { Err(SignatureFault::TooLong) } else { Signature::parse(&bytes) };
    Ok(Signed { place: path.display().to_string(), signature })
}

/// Compares with what was accepted before, and remembers if the bundle is to be used.
fn compare(
    judgement: &Judgement,
    release: &str,
    bundle: &Digest,
    settings: &TrustSettings,
    wanted: Use,
) -> Result<Option<(String, Older)>, Failure> {
    let Some(path) = &settings.state else {
        let text = "there is no folder to remember in which bundles were accepted";
        return Err(Failure::new(ErrorClass::Trust, text).with_help("set HOME or XDG_STATE_HOME"));
    };
    let sequences = judgement.sequences(release);
    if sequences.is_empty() {
        let text = "those who signed the bundle gave it different names";
        return Err(Failure::new(ErrorClass::Trust, text)
            .with_help("let them sign it again with one name: `octobundle sign BUNDLE --key FILE --name NAME`"));
    }
    let mut state = State::open(path, wanted)?;
    for (name, sequence) in &sequences {
        let name = name.to_string();
        let older = state.accepted.newer_than(&name, *sequence, bundle);
        match (older, &settings.allow_older) {
            (Some(older), None) => return Ok(Some((name, older))),
            (Some(older), Some(reason)) => {
                state.accepted.allow_older(&name, &older, release, bundle, settings.now, reason);
            }
            (None, _) => {
                state.accepted.accept(&name, *sequence, release, bundle);
            }
        }
    }
    state.save()?;
    Ok(None)
}

/// A clock that is wrong is told as such; it changes nothing about who signed.
fn warn_of_clocks(signers: &[Signer], now: u64, progress: &dyn Progress) {
    for signer in signers {
        let ahead = signer.statement.signed_at.map_or(0, |signed| signed.saturating_sub(now));
        if ahead > CLOCK_TOLERANCE {
            let text = format!(
                "the signature with key {} was made {} from now by this machine's clock: one of the two clocks is wrong",
                signer.key,
                count(ahead / CLOCK_TOLERANCE, "day")
            );
            progress.report(Event::Warning(text));
        }
    }
}

/// The refusal of a bundle that not enough have signed.
pub(super) fn refusal(bundle: &Path, judgement: &Judgement) -> Failure {
    let text = format!(
        "`{}` is not trusted: it is signed by {} of the {} who are required",
        bundle.display(),
        judgement.signers.len(),
        judgement.required
    );
    let reason = |(place, fault): &(String, SignatureFault)| line(&format!("`{place}`: {fault}"));
    let reasons: Vec<String> = judgement.refused.iter().map(reason).collect();
    let reasons = if reasons.is_empty() { "no other signature was found".to_owned() } else { reasons.join("; ") };
    Failure::new(ErrorClass::Trust, reasons).within(text).with_help(format!(
        "bring the missing signature files beside the bundle, then look again: `octobundle verify {}`",
        typed(bundle)
    ))
}

fn too_old(bundle: &Path, name: &str, older: &Older) -> Failure {
    let sequence = older.sequence.map_or_else(|| "no number".to_owned(), |sequence| format!("number {sequence}"));
    let text = format!(
        "`{}` is older than what was accepted here: it has {sequence}, and `{name}` had {} with {}",
        bundle.display(),
        older.accepted,
        older.release
    );
    Failure::new(ErrorClass::Trust, text)
        .with_help("use the newer bundle, or say why the older one is wanted: `--allow-older REASON`")
}
