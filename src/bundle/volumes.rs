//! Puts volumes together to the bytes of a bundle, after making sure that they are the right ones.
//!
//! With a description each volume is known by its length and its first bytes, whatever it is called. Without one the
//! names give the order, and the headers that the lock implies tell whether a volume is this bundle's.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::bundle::bytes::{BundleBytes, Piece};
use crate::bundle::description::{DescribedVolume, Description, EDGE, MOST_VOLUMES, volume_name};
use crate::bundle::error::BundleError;
use crate::bundle::layout::Layout;
use crate::bundle::locate::{Candidate, Located, VolumeSet, locate};
use crate::bundle::open::read_layout;
use crate::bundle::place::BundlePlace;
use crate::bundle::plain_file::beside;
use crate::bundle::volume_fault::{VolumeFault, VolumeProblem, fits, hurt, judged, pair_up};
use crate::content::folder_of;
use crate::oci::Digest;

impl BundleBytes {
    /// Opens what a person named, read-only: one file, or volumes in their order. Of volumes it is known then that all
    /// are there, have their lengths and begin as they should; what is in them is compared when it is read.
    pub(crate) fn open(place: &BundlePlace) -> Result<Self, BundleError> {
        let set = match locate(place)? {
            Located::File(path) => return Self::of_file(&path),
            Located::Set(set) => set,
        };
        let Some((path, description)) = &set.description else {
            return by_structure(&set).map_err(|error| unfinished_or(error, &set));
        };
        let error = match by_description(&set, path, description) {
            Err(error @ (BundleError::Volumes { .. } | BundleError::OtherDescription { .. })) => error,
            other => return other,
        };
        match by_structure(&set) {
            // A description that is wrong must not keep anybody from volumes that are right.
            Ok(bytes) if set.files.iter().any(|file| file.named) => Ok(bytes),
            Ok(bytes) if hardly_fits(&error, description) => Err(useless(path, description, &bytes)),
            _ => Err(unfinished_or(error, &set)),
        }
    }
}

impl BundleBytes {
    /// Opens what there is of a bundle, however little: one file, or volumes in their places. Where a volume lacks or
    /// ends early, reading fails; what is in the others is for whoever reads to compare.
    pub(crate) fn salvage(place: &BundlePlace) -> Result<Self, BundleError> {
        let set = match locate(place)? {
            Located::File(path) => return Self::of_file(&path),
            Located::Set(set) => set,
        };
        let slots = match &set.description {
            Some((_, description)) => described_slots(&set, description)?,
            None => structural_slots(&set)?,
        };
        let pieces = slots.into_iter().filter_map(|slot| slot.into_found().transpose()).collect::<Result<_, _>>()?;
        Ok(Self::joined(set.shown, pieces, true))
    }

    /// The bundle that the description beside its volumes speaks of; none where there is none.
    pub(crate) fn described_id(place: &BundlePlace) -> Option<Digest> {
        match locate(place) {
            Ok(Located::Set(VolumeSet { description: Some((_, description)), .. })) => Some(description.bundle),
            _ => None,
        }
    }
}

/// What is wrong with volumes of which more may be to come.
fn unfinished_or(error: BundleError, set: &VolumeSet) -> BundleError {
    // A journal tells that a pull into this name has not ended.
    match error {
        BundleError::Volumes { .. } if beside(&set.shown, ".partial.journal").is_file() => {
            BundleError::Unfinished(set.shown.clone())
        }
        other => other,
    }
}

/// Whether most volumes are not what a description says: then it is the description that does not belong here.
fn hardly_fits(error: &BundleError, description: &Description) -> bool {
    matches!(error, BundleError::Volumes { faults, .. } if 2 * faults.len() > description.count)
}

/// The refusal of a description beside volumes that are whole without it.
fn useless(path: &Path, description: &Description, bytes: &BundleBytes) -> BundleError {
    match read_layout(bytes) {
        Ok(layout) if layout.id() != description.bundle => other_description(path, description, &layout),
        _ => BundleError::Description {
            path: path.to_owned(),
            why: "its lengths or beginnings are not those of the volumes, which are a whole bundle without it".into(),
        },
    }
}

fn other_description(path: &Path, description: &Description, found: &Layout) -> BundleError {
    BundleError::OtherDescription {
        path: path.to_owned(),
        described: description.bundle,
        found: found.id(),
        release: found.lock().release.clone(),
    }
}

