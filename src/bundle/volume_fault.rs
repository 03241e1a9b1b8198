//! What is wrong with a bundle's volumes, before any of their content is used.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use crate::bundle::bytes::BundleBytes;
use crate::bundle::header::BLOCK;
use crate::bundle::layout::{Layout, MemberPath};
use crate::bundle::stand_in::stand_in;
use crate::images::LockedImage;
use crate::oci::{Digest, ImageRef};

/// Names shown of the images that a volume's loss hurts; the rest is counted.
const SHOWN_IMAGES: usize = 5;
/// How far a volume that is not this bundle's is looked into for a sign of whose it is. A layer of a usual image ends
/// within that.
const LOOKED_INTO: u64 = 64 * 1024 * 1024;

/// One volume that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFault {
    /// The name that the volume should have.
    pub name: String,
    /// Its place among the volumes, from 1.
    pub number: usize,
    /// What is wrong.
    pub problem: VolumeProblem,
    /// The images that cannot be used without it; none where that cannot be known.
    pub images: Vec<ImageRef>,
}

/// What is wrong with a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeProblem {
    /// It was not found.
    Missing,
    /// It was found under another name.
    Misnamed {
        /// Where.
        found: PathBuf,
    },
    /// It and another one have each other's names.
    Exchanged {
        /// The other one's name.
        with: String,
    },
    /// It ends early.
    Short {
        /// Which file.
        path: PathBuf,
        /// The length that it should have.
        expected: u64,
        /// The length that it has.
        got: u64,
    },
    /// It goes on after its end.
    Long {
        /// Which file.
        path: PathBuf,
        /// The length that it should have.
        expected: u64,
        /// The length that it has.
        got: u64,
    },
    /// It is this bundle's, and not all of its bytes are as they were.
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// Nothing in it is this bundle's, as far as was looked, and nothing tells whose it is.
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// It is from another pull of the same release, or of one that has some of the same layers.
    Stale {
        /// Which file.
        path: PathBuf,
        /// The release; none where the volume does not name it.
        release: Option<String>,
    },
    /// It belongs to another bundle.
    OfAnother {
        /// Which file.
        path: PathBuf,
        /// The release in the other bundle; none where the volume does not name it.
        release: Option<String>,
    },
    /// It has a number behind the last one.
    Extra {
        /// Which file.
        path: PathBuf,
        /// How many volumes there are.
        count: usize,
    },
}

impl fmt::Display for VolumeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.problem {
            VolumeProblem::Missing => write!(f, "volume `{name}` is missing")?,
            VolumeProblem::Misnamed { found } => {
                write!(f, "volume `{name}` was renamed: its bytes are in `{}`", found.display())?;
            }
            VolumeProblem::Exchanged { with } => {
                write!(f, "volumes `{name}` and `{with}` are swapped: each has the other's bytes")?;
            }
            VolumeProblem::Short { path, expected, got } => {
                write!(f, "volume `{}` is cut short: it has {got} of {expected} bytes", path.display())?;
            }
            VolumeProblem::Long { path, expected, got } => {
                write!(f, "volume `{}` is too long: it has {got} bytes instead of {expected}", path.display())?;
            }
            VolumeProblem::Damaged { path } => {
                write!(
                    f,
                    "volume `{}` is damaged: it is this bundle's, but some of its bytes changed",
                    path.display()
                )?;
            }
            VolumeProblem::Foreign { path } => write!(
                f,
                "volume `{}` is not this bundle's: neither its first bytes nor its last ones are, and nothing in it tells whose it is",
                path.display()
            )?,
            VolumeProblem::Stale { path, release: Some(release) } => {
                write!(f, "volume `{}` is stale: it is from another pull of {release}", path.display())?;
            }
            VolumeProblem::Stale { path, release: None } => write!(
                f,
                "volume `{}` is stale: another pull left it, with layers of this bundle at other places",
                path.display()
            )?,
            VolumeProblem::OfAnother { path, release: Some(release) } => {
                write!(f, "volume `{}` is of another bundle, which holds {release}", path.display())?;
            }
            VolumeProblem::OfAnother { path, release: None } => {
                write!(f, "volume `{}` is of another bundle: it holds layers that this one has not", path.display())?;
            }
            VolumeProblem::Extra { path, count } => {
                write!(f, "volume `{}` is one too many: the bundle has {count} volumes", path.display())?;
            }
        }
        match &self.images[..] {
            [] => Ok(()),
            images => write!(f, " (hurts {})", few(images)),
        }
    }
}

