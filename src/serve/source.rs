//! A bundle as the server reads it: opened read-only, noticed when it goes away or changes, opened again when it is back.
//!
//! No blob is believed because its bundle could be opened. It is hashed whole, once, and that verdict holds for as long
//! as the files are the very ones that were hashed: same device, inode, length and times. Whoever sends a blob keeps
//! its last piece back until the verdict is there and the files are still unchanged.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

use crate::bundle::{Bundle, BundleBytes, BundleError, BundlePlace};
use crate::content::FilePart;
use crate::failure::{ErrorClass, Failure};
use crate::oci::{Digest, Hasher};
use crate::serve::file_identity::FileIdentity;
use crate::serve::lock;
use crate::serve::notices::{Notice, Notices};

/// Blobs up to this size are hashed beside the large ones, so that they never wait for gigabytes.
const SMALL: u64 = 16 * 1024 * 1024;
/// Bytes read at once for hashing.
const CHUNK: usize = 1024 * 1024;
/// How long a bundle that is away is not looked for again, as long as nothing changes at its place.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What is known about a blob's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They are what its digest says.
    Sound,
    /// They are not.
    Damaged,
    /// They could not be read, or changed meanwhile.
    Unreadable,
}

/// Why a bundle cannot be read now. Of several, the last in this order is told: it is the one that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// It is there, and those who are trusted have not signed it.
    Withheld,
    /// It is there, and a part of it is damaged.
    Damaged,
    /// It is not there, cannot be read, or is another one.
    Away,
}

/// Threads that hash: few, so that serving is not starved.
#[derive(Clone)]
pub(crate) struct Judges {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Judges {
    pub(crate) fn new() -> Self {
        Self { small: Arc::new(Semaphore::new(1)), large: Arc::new(Semaphore::new(1)) }
    }
}

/// One bundle that is served.
pub(crate) struct Source {
    place: BundlePlace,
    id: Digest,
    judges: Judges,
    notices: Notices,
    state: Mutex<State>,
    /// Whether it may be given out.
    allowed: AtomicBool,
}

enum State {
    Open(Arc<Opened>),
    /// Until its files change, or [`LOOK_AGAIN`] has passed, it is not looked for again: many clients ask.
    Away {
        paths: Vec<PathBuf>,
        refused: Option<(Vec<Option<FileIdentity>>, Instant)>,
    },
}

/// A bundle's files as they were when they were opened.
pub(crate) struct Opened {
    bundle: Bundle,
    files: Vec<(PathBuf, Arc<File>, FileIdentity)>,
    judges: Judges,
    notices: Notices,
    /// Whether what is open cannot be read any more, though what stands under the same names now can.
    dead: AtomicBool,
    verdicts: Mutex<HashMap<Digest, watch::Receiver<Option<Verdict>>>>,
}

impl Source {
    /// Takes over a bundle that was just opened.
    pub(crate) fn new(
        place: BundlePlace,
        bundle: Bundle,
        judges: Judges,
        notices: Notices,
    ) -> Result<Self, BundleError> {
        let id = bundle.layout().id();
        let opened = Opened::new(bundle, judges.clone(), notices.clone())?;
        let state = Mutex::new(State::Open(Arc::new(opened)));
        Ok(Self { place, id, judges, notices, state, allowed: AtomicBool::new(true) })
    }

    /// Says whether it may be given out from now on.
    pub(crate) fn permit(&self, allowed: bool) {
        self.allowed.store(allowed, Ordering::SeqCst);
    }

    /// Whether it may be given out.
    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed.load(Ordering::SeqCst)
    }

    /// The bundle as it is now, if it may be given out. Blocks as [`Source::opened`] does.
    pub(crate) fn now(&self) -> Result<Arc<Opened>, Trouble> {
        if self.is_allowed() { self.opened() } else { Err(Trouble::Withheld) }
    }

