//! `copy`: bundle → a medium that is carried away, with all that somebody needs who has only the medium.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::bundle::{Bundle, BundlePlace, CopiedFile, Form, OnMedium, ReadBack, read_signature, signature_files};
use crate::content::{Readers, write_whole};
use crate::failure::{ErrorClass, Failure};
use crate::images::LockedImage;
use crate::oci::Digest;
use crate::progress::{Event, Phase, Progress};
use crate::render::{Stick, StickDelta};
use crate::report::{Form as ReportForm, Verification};
use crate::workflow::report::{ReportRequest, ShownFile, report};
use crate::workflow::trust::TrustSettings;

/// The name of the program on a medium.
const TOOL: &str = "octobundle";
/// The name of the paper there.
const REPORT: &str = "report.html";
/// What covers everything there.
const SUMS: &str = "SHA256SUMS";

/// What `copy` was asked for.
#[derive(Debug, Clone)]
pub struct CopyRequest {
    /// The bundle.
    pub bundle: BundlePlace,
    /// The folder: a stick's, once it is mounted.
    pub folder: PathBuf,
    /// The form that it gets there; none for the one that it has.
    pub form: Option<Form>,
    /// Whether files beside the bundle that say something else are replaced.
    pub replace: bool,
    /// Threads that read the copy.
    pub threads: usize,
    /// The running program, if it goes along.
    pub tool: Option<PathBuf>,
}

/// What `copy` did.
#[derive(Debug)]
pub struct CopyReport {
    /// Everything that is covered by `SHA256SUMS` on the medium, the bundle's own files first.
    pub files: Vec<CopiedFile>,
    /// Bytes of all of them.
    pub bytes: u64,
    /// How the bundle was read back.
    pub read_back: ReadBack,
}

/// Copies a bundle onto a medium, reads it back, and puts beside it what checks and loads it without octobundle. The
/// bundle gets its names last, when everything else is there.
pub fn copy_bundle(request: &CopyRequest, progress: &dyn Progress) -> Result<CopyReport, Failure> {
    let bundle = Bundle::open(&request.bundle)?;
    let name = plain_name(bundle.path());
    let others = others(request, &bundle, &name, progress)?;
    for (name, content) in &others {
        refuse_other(&request.folder.join(name), content, request.replace)?;
    }
    let beside = others.iter().map(|(_, content)| content.len() as u64).sum::<u64>() + lists(bundle.layout().total());
    let copied = OnMedium::copy(&bundle, &name, &request.folder, request.form, beside, request.threads, progress)?;
    let description = copied.description(&bundle, &name)?.map(|(name, text)| (name, text.into_bytes()));
    progress.report(Event::Phase(Phase::Syncing));
    let pieces = copied.pieces(&name).map(|(name, text)| (name, text.into_bytes()));
    let mut files = copied.files().to_vec();
    for (name, content) in others.into_iter().chain(description).chain(pieces) {
        put(&request.folder.join(&name), &content)?;
        files.push(CopiedFile { name, size: content.len() as u64, digest: Digest::of(&content) });
    }
    let mut sums = String::new();
    for file in &files {
        writeln!(sums, "{}  {}", file.digest.hex(), file.name).expect("a String takes any text");
    }
    let list = request.folder.join(SUMS);
    refuse_other(&list, sums.as_bytes(), request.replace)?;
    put(&list, sums.as_bytes())?;
    let read_back = copied.read_back();
    copied.finish()?;
    Ok(CopyReport { bytes: files.iter().map(|file| file.size).sum(), files, read_back })
}

/// Bytes that are enough for the lists of a bundle's pieces, volumes and checksums: a line of 100 bytes for each 4 MiB,
/// and what 999 volumes take.
fn lists(total: u64) -> u64 {
    total / 40_000 + 512 * 1024
}