/// A place for a volume: filled, or with what is wrong.
struct Slot {
    name: String,
    piece: Piece,
    problem: Option<VolumeProblem>,
}

impl Slot {
    /// The file that stands in its place, be it right or not; none where a volume is one too many.
    fn into_found(self) -> Result<Option<Piece>, BundleError> {
        let path = match self.problem {
            None | Some(VolumeProblem::Missing | VolumeProblem::Misnamed { .. } | VolumeProblem::Exchanged { .. }) => {
                return Ok(Some(self.piece));
            }
            Some(VolumeProblem::Extra { .. }) => return Ok(None),
            Some(
                VolumeProblem::Short { path, .. }
                | VolumeProblem::Long { path, .. }
                | VolumeProblem::Damaged { path }
                | VolumeProblem::Foreign { path }
                | VolumeProblem::Stale { path, .. }
                | VolumeProblem::OfAnother { path, .. },
            ) => path,
        };
        Ok(Some(Piece::open(&path)?.of_length(self.piece.length)))
    }
}

/// The pieces of all slots, or everything that is wrong with them and the images that it hurts.
fn finish(set: &VolumeSet, slots: Vec<Slot>) -> Result<BundleBytes, BundleError> {
    let pieces = slots.iter().map(|slot| slot.piece.clone()).collect();
    let bytes = BundleBytes::joined(set.shown.clone(), pieces, true);
    if slots.iter().all(|slot| slot.problem.is_none()) {
        return Ok(bytes);
    }
    // Which images a volume has can be said if the volumes with the lock are there.
    let layout = read_layout(&bytes).ok();
    let mut faults = Vec::new();
    for (index, slot) in slots.into_iter().enumerate() {
        let Some(problem) = slot.problem else { continue };
        let (problem, images) = match (&layout, bytes.pieces().get(index).map(Piece::range)) {
            (Some(layout), Some(range)) => (judged(problem, layout, range.start), hurt(layout, range.start, range.end)),
            _ => (problem, Vec::new()),
        };
        faults.push(VolumeFault { name: slot.name, number: index + 1, problem, images });
    }
    Err(refusal(set, &faults))
}

fn refusal(set: &VolumeSet, faults: &[VolumeFault]) -> BundleError {
    BundleError::Volumes { bundle: set.shown.clone(), faults: pair_up(faults) }
}

/// Puts together what a description lists.
fn by_description(set: &VolumeSet, path: &Path, description: &Description) -> Result<BundleBytes, BundleError> {
    let bytes = finish(set, described_slots(set, description)?)?;
    match read_layout(&bytes) {
        Ok(layout) if layout.id() != description.bundle => Err(other_description(path, description, &layout)),
        Ok(layout) if layout.total() != description.bytes => {
            let why =
                format!("the volumes should have {} bytes together, it says {}", layout.total(), description.bytes);
            Err(BundleError::Description { path: path.to_owned(), why })
        }
        // A head that cannot be read is told by whoever needs it.
        _ => Ok(bytes),
    }
}

fn described_slots(set: &VolumeSet, description: &Description) -> Result<Vec<Slot>, BundleError> {
    description.volumes.iter().map(|volume| described_slot(set, description, volume)).collect()
}

fn described_slot(set: &VolumeSet, description: &Description, volume: &DescribedVolume) -> Result<Slot, BundleError> {
    let called_so = |file: &&Candidate| file.name.eq_ignore_ascii_case(&volume.name);
    let mut first_problem = None;
    for file in set.files.iter().filter(called_so) {
        match described_problem(file, description, volume)? {
            None => return Ok(filled(&volume.name, Piece::open(&file.path)?)),
            Some(problem) => first_problem = first_problem.or(Some(problem)),
        }
    }
    for file in set.files.iter().filter(|file| !called_so(file)) {
        if described_problem(file, description, volume)?.is_none() {
            let piece = Piece::open(&file.path)?;
            let problem = (!file.named).then(|| VolumeProblem::Misnamed { found: file.path.clone() });
            return Ok(Slot { name: volume.name.clone(), piece, problem });
        }
    }
    let path = folder_of(&set.shown).join(Path::new(&volume.name).file_name().unwrap_or_default());
    let piece = Piece::absent(path, volume.size);
    Ok(Slot { name: volume.name.clone(), piece, problem: Some(first_problem.unwrap_or(VolumeProblem::Missing)) })
}

