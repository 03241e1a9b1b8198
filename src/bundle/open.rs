//! An opened bundle: its lock is read and agrees with everything that stands before the blobs; blobs are only located.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bytes::{Bytes, BytesMut};

use crate::bundle::bytes::BundleBytes;
use crate::bundle::error::BundleError;
use crate::bundle::header::{BLOCK, padding};
use crate::bundle::layout::{Layout, MAX_HEAD_MEMBER, MemberPath, parse_octobundle};
use crate::bundle::place::BundlePlace;
use crate::bundle::plain_file;
use crate::bundle::verify::{Verdict, verify_bytes};
use crate::content::{Fetched, ImageSource, Lookup, Unverified};
use crate::failure::{ErrorClass, Failure};
use crate::images::Lock;
use crate::oci::{Descriptor, Digest, Document, Repository};
use crate::progress::Progress;

/// Bytes read at once when content is given out: few system calls, and little memory for each of many uploads.
const CHUNK: usize = 256 * 1024;
/// Chunks read ahead of whoever sends them.
const AHEAD: usize = 2;

/// A bundle whose head was read and found sound.
pub struct Bundle {
    opened: BundleBytes,
    layout: Layout,
}

impl Bundle {
    /// Opens a bundle: finds its file or volumes, reads what stands before the blobs, lays it out again and compares.
    /// The blobs are not read.
    pub fn open(place: impl Into<BundlePlace>) -> Result<Self, BundleError> {
        let place = place.into();
        let opened = BundleBytes::open(&place)?;
        // A draft has its final length and a sound head from the start; its journal tells that layers are missing.
        if plain_file::beside(opened.path(), ".journal").is_file() {
            return Err(BundleError::Unfinished(opened.path().to_owned()));
        }
        let layout = read_layout(&opened)?;
        if opened.length() != layout.total() {
            return Err(opened.damaged(format!(
                "it is {} bytes long and should be {}",
                opened.length(),
                layout.total()
            )));
        }
        Ok(Self { opened, layout })
    }

    /// Where it is: the file, or the name that its volumes have in common.
    pub fn path(&self) -> &Path {
        self.opened.path()
    }

    /// Its bytes, in whatever number of files they are. They are open, so what is read later comes from these very
    /// files, whatever happens to their names.
    pub fn bytes(&self) -> &BundleBytes {
        &self.opened
    }

    /// Reads every byte on `threads` threads and tells all that is wrong.
    pub fn verify(&self, threads: usize, progress: &dyn Progress) -> Result<Verdict, BundleError> {
        verify_bytes(&self.opened, threads, progress)
    }

    /// What it holds.
    pub fn lock(&self) -> &Lock {
        self.layout.lock()
    }

    /// Where everything is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its `SHA256SUMS`, which covers every other member: what signatures sign. All that is read of this bundle is
    /// compared with it or with what follows from it.
    pub fn checksums(&self) -> &Bytes {
        self.layout.head(MemberPath::Checksums)
    }

    /// A document, compared with its digest.
    pub fn read_document(&self, digest: &Digest) -> Result<Bytes, BundleError> {
        let member = self.layout.blob(digest).ok_or(BundleError::Unknown(*digest))?;
        if member.size > crate::content::MAX_DOCUMENT_BYTES {
            return Err(self.opened.damaged(format!("document {digest} is {} bytes long", member.size)));
        }
        let bytes = self.opened.read(member.start(), member.size)?;
        if Digest::of(&bytes) != *digest {
            return Err(self.opened.damaged(format!("document {digest} has other bytes")));
        }
        Ok(bytes)
    }
}

/// Reads what stands before the blobs and lays the file out again; the two must agree.
pub(crate) fn read_layout(opened: &BundleBytes) -> Result<Layout, BundleError> {
    let head = read_head(opened)?;
    let unusable = |source| BundleError::Lock { path: opened.path().to_owned(), source };
    let contents = parse_octobundle(&head[&MemberPath::Octobundle]).map_err(unusable)?;
    let layout = Layout::with_readme(contents, head[&MemberPath::Readme].clone()).map_err(unusable)?;
    match MemberPath::HEAD.iter().find(|path| head[path] != layout.head(**path)) {
        Some(path) => Err(opened.damaged(format!("`{path}` does not agree with `octobundle.json`"))),
        None => Ok(layout),
    }
}

/// Reads the members before the blobs, in their one order, each with its header checked.
fn read_head(opened: &BundleBytes) -> Result<BTreeMap<MemberPath, Bytes>, BundleError> {
    let mut head = BTreeMap::new();
    let mut at = 0;
    for (index, path) in MemberPath::HEAD.into_iter().enumerate() {
        let found = opened.header_at(at)?.filter(|(found, size)| *found == path && *size <= MAX_HEAD_MEMBER);
        let Some((_, size)) = found else {
            // The first two members also begin other tools' files of the same kind.
            let ours = index > 1;
            return Err(if ours {
                opened.damaged(format!("the header of `{path}` is not there"))
            } else {
                opened.not_a_bundle()
            });
        };
        if at + BLOCK + size + padding(size) > opened.length() {
            return Err(opened.damaged(format!("it ends inside `{path}`")));
        }
        head.insert(path, opened.read(at + BLOCK, size)?);
        at += BLOCK + size + padding(size);
    }
    Ok(head)
}

impl ImageSource for Bundle {
    async fn document(&self, at: &Repository, lookup: &Lookup) -> Result<Fetched, Failure> {
        let Lookup::Digest(digest) = lookup else {
            return Err(Failure::new(ErrorClass::Other, format!("a bundle is asked by digest, not for `{lookup}`")));
        };
        let raw = self.read_document(digest)?;
        let document = Document::parse(raw, None)
            .map_err(|error| Failure::new(ErrorClass::Integrity, format!("{digest} in the bundle: {error}")))?;
        Ok(Fetched { document, answered_by: at.clone(), insecure: false })
    }