/// What goes beside the bundle: signatures, scripts, the report, the program.
fn others(
    request: &CopyRequest,
    bundle: &Bundle,
    name: &str,
    progress: &dyn Progress,
) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut others = signatures(bundle, name)?;
    let files = names_there(request, bundle, name)?;
    let lock = bundle.lock();
    let names = |cut: bool| {
        let is_cut = |image: &&LockedImage| bundle.layout().base().is_some_and(|base| base.cuts(image)) == cut;
        lock.images.iter().filter(is_cut).map(|image| image.name.to_string()).collect::<Vec<_>>()
    };
    let cut = names(true);
    let stick = Stick {
        title: &lock.title,
        release: &lock.release,
        bundle: name,
        files: &files,
        signatures: &others.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(),
        images: &lock.images.iter().map(|image| image.name.to_string()).collect::<Vec<_>>(),
        delta: bundle.layout().base().map(|base| StickDelta {
            base: &base.name,
            cut: &cut,
            loads: !names(false).is_empty(),
        }),
        with_tool: request.tool.is_some(),
    };
    others.extend(stick.files()?.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())));
    others.push((REPORT.to_owned(), paper(bundle, name, &files, progress)?.into_bytes()));
    if let Some(path) = &request.tool {
        let program = fs::read(path).map_err(|error| {
            Failure::new(ErrorClass::Disk, format!("failed to read this program, `{}`: {error}", path.display()))
        })?;
        others.push((TOOL.to_owned(), program));
    }
    Ok(others)
}

/// The report about the copy. It is put beside it only once the copy was read back, as it says.
fn paper(bundle: &Bundle, name: &str, files: &[String], progress: &dyn Progress) -> Result<String, Failure> {
    let volumes = if files.len() == 1 && files[0] == name { 0 } else { files.len() };
    let request = ReportRequest {
        private: None,
        shown: Some(ShownFile { name: name.to_owned(), volumes, sums: SUMS.to_owned() }),
        since: None,
        verification: Verification::Sound { bytes: bundle.layout().total() },
        trust: TrustSettings::default(),
        scan: None,
        dated: None,
    };
    Ok(report(bundle, &request, progress)?.render(ReportForm::Html)?)
}

/// The bundle's signatures, by the names that they have beside the copy.
fn signatures(bundle: &Bundle, name: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut others = Vec::new();
    for (index, path) in signature_files(bundle.path())?.iter().enumerate() {
        let ending = path.file_name().zip(bundle.path().file_name());
        let ending = ending.and_then(|(file, bundle)| file.to_str()?.strip_prefix(bundle.to_str()?));
        let plain = ending.filter(|ending| ending.chars().all(is_plain));
        let ending = plain.map_or_else(|| format!(".{index}.minisig"), str::to_owned);
        others.push((format!("{name}{ending}"), read_signature(path)?));
    }
    Ok(others)
}

/// The files that the bundle will be in.
fn names_there(request: &CopyRequest, bundle: &Bundle, name: &str) -> Result<Vec<String>, Failure> {
    let count = match request.form {
        None => bundle.bytes().volumes().len(),
        Some(Form::OneFile) => 0,
        Some(form) => form.lengths(bundle.layout().total())?.len(),
    };
    Ok(match count {
        0 => vec![name.to_owned()],
        _ => (1..=count).map(|number| format!("{name}.{number:03}")).collect(),
    })
}

/// A file's name that every file system takes and no shell reads anything into.
fn plain_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain: String = name.chars().take(100).map(|c| if is_plain(c) { c } else { '-' }).collect();
    let plain = plain.trim_start_matches(['.', '-']);
    if plain.is_empty() { "bundle.tar".to_owned() } else { plain.to_owned() }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

fn refuse_other(path: &Path, content: &[u8], replace: bool) -> Result<(), Failure> {
    let taken = match path.symlink_metadata() {
        Err(_) => false,
        Ok(found) => {
            !(found.is_file()
                && found.len() == content.len() as u64
                && fs::read(path).is_ok_and(|text| text == content))
        }
    };
    if !taken || replace {
        return Ok(());
    }
    let text = format!("`{}` exists and says something else", path.display());
    Err(Failure::new(ErrorClass::Usage, text).with_help("copy into an empty folder of the medium, or add `--replace`"))
}

fn put(path: &Path, content: &[u8]) -> Result<(), Failure> {
    write_whole(path, content, Readers::Umask).map_err(|error| {
        Failure::new(ErrorClass::Disk, format!("failed to write `{}`: {error}", path.display()))
            .with_help("see that the medium is there and has room, and run the same command again: it continues")
    })
}