fn filled(name: &str, piece: Piece) -> Slot {
    Slot { name: name.to_owned(), piece, problem: None }
}

/// What keeps a file from being a described volume.
fn described_problem(
    file: &Candidate,
    description: &Description,
    volume: &DescribedVolume,
) -> Result<Option<VolumeProblem>, BundleError> {
    let (path, expected, got) = (file.path.clone(), volume.size, file.length);
    // Most files of a folder are not looked into: neither name nor length speaks for them.
    if got != expected && !file.name.eq_ignore_ascii_case(&volume.name) {
        return Ok(Some(VolumeProblem::Foreign { path }));
    }
    let bytes = BundleBytes::of_file(&file.path)?;
    let edge = expected.min(EDGE).min(bytes.length());
    let is =
        |from: u64, known: &Digest| -> Result<bool, BundleError> { Ok(Digest::of(&bytes.read(from, edge)?) == *known) };
    let begins = is(0, &volume.begins)?;
    Ok(match got.cmp(&expected) {
        Ordering::Equal => match (begins, is(bytes.length() - edge, &volume.ends)?) {
            (true, true) => None,
            (true, false) | (false, true) => Some(VolumeProblem::Damaged { path }),
            (false, false) => Some(stranger(&path, &bytes, description)),
        },
        Ordering::Less if begins || got < EDGE => Some(VolumeProblem::Short { path, expected, got }),
        Ordering::Greater if begins => Some(VolumeProblem::Long { path, expected, got }),
        Ordering::Less | Ordering::Greater => Some(stranger(&path, &bytes, description)),
    })
}

/// What a file is that does not begin as the volume whose name it has.
fn stranger(path: &Path, bytes: &BundleBytes, description: &Description) -> VolumeProblem {
    let path = path.to_owned();
    match read_layout(bytes) {
        Ok(layout) if layout.id() == description.bundle => VolumeProblem::Foreign { path },
        Ok(layout) if layout.lock().release == description.release => {
            VolumeProblem::Stale { path, release: Some(layout.lock().release.clone()) }
        }
        Ok(layout) => VolumeProblem::OfAnother { path, release: Some(layout.lock().release.clone()) },
        Err(_) => VolumeProblem::Foreign { path },
    }
}

/// Puts volumes together by their names and by what the lock in them implies.
fn by_structure(set: &VolumeSet) -> Result<BundleBytes, BundleError> {
    finish(set, structural_slots(set)?)
}

fn structural_slots(set: &VolumeSet) -> Result<Vec<Slot>, BundleError> {
    let base = set.shown.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut numbered: BTreeMap<usize, Vec<&Candidate>> = BTreeMap::new();
    for file in &set.files {
        if let Some((_, number)) = file.volume_name().filter(|(name, _)| name.eq_ignore_ascii_case(&base)) {
            numbered.entry(number).or_default().push(file);
        }
    }
    let size = usual_size(&numbered);
    let highest = numbered.keys().next_back().copied().unwrap_or(1);
    let named = |number: usize| volume_name(&base, number);
    let mut slots = Vec::new();
    for number in 1..=highest {
        slots.push(match numbered.get(&number) {
            Some(files) => filled(&named(number), Piece::open(&files[0].path)?),
            None => missing(set, named(number), size),
        });
    }
    let sketch = BundleBytes::joined(set.shown.clone(), slots.iter().map(|slot| slot.piece.clone()).collect(), true);
    let Ok(layout) = read_layout(&sketch) else {
        // What is wrong in the head is for `verify` to say, unless a volume is missing.
        return Ok(slots);
    };
    // Volumes so short that their names could not count them are no cut of it: the first one says how long they are.
    let first = sketch.pieces()[0].length.max(1);
    let size = if layout.total().div_ceil(size) > MOST_VOLUMES { first } else { size };
    let count = layout.total().div_ceil(size);
    if count > MOST_VOLUMES {
        return Err(sketch.damaged(format!("volumes of {size} bytes are no cut of {} bytes", layout.total())));
    }
    let count = usize::try_from(count).expect("it is small");
    let mut slots = Vec::new();
    for number in 1..=count {
        let from = (number as u64 - 1) * size;
        slots.push(match numbered.get(&number) {
            None => missing(set, named(number), size.min(layout.total() - from)),
            Some(files) => structural_slot(&named(number), files, &layout, from, size)?,
        });
    }
    for (number, files) in numbered.range(count + 1..) {
        slots.push(extra(named(*number), files[0], count));
    }
    tell_apart(set, &layout, size, &mut slots)?;
    Ok(slots)
}