    async fn blob(&self, _: &Repository, blob: &Descriptor, from: u64) -> Result<Unverified, Failure> {
        let member = self.layout.blob(&blob.digest).ok_or(BundleError::Unknown(blob.digest))?;
        Ok(stream(&self.opened, member.start() + from.min(member.size)..member.end()))
    }
}

/// A range of a bundle, read ahead of whoever takes it. Not to be used outside of a runtime.
pub(crate) fn stream(bytes: &BundleBytes, range: Range<u64>) -> Unverified {
    let bytes = bytes.clone();
    let (give, take) = tokio::sync::mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        for chunk in chunks(&bytes, range) {
            // Whoever read has gone: there is nobody to tell.
            if give.blocking_send(chunk.map_err(Failure::from)).is_err() {
                break;
            }
        }
    });
    Unverified::new(futures_util::stream::unfold(take, |mut take| async {
        let chunk = take.recv().await?;
        Some((chunk, take))
    }))
}

/// A range in pieces; it ends after the first error.
fn chunks(opened: &BundleBytes, range: Range<u64>) -> impl Iterator<Item = Result<Bytes, BundleError>> + '_ {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let length = usize::try_from(range.end - at).unwrap_or(CHUNK).min(CHUNK);
        if length == 0 {
            return None;
        }
        let mut bytes = BytesMut::zeroed(length);
        let read = opened.read_exact_at(&mut bytes, at);
        at = if read.is_ok() { at + length as u64 } else { range.end };
        Some(read.map(|()| bytes.freeze()))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;
    use crate::bundle::layout::Member;
    use crate::content::write_all_at;
    use crate::images::{LOCK_SCHEMA, Lock};

    /// Above 8 GiB tar writes sizes in base 256.
    const LARGE: u64 = 9 << 30;

    fn lock_with_a_large_layer() -> Lock {
        let content = |kind: &str, seed: &[u8], size: u64| serde_json::json!({"media_type": kind, "digest": Digest::of(seed), "size": size});
        let manifest = content("application/vnd.oci.image.manifest.v1+json", b"manifest", 400);
        let lock = serde_json::json!({
            "schema": LOCK_SCHEMA, "release": "large-1", "title": "A large layer", "manifest": Digest::of(b"release"),
            "images": [{
                "name": "reg.test/large:1", "role": "agent", "source": "reg.test/large", "root": manifest,
                "platforms": [{
                    "platform": "linux/amd64",
                    "manifest": manifest,
                    "config": content("application/vnd.oci.image.config.v1+json", b"config", 300),
                    "layers": [
                        content("application/vnd.oci.image.layer.v1.tar+gzip", b"large", LARGE),
                        content("application/vnd.oci.image.layer.v1.tar+gzip", b"small", 7),
                    ],
                }],
            }],
        });
        Lock::parse(lock.to_string().as_bytes()).unwrap()
    }

    /// All of a bundle but its blobs, in a file with holes.
    fn write_sparse(path: &Path, layout: &Layout) {
        let file = File::create(path).unwrap();
        for member in layout.members() {
            write_all_at(&file, &member.header_block(), member.header).unwrap();
            if MemberPath::HEAD.contains(&member.path) {
                write_all_at(&file, layout.head(member.path), member.start()).unwrap();
            }
        }
        file.set_len(layout.total()).unwrap();
    }

    fn stdout(program: &str, arguments: &[&str]) -> Option<String> {
        match Command::new(program).args(arguments).output() {
            Ok(output) => {
                assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
                Some(String::from_utf8(output.stdout).unwrap())
            }
            Err(error) => {
                // The library's own lints forbid the macros that print.
                use std::io::Write as _;
                writeln!(std::io::stderr(), "SKIPPED: {program}: {error}").unwrap();
                None
            }
        }
    }

    #[test]
    fn sec_44_tar_readers_agree_on_the_places_in_a_bundle_with_a_layer_of_9_gib() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.tar");
        let layout = Layout::new(lock_with_a_large_layer()).unwrap();
        write_sparse(&path, &layout);
        let bundle = Bundle::open(&path).unwrap();
        assert_eq!(bundle.layout().members(), layout.members());
        assert!(layout.total() > LARGE && layout.layers()[0].size == LARGE && layout.layers()[1].header > LARGE);

        let text = path.to_str().unwrap();
        if let Some(listed) = stdout("tar", &["--list", "--verbose", "--block-number", "--file", text]) {
            // `block N: MODE OWNER SIZE DATE TIME NAME`
            let seen: Vec<(u64, u64, String)> = listed
                .lines()
                .filter(|line| !line.contains("** Block"))
                .map(|line| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    let block: u64 = words[1].trim_end_matches(':').parse().unwrap();
                    (block * BLOCK, words[4].parse().unwrap(), words.last().unwrap().to_string())
                })
                .collect();
            let expected: Vec<(u64, u64, String)> =
                layout.members().iter().map(|member| (member.header, member.size, member.path.to_string())).collect();
            assert_eq!(seen, expected);
        }
        let script = "import sys, tarfile\nfor m in tarfile.open(sys.argv[1]): print(m.offset_data, m.size, m.name)";
        if let Some(seen) = stdout("python3", &["-c", script, text]) {
            let line = |member: &Member| format!("{} {} {}\n", member.start(), member.size, member.path);
            assert_eq!(seen, layout.members().iter().map(line).collect::<String>());
        }
    }
}