fn few(images: &[ImageRef]) -> String {
    let shown: Vec<String> = images.iter().take(SHOWN_IMAGES).map(ToString::to_string).collect();
    match images.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl VolumeProblem {
    /// Whether nothing but the volume's own bytes can help.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// Whether another name is all that it needs.
    pub(crate) fn is_name(&self) -> bool {
        matches!(self, Self::Misnamed { .. } | Self::Exchanged { .. })
    }
}

/// Puts what is said twice of two exchanged volumes into one.
pub(crate) fn pair_up(faults: &[VolumeFault]) -> Vec<VolumeFault> {
    let holder = |fault: &VolumeFault| match &fault.problem {
        VolumeProblem::Misnamed { found } => found.file_name().map(|name| name.to_string_lossy().into_owned()),
        _ => None,
    };
    let mut paired: Vec<VolumeFault> = Vec::new();
    for fault in faults {
        let other = holder(fault).and_then(|name| {
            faults.iter().find(|other| other.name == name && holder(other).as_ref() == Some(&fault.name))
        });
        match other {
            Some(other) if other.number < fault.number => {}
            Some(other) => {
                let mut images = fault.images.clone();
                images.extend(other.images.iter().filter(|image| !fault.images.contains(image)).cloned());
                let problem = VolumeProblem::Exchanged { with: other.name.clone() };
                paired.push(VolumeFault { problem, images, ..fault.clone() });
            }
            None => paired.push(fault.clone()),
        }
    }
    paired
}

/// A problem of the volume from `from` on, said more exactly where the volume itself tells whose it is.
pub(crate) fn judged(problem: VolumeProblem, layout: &Layout, from: u64) -> VolumeProblem {
    let VolumeProblem::Foreign { path } = problem else { return problem };
    let Ok(volume) = BundleBytes::of_file(&path) else { return VolumeProblem::Foreign { path } };
    if fits(layout, &volume, from) == Some(true) {
        return VolumeProblem::Damaged { path };
    }
    let blobs = blobs_in(&volume, from);
    if blobs.is_empty() {
        VolumeProblem::Foreign { path }
    } else if blobs.iter().any(|digest| layout.blob(digest).is_some()) {
        VolumeProblem::Stale { path, release: None }
    } else {
        VolumeProblem::OfAnother { path, release: None }
    }
}

/// The blobs whose headers stand in the first part of a volume, if it was cut from a bundle as long as this one's
/// volumes are.
fn blobs_in(volume: &BundleBytes, from: u64) -> BTreeSet<Digest> {
    let headers = from.next_multiple_of(BLOCK) - from;
    let places = (headers..volume.length().min(LOOKED_INTO)).step_by(usize::try_from(BLOCK).expect("it is small"));
    let found = places.filter_map(|at| match volume.header_at(at) {
        Ok(Some((MemberPath::Blob(digest), _))) => Some(digest),
        _ => None,
    });
    found.collect()
}

/// The images that cannot be used without the bytes in a range; all of them where it holds a part of the head.
pub(crate) fn hurt(layout: &Layout, from: u64, to: u64) -> Vec<ImageRef> {
    let images = &layout.lock().images;
    let touched = layout.members().iter().filter(|member| member.header < to && from < member.next());
    let mut blobs = BTreeSet::new();
    for member in touched {
        match member.path {
            MemberPath::Blob(digest) => blobs.insert(digest),
            _ => return images.iter().map(|image| image.name.clone()).collect(),
        };
    }
    let needs = |image: &&LockedImage| {
        let own_stand_in = stand_in(image).map(|(content, _)| content.digest);
        let parts = image.documents().chain(image.layers()).map(|content| content.digest);
        parts.chain(own_stand_in).any(|digest| blobs.contains(&digest))
    };
    images.iter().filter(needs).map(|image| image.name.clone()).collect()
}

/// Whether a header of the layout stands where it should in a file that would be the part of the bundle from `from`
/// on. None where no header lies wholly in it.
pub(crate) fn fits(layout: &Layout, volume: &BundleBytes, from: u64) -> Option<bool> {
    let to = from + volume.length();
    let inside = layout.members().iter().filter(|member| member.header >= from && member.start() <= to);
    let mut seen = false;
    for member in inside {
        seen = true;
        if matches!(volume.header_at(member.header - from), Ok(Some(found)) if found == (member.path, member.size)) {
            return Some(true);
        }
    }
    seen.then_some(false)
}