/// The length that all volumes but the last one have: the most frequent one, and the first volume's among equals.
fn usual_size(numbered: &BTreeMap<usize, Vec<&Candidate>>) -> u64 {
    let last = numbered.keys().next_back().copied().unwrap_or_default();
    let lengths: Vec<u64> = numbered
        .iter()
        .filter(|(number, _)| **number != last || numbered.len() == 1)
        .map(|(_, files)| files[0].length)
        .collect();
    let how_often = |length: u64| lengths.iter().filter(|other| **other == length).count();
    let most = lengths.iter().map(|length| how_often(*length)).max().unwrap_or_default();
    lengths.iter().copied().find(|length| how_often(*length) == most).unwrap_or(1).max(1)
}

fn missing(set: &VolumeSet, name: String, length: u64) -> Slot {
    let piece = Piece::absent(folder_of(&set.shown).join(&name), length);
    Slot { name, piece, problem: Some(VolumeProblem::Missing) }
}

fn extra(name: String, file: &Candidate, count: usize) -> Slot {
    let problem = Some(VolumeProblem::Extra { path: file.path.clone(), count });
    Slot { name, piece: Piece::absent(file.path.clone(), 0), problem }
}

fn structural_slot(
    name: &str,
    files: &[&Candidate],
    layout: &Layout,
    from: u64,
    size: u64,
) -> Result<Slot, BundleError> {
    let expected = size.min(layout.total() - from);
    let mut first = None;
    for file in files {
        let (path, got) = (file.path.clone(), file.length);
        let piece = Piece::open(&file.path)?;
        let problem = match got.cmp(&expected) {
            Ordering::Less => VolumeProblem::Short { path, expected, got },
            Ordering::Greater => VolumeProblem::Long { path, expected, got },
            Ordering::Equal => match strange(&piece, layout, from) {
                None => return Ok(filled(name, piece)),
                Some(problem) => problem,
            },
        };
        first = first.or(Some((file.path.clone(), problem)));
    }
    let (path, problem) = first.expect("a number stands for at least one file");
    Ok(Slot { name: name.to_owned(), piece: Piece::absent(path, expected), problem: Some(problem) })
}

/// Why a file cannot be the part of the bundle from `from` on, as far as headers tell.
fn strange(piece: &Piece, layout: &Layout, from: u64) -> Option<VolumeProblem> {
    let path = piece.path.clone();
    let bytes = BundleBytes::joined(path.clone(), vec![piece.clone()], true);
    if from > 0
        && let Ok(other) = read_layout(&bytes)
    {
        let release = Some(other.lock().release.clone());
        let same = other.lock().release == layout.lock().release;
        let problem =
            if same { VolumeProblem::Stale { path, release } } else { VolumeProblem::OfAnother { path, release } };
        return Some(problem);
    }
    (fits(layout, &bytes, from) == Some(false)).then_some(VolumeProblem::Foreign { path })
}

/// Finds out which of the strangers are volumes of this bundle under another one's name.
fn tell_apart(set: &VolumeSet, layout: &Layout, size: u64, slots: &mut [Slot]) -> Result<(), BundleError> {
    let strangers: Vec<PathBuf> = slots
        .iter()
        .filter_map(|slot| match &slot.problem {
            Some(
                VolumeProblem::Foreign { path } | VolumeProblem::Short { path, .. } | VolumeProblem::Long { path, .. },
            ) => Some(path.clone()),
            _ => None,
        })
        .collect();
    for (index, slot) in slots.iter_mut().enumerate() {
        let from = index as u64 * size;
        if slot.problem.is_none() || from >= layout.total() {
            continue;
        }
        let expected = size.min(layout.total() - from);
        let own = set.shown.with_file_name(&slot.name);
        for path in strangers.iter().filter(|path| path.file_name() != own.file_name()) {
            let piece = Piece::open(path)?;
            let bytes = BundleBytes::joined(path.clone(), vec![piece.clone()], true);
            if piece.length == expected && fits(layout, &bytes, from) == Some(true) {
                slot.problem = Some(VolumeProblem::Misnamed { found: path.clone() });
                slot.piece = piece;
                break;
            }
        }
    }
    Ok(())
}