    /// The bundle as it is now. Blocks: it asks the file system, and reads a bundle's head when it came back.
    pub(crate) fn opened(&self) -> Result<Arc<Opened>, Trouble> {
        let mut state = lock(&self.state);
        if let State::Open(opened) = &*state {
            if opened.is_in_place() {
                return Ok(opened.clone());
            }
            let paths = opened.files.iter().map(|(path, ..)| path.clone()).collect();
            // Dropping what was open lets the medium be unmounted.
            *state = State::Away { paths, refused: None };
        }
        let State::Away { paths, refused } = &mut *state else { unreachable!("an open bundle was looked at above") };
        let seen: Vec<Option<FileIdentity>> =
            paths.iter().map(|path| std::fs::metadata(path).ok().map(|metadata| FileIdentity::of(&metadata))).collect();
        if refused.as_ref().is_some_and(|(before, at)| *before == seen && at.elapsed() < LOOK_AGAIN) {
            return Err(Trouble::Away);
        }
        match self.open_again() {
            Ok(opened) => {
                if refused.is_some() {
                    self.notices.tell(Notice::Back(opened.bundle.path().to_owned()));
                }
                *state = State::Open(opened.clone());
                Ok(opened)
            }
            Err(why) => {
                if refused.is_none() {
                    self.notices.tell(Notice::Away(why));
                }
                *refused = Some((seen, Instant::now()));
                Err(Trouble::Away)
            }
        }
    }

    /// Opens it again, if the bundle at its place is the same one, however often it was copied.
    fn open_again(&self) -> Result<Arc<Opened>, Failure> {
        let bundle = Bundle::open(&self.place)?;
        if bundle.layout().id() != self.id {
            let text = format!("`{}` is another bundle than it was", bundle.path().display());
            return Err(Failure::new(ErrorClass::Integrity, text));
        }
        Ok(Arc::new(Opened::new(bundle, self.judges.clone(), self.notices.clone())?))
    }
}

