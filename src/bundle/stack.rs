//! A delta with the older bundles that hold the rest, read as one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::bundle::error::BundleError;
use crate::bundle::header::TRAILER;
use crate::bundle::layout::{Layout, MemberPath};
use crate::bundle::open::Bundle;
use crate::bundle::place::BundlePlace;
use crate::content::{Fetched, FilePart, ImageSource, Lookup, Unverified, write_all_at};
use crate::failure::Failure;
use crate::images::{Lock, LockedContent};
use crate::oci::{Descriptor, Digest, Repository};

/// A bundle, and others that may hold what it leaves out. The set of images is that of the first; the others lend
/// layers, and each read is compared with its digest as ever.
pub struct Stack {
    top: Arc<Bundle>,
    bases: Vec<Arc<Bundle>>,
}

impl Stack {
    /// Opens a bundle and those below it. A base may be a delta itself; then what that builds on belongs into `bases`
    /// too.
    pub fn open(top: &BundlePlace, bases: &[BundlePlace]) -> Result<Self, BundleError> {
        let top = Arc::new(Bundle::open(top)?);
        let bases = bases.iter().map(|base| Ok(Arc::new(Bundle::open(base)?))).collect::<Result<_, BundleError>>()?;
        Ok(Self { top, bases })
    }

    /// The bundle whose images these are.
    pub fn top(&self) -> &Bundle {
        &self.top
    }

    /// The bundles that lend layers.
    pub fn bases(&self) -> &[Arc<Bundle>] {
        &self.bases
    }

    /// The whole set of images.
    pub fn lock(&self) -> &Lock {
        self.top.lock()
    }

    /// The bundle that has a blob of this size: the first, where it does.
    pub fn holder(&self, digest: &Digest, size: u64) -> Option<&Arc<Bundle>> {
        let has = |bundle: &&Arc<Bundle>| bundle.layout().blob(digest).is_some_and(|member| member.size == size);
        std::iter::once(&self.top).chain(&self.bases).find(has)
    }

    /// What is left out and in none of the bundles, by digest. Empty: every image is whole.
    pub fn lacking(&self) -> BTreeMap<Digest, &LockedContent> {
        let left_out = self.left_out();
        left_out.into_iter().filter(|(digest, layer)| self.holder(digest, layer.size).is_none()).collect()
    }

    /// The layers that the first bundle leaves out, by digest.
    pub fn left_out(&self) -> BTreeMap<Digest, &LockedContent> {
        let mut layers = self.lock().layers();
        layers.retain(|digest, _| self.top.layout().base().is_some_and(|base| base.leaves_out(digest)));
        layers
    }

    /// The complete bundle of the set, byte for byte what `pull` writes without a base, as ranges of the open files that
    /// hold it, and its length. Only what stands before the blobs is made anew, in memory.
    pub fn whole(&self) -> Result<(Vec<FilePart>, u64), BundleError> {
        let (layout, bytes) = (self.top.layout(), self.top.bytes());
        if layout.base().is_none() {
            return Ok((bytes.parts(0..bytes.length())?, bytes.length()));
        }
        let unusable = |source| BundleError::Lock { path: self.top.path().to_owned(), source };
        let whole = Layout::new(self.lock().clone()).map_err(unusable)?;
        let mut parts = vec![self.head(&whole)?];
        for member in whole.members() {
            if let MemberPath::Blob(digest) = member.path {
                let holder = self.holder(&digest, member.size).ok_or(BundleError::LeftOut(digest))?;
                let there = holder.layout().blob(&digest).expect("a holder has it");
                // Header and padding follow from name and size, so they are the same in every bundle.
                parts.extend(holder.bytes().parts(there.header..there.next())?);
            }
        }
        parts.extend(bytes.parts(layout.total() - TRAILER..layout.total())?);
        Ok((parts, whole.total()))
    }

    /// The members before the blobs, in a file that is nowhere on a disk.
    fn head(&self, layout: &Layout) -> Result<FilePart, BundleError> {
        let mut head = Vec::new();
        for member in layout.members() {
            if !matches!(member.path, MemberPath::Blob(_)) {
                head.extend_from_slice(&member.header_block());
                head.extend_from_slice(layout.head(member.path));
                head.resize(head.len().next_multiple_of(512), 0);
            }
        }
        let path = self.top.path().to_owned();
        let file = in_memory(&head).map_err(BundleError::io("make the head of the whole bundle for", &path))?;
        Ok(FilePart { path, file: Arc::new(file), at: 0, length: head.len() as u64 })
    }

    /// A document of the set, compared with its digest. The first bundle has them all.
    pub fn read_document(&self, digest: &Digest) -> Result<Bytes, BundleError> {
        self.top.read_document(digest)
    }
}

/// A file of these bytes without a name.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    let file = File::from(rustix::fs::memfd_create("octobundle", rustix::fs::MemfdFlags::CLOEXEC)?);
    #[cfg(not(target_os = "linux"))]
    let file = tempfile::tempfile()?;
    write_all_at(&file, bytes, 0)?;
    Ok(file)
}

impl ImageSource for Stack {
    async fn document(&self, at: &Repository, lookup: &Lookup) -> Result<Fetched, Failure> {
        self.top.document(at, lookup).await
    }

    async fn blob(&self, at: &Repository, blob: &Descriptor, from: u64) -> Result<Unverified, Failure> {
        let holder = self.holder(&blob.digest, blob.size).ok_or(BundleError::LeftOut(blob.digest))?;
        holder.blob(at, blob, from).await
    }
}
