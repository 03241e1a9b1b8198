//! A bundle as the server reads it: opened read-only, noticed when it goes away or changes, opened again when it is back.
//!
//! No blob is believed because its bundle could be opened. It is hashed whole, once, and that verdict holds for as long
//! as the files are the very ones that were hashed: same device, inode, length and times. Whoever sends a blob keeps
//! its last piece back until the verdict is there and the files are still unchanged.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

use crate::bundle::{Bundle, BundleError, BundlePlace};
use crate::content::FilePart;
use crate::oci::{Digest, Hasher};
use crate::serve::lock;

/// Blobs up to this size are hashed beside the large ones, so that they never wait for gigabytes.
const SMALL: u64 = 16 * 1024 * 1024;
/// Bytes read at once for hashing.
const CHUNK: usize = 1024 * 1024;
/// How long a bundle that is away is not looked for again, as long as nothing changes at its place.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How far apart two changes of a file may be and still carry one time: FAT counts by two seconds, kernels by their
/// clock's tick.
const COARSE_TICK: Duration = Duration::from_secs(2);
const FINE_TICK: Duration = Duration::from_millis(20);

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

/// Why a bundle cannot be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is not there, or is another one.
    Away,
    /// It is there, and a part of it is damaged.
    Damaged,
    /// It is there, and those who are trusted have not signed it.
    Withheld,
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
    state: Mutex<State>,
    /// Whether it may be given out.
    allowed: AtomicBool,
}

enum State {
    Open(Arc<Opened>),
    /// Until its files change, or [`LOOK_AGAIN`] has passed, it is not looked for again: many clients ask.
    Away {
        paths: Vec<PathBuf>,
        refused: Option<(Vec<Option<Identity>>, Instant)>,
    },
}

/// A bundle's files as they were when they were opened.
pub(crate) struct Opened {
    bundle: Bundle,
    files: Vec<(PathBuf, Arc<File>, Identity)>,
    judges: Judges,
    verdicts: Mutex<HashMap<Digest, watch::Receiver<Option<Verdict>>>>,
}

/// What tells a file from another, and from itself after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let (device, inode, changed) = {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.dev(), metadata.ino(), (metadata.ctime(), metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (device, inode, changed) = (0, 0, (0, 0));
        Self { device, inode, length: metadata.len(), modified: metadata.modified().ok(), changed }
    }

    /// How long to wait until another change would give the file another time.
    fn unsettled(&self) -> Duration {
        let (seconds, nanos) = self.changed;
        let tick = if nanos == 0 { COARSE_TICK } else { FINE_TICK };
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else { return Duration::ZERO };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        // A time to come is no time that a change now would give.
        let age = SystemTime::now().duration_since(changed).unwrap_or(tick);
        tick.saturating_sub(age)
    }
}

impl Source {
    /// Takes over a bundle that was just opened.
    pub(crate) fn new(place: BundlePlace, bundle: Bundle, judges: Judges) -> Result<Self, BundleError> {
        let id = bundle.layout().id();
        let opened = Opened::new(bundle, judges.clone())?;
        let state = Mutex::new(State::Open(Arc::new(opened)));
        Ok(Self { place, id, judges, state, allowed: AtomicBool::new(true) })
    }

    /// Says whether it may be given out from now on.
    pub(crate) fn permit(&self, allowed: bool) {
        self.allowed.store(allowed, Ordering::SeqCst);
    }

    /// The bundle as it is now, if it may be given out. Blocks as [`Source::opened`] does.
    pub(crate) fn now(&self) -> Result<Arc<Opened>, Trouble> {
        if self.allowed.load(Ordering::SeqCst) { self.opened() } else { Err(Trouble::Withheld) }
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
        let seen: Vec<Option<Identity>> =
            paths.iter().map(|path| std::fs::metadata(path).ok().map(|metadata| Identity::of(&metadata))).collect();
        if refused.as_ref().is_some_and(|(before, at)| *before == seen && at.elapsed() < LOOK_AGAIN) {
            return Err(Trouble::Away);
        }
        let Some(opened) = self.open_again() else {
            *refused = Some((seen, Instant::now()));
            return Err(Trouble::Away);
        };
        *state = State::Open(opened.clone());
        Ok(opened)
    }

    /// Opens it again, if the bundle at its place is the same one, however often it was copied.
    fn open_again(&self) -> Option<Arc<Opened>> {
        let bundle = Bundle::open(&self.place).ok().filter(|bundle| bundle.layout().id() == self.id)?;
        Opened::new(bundle, self.judges.clone()).ok().map(Arc::new)
    }
}

impl Opened {
    fn new(bundle: Bundle, judges: Judges) -> Result<Self, BundleError> {
        let parts = bundle.bytes().parts(0..bundle.bytes().length())?;
        let identified = parts.into_iter().map(|FilePart { path, file, .. }| {
            let metadata = file.metadata().map_err(BundleError::io("look at", &path))?;
            Ok((path, file, Identity::of(&metadata)))
        });
        let files = identified.collect::<Result<_, BundleError>>()?;
        Ok(Self { bundle, files, judges, verdicts: Mutex::default() })
    }

    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// A document, compared with its digest. Blocks.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Bytes, Trouble> {
        self.bundle.read_document(digest).map_err(|error| match error {
            BundleError::Damaged { .. } => Trouble::Damaged,
            _ => Trouble::Away,
        })
    }

    /// Where the bytes of a part of a blob stand; none if the blob is not in this bundle.
    pub(crate) fn parts(&self, digest: &Digest, start: u64, length: u64) -> Option<Vec<FilePart>> {
        let member = self.bundle.layout().blob(digest)?;
        let end = start.checked_add(length).filter(|&end| end <= member.size)?;
        let (from, length) = (member.start() + start, end - start);
        self.bundle.bytes().parts(from..from + length).ok()
    }

    /// Whether its files still stand under their names, unchanged.
    fn is_in_place(&self) -> bool {
        let same = |(path, _, identity): &(PathBuf, Arc<File>, Identity)| {
            std::fs::metadata(path).is_ok_and(|metadata| Identity::of(&metadata) == *identity)
        };
        self.files.iter().all(same)
    }

    /// Whether the files that are open are still what they were. What was read before this says yes is what was hashed.
    pub(crate) fn is_unchanged(&self) -> bool {
        let same = |(_, file, identity): &(PathBuf, Arc<File>, Identity)| {
            file.metadata().is_ok_and(|metadata| Identity::of(&metadata) == *identity)
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

    fn hash(&self, digest: &Digest, size: u64) -> Verdict {
        let wait = self.files.iter().map(|(_, _, identity)| identity.unsettled()).max().unwrap_or_default();
        std::thread::sleep(wait);
        let Some(parts) = self.parts(digest, 0, size) else { return Verdict::Unreadable };
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
        for part in &parts {
            let mut done = 0;
            while done < part.length {
                let length = usize::try_from(part.length - done).unwrap_or(CHUNK).min(buffer.len());
                if part.read_exact_at(&mut buffer[..length], done).is_err() {
                    return Verdict::Unreadable;
                }
                hasher.update(&buffer[..length]);
                done += length as u64;
            }
        }
        match (self.is_unchanged(), hasher.digest() == *digest) {
            (true, true) => Verdict::Sound,
            (true, false) => Verdict::Damaged,
            (false, _) => Verdict::Unreadable,
        }
    }
}