impl Opened {
    fn new(bundle: Bundle, judges: Judges, notices: Notices) -> Result<Self, BundleError> {
        let parts = bundle.bytes().parts(0..bundle.bytes().length())?;
        let identified = parts.into_iter().map(|FilePart { path, file, .. }| {
            let metadata = file.metadata().map_err(BundleError::io("look at", &path))?;
            Ok((path, file, FileIdentity::of(&metadata)))
        });
        let files = identified.collect::<Result<_, BundleError>>()?;
        Ok(Self { bundle, files, judges, notices, dead: AtomicBool::new(false), verdicts: Mutex::default() })
    }

    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// A document, compared with its digest. Blocks.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Bytes, Trouble> {
        self.refuse_known_damage(digest)?;
        self.bundle.read_document(digest).map_err(|error| {
            if matches!(error, BundleError::Damaged { .. }) {
                self.remember_damage(digest);
                Trouble::Damaged
            } else {
                self.doubt(digest);
                Trouble::Away
            }
        })
    }

    /// Looks whether what is open is dead.
    fn doubt(&self, digest: &Digest) {
        if let Some(part) = self.parts(digest, 0, 1).as_deref().and_then(<[_]>::first) {
            self.read(part, 0, &mut [0]).ok();
        }
    }

    /// Where the bytes of a part of a blob stand, unless they are known to be damaged. Reads nothing.
    pub(crate) fn blob(&self, digest: &Digest, start: u64, length: u64) -> Result<Vec<FilePart>, Trouble> {
        self.refuse_known_damage(digest)?;
        self.parts(digest, start, length).ok_or(Trouble::Away)
    }

    fn refuse_known_damage(&self, digest: &Digest) -> Result<(), Trouble> {
        let known = lock(&self.verdicts).get(digest).and_then(|verdict| *verdict.borrow());
        if known == Some(Verdict::Damaged) { Err(Trouble::Damaged) } else { Ok(()) }
    }

    /// Keeps in mind that a document is damaged, where a repair would be noticed.
    fn remember_damage(&self, digest: &Digest) {
        if self.is_unchanged() && self.unsettled().is_zero() {
            let (_, told) = watch::channel(Some(Verdict::Damaged));
            lock(&self.verdicts).insert(*digest, told);
            self.notices.tell(Notice::damaged(self.bundle.path(), digest));
        }
    }

    /// Where the bytes of a part of a blob stand; none if the blob is not in this bundle.
    fn parts(&self, digest: &Digest, start: u64, length: u64) -> Option<Vec<FilePart>> {
        let member = self.bundle.layout().blob(digest)?;
        let end = start.checked_add(length).filter(|&end| end <= member.size)?;
        let (from, length) = (member.start() + start, end - start);
        self.bundle.bytes().parts(from..from + length).ok()
    }

    /// Fills `buffer` from a place in one of the files. Blocks.
    ///
    /// A medium that was taken out and put back has its files under their names again, even with their times, while
    /// what was opened before stays dead for good; then the bundle is opened anew for the next who asks.
    pub(crate) fn read(&self, part: &FilePart, from: u64, buffer: &mut [u8]) -> Result<(), Trouble> {
        let read = part.read_exact_at(buffer, from);
        if read.is_err() && BundleBytes::is_readable_anew(part, from) {
            self.dead.store(true, Ordering::SeqCst);
        }
        read.map_err(|_| Trouble::Away)
    }

    /// Whether its files can be read and still stand under their names, unchanged.
    fn is_in_place(&self) -> bool {
        let same = |(path, _, identity): &(PathBuf, Arc<File>, FileIdentity)| {
            std::fs::metadata(path).is_ok_and(|metadata| FileIdentity::of(&metadata) == *identity)
        };
        !self.dead.load(Ordering::SeqCst) && self.files.iter().all(same)
    }

    /// Whether the files that are open are still what they were. What was read before this says yes is what was hashed.
    pub(crate) fn is_unchanged(&self) -> bool {
        let same = |(_, file, identity): &(PathBuf, Arc<File>, FileIdentity)| {
            file.metadata().is_ok_and(|metadata| FileIdentity::of(&metadata) == *identity)
        };
        self.files.iter().all(same)
    }

    /// Begins to hash a blob, unless that was begun already, and gives the place where the verdict will appear.
    pub(crate) fn judge(self: &Arc<Self>, digest: &Digest, size: u64) -> watch::Receiver<Option<Verdict>> {
        let mut verdicts = lock(&self.verdicts);
        if let Some(known) = verdicts.get(digest)
            && *known.borrow() != Some(Verdict::Unreadable)
        {
            return known.clone();
        }
        let (tell, told) = watch::channel(None);
        verdicts.insert(*digest, told.clone());
        drop(verdicts);
        let (opened, digest) = (self.clone(), *digest);
        let judges = if size <= SMALL { self.judges.small.clone() } else { self.judges.large.clone() };
        tokio::spawn(async move {
            let _permit = judges.acquire_owned().await.expect("nobody closes it");
            let verdict = tokio::task::spawn_blocking(move || opened.hash(&digest, size)).await;
            tell.send_replace(Some(verdict.unwrap_or(Verdict::Unreadable)));
        });
        told
    }

    /// How long to wait until another change of any of the files would give it another time.
    fn unsettled(&self) -> Duration {
        self.files.iter().map(|(_, _, identity)| identity.unsettled()).max().unwrap_or_default()
    }

    fn hash(&self, digest: &Digest, size: u64) -> Verdict {
        std::thread::sleep(self.unsettled());
        let Some(parts) = self.parts(digest, 0, size) else { return Verdict::Unreadable };
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
        for part in &parts {
            let mut done = 0;
            while done < part.length {
                let length = usize::try_from(part.length - done).unwrap_or(CHUNK).min(buffer.len());
                if self.read(part, done, &mut buffer[..length]).is_err() {
                    return Verdict::Unreadable;
                }
                hasher.update(&buffer[..length]);
                done += length as u64;
            }
        }
        match (self.is_unchanged(), hasher.digest() == *digest) {
            (true, true) => Verdict::Sound,
            (true, false) => {
                self.notices.tell(Notice::damaged(self.bundle.path(), digest));
                Verdict::Damaged
            }
            (false, _) => Verdict::Unreadable,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;
    use crate::bundle::{Layout, MemberPath};
    use crate::content::write_all_at;
    use crate::images::{LOCK_SCHEMA, Lock};

    /// A bundle whose one layer has these bytes; its documents are holes.
    pub(crate) fn bundle(path: &Path, layer: &[u8]) -> (Source, Digest) {
        let content = |kind: &str, seed: &[u8]| serde_json::json!({"media_type": kind, "digest": Digest::of(seed), "size": seed.len()});
        let manifest = content("application/vnd.oci.image.manifest.v1+json", b"manifest");
        let lock = serde_json::json!({
            "schema": LOCK_SCHEMA, "release": "one-1", "title": "One layer", "manifest": Digest::of(b"release"),
            "images": [{
                "name": "reg.test/one:1", "role": "agent", "source": "reg.test/one", "root": manifest,
                "platforms": [{
                    "platform": "linux/amd64",
                    "manifest": manifest,
                    "config": content("application/vnd.oci.image.config.v1+json", b"config"),
                    "layers": [content("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
                }],
            }],
        });
        let layout = Layout::new(Lock::parse(lock.to_string().as_bytes()).unwrap()).unwrap();
        let file = File::create(path).unwrap();
        for member in layout.members() {
            write_all_at(&file, &member.header_block(), member.header).unwrap();
            if MemberPath::HEAD.contains(&member.path) {
                write_all_at(&file, layout.head(member.path), member.start()).unwrap();
            }
        }
        let digest = Digest::of(layer);
        write_all_at(&file, layer, layout.blob(&digest).unwrap().start()).unwrap();
        file.set_len(layout.total()).unwrap();
        drop(file);
        let place = BundlePlace::from(path);
        let source = Source::new(place.clone(), Bundle::open(&place).unwrap(), Judges::new(), Notices::new().0);
        (source.unwrap(), digest)
    }

    async fn verdict(opened: &Arc<Opened>, digest: &Digest, size: usize) -> Option<Verdict> {
        *opened.judge(digest, size as u64).wait_for(Option::is_some).await.unwrap()
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_called_damaged_and_is_read_again_when_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.tar");
        let layer = vec![7; 50_000];
        let (source, digest) = bundle(&path, &layer);
        let opened = source.opened().unwrap();
        let whole = std::fs::read(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1_000).unwrap();
        assert_eq!(verdict(&opened, &digest, layer.len()).await, Some(Verdict::Unreadable));
        assert_eq!(source.opened().err(), Some(Trouble::Away));
        std::fs::write(&path, &whole).unwrap();
        let again = source.opened().unwrap();
        assert_eq!(verdict(&again, &digest, layer.len()).await, Some(Verdict::Sound));
    }

    #[tokio::test]
    async fn a_medium_that_was_put_back_is_opened_anew_though_nothing_of_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.tar");
        let (source, digest) = bundle(&path, &vec![7; 50_000]);
        let opened = source.opened().unwrap();
        let part = opened.blob(&digest, 0, 50_000).unwrap().remove(0);
        assert!(Arc::ptr_eq(&opened, &source.opened().unwrap()));
        // A descriptor that reads nothing, as that of a medium which was out for a moment.
        let dead = FilePart { file: Arc::new(File::options().write(true).open(&path).unwrap()), ..part.clone() };
        assert_eq!(opened.read(&dead, 0, &mut [0]), Err(Trouble::Away));
        let again = source.opened().unwrap();
        assert!(!Arc::ptr_eq(&opened, &again));
        assert_eq!(again.read(&part, 0, &mut [0]), Ok(()));
        // A place that nobody can read is no reason to forget what is known of all others.
        let beyond = FilePart { at: 1 << 40, ..part };
        assert_eq!(again.read(&beyond, 0, &mut [0]), Err(Trouble::Away));
        assert!(Arc::ptr_eq(&again, &source.opened().unwrap()));
    }

    #[test]
    fn going_away_and_coming_back_are_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("one.tar"), folder.path().join("aside.tar"));
        let (mut source, _) = bundle(&path, b"layer");
        let (tell, mut told) = Notices::new();
        source.notices = tell;
        for _ in 0..2 {
            std::fs::rename(&path, &aside).unwrap();
            for _ in 0..3 {
                assert_eq!(source.opened().err(), Some(Trouble::Away));
            }
            assert!(matches!(told.try_recv(), Ok(Notice::Away(failure)) if failure.to_string().contains("one.tar")));
            std::fs::rename(&aside, &path).unwrap();
            source.opened().unwrap();
            assert!(matches!(told.try_recv(), Ok(Notice::Back(back)) if back == path));
            assert!(told.try_recv().is_err());
        }
    }
}
