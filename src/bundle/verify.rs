//! Reads a whole bundle and hands back everything that is wrong with it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;

use crate::bundle::bytes::BundleBytes;
use crate::bundle::error::BundleError;
use crate::bundle::header::{BLOCK, TRAILER, padding};
use crate::bundle::layout::{Layout, MAX_HEAD_MEMBER, Member, MemberPath, parse_octobundle};
use crate::bundle::place::BundlePlace;
use crate::bundle::readme::readme;
use crate::images::{Base, Lock};
use crate::oci::{Digest, Hasher, ImageRef};
use crate::progress::{Arrival, Event, Phase, Progress};

/// Bytes read at once on each thread.
const CHUNK: usize = 1024 * 1024;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The member it is in; none for what lies behind the last one.
    pub member: Option<MemberPath>,
    /// The first byte concerned, from the start of the file.
    pub from: u64,
    /// The byte after the last one concerned.
    pub to: u64,
    /// What is wrong.
    pub problem: Problem,
    /// The images that cannot be used because of it; all of them where the head is hurt.
    pub images: Vec<ImageRef>,
}

/// What is wrong with some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The content has another digest.
    Content {
        /// What it should have.
        expected: Digest,
        /// What it has.
        got: Digest,
    },
    /// The tar header is not the one that belongs there.
    Header,
    /// The zeros up to the next block are not all zeros.
    Padding,
    /// The two empty blocks at the end are not there.
    End,
    /// The file ends before this member does.
    CutOff {
        /// The length that the file should have.
        expected: u64,
        /// The length that it has.
        got: u64,
    },
    /// The file goes on after its end.
    Trailing,
    /// The member says other things than `octobundle.json`.
    Disagrees,
    /// `octobundle.json` is damaged or was not written by this tool, so what should be in the bundle is not known.
    LockUnreadable(String),
}

/// What a bundle is worth.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Everything that is wrong; empty means sound.
    pub findings: Vec<Finding>,
    /// What it holds, as far as that could be read.
    pub lock: Option<Lock>,
    /// What it builds on, if it is a delta and that could be read.
    pub base: Option<Base>,
    /// Bytes read.
    pub bytes: u64,
    /// The volumes that it was read from, with their places in the bundle; empty if it is one file.
    pub volumes: Vec<(PathBuf, Range<u64>)>,
    /// Its `SHA256SUMS` as it was read, if nothing is wrong: what signatures sign.
    pub checksums: Option<Bytes>,
    /// The bundle's name: the file, or what its volumes have in common.
    pub path: PathBuf,
}

/// Reads every byte on `threads` threads. Only failing to look is an error.
pub fn verify(place: impl Into<BundlePlace>, threads: usize, progress: &dyn Progress) -> Result<Verdict, BundleError> {
    verify_bytes(&BundleBytes::open(&place.into())?, threads, progress)
}

/// The same for bytes that are open.
pub(crate) fn verify_bytes(
    opened: &BundleBytes,
    threads: usize,
    progress: &dyn Progress,
) -> Result<Verdict, BundleError> {
    let head = Head::read(opened)?;
    progress.report(Event::Phase(Phase::Verifying));
    let (layout, mut findings) = head.judge();
    let members = match &layout {
        Some(layout) => layout.members()[MemberPath::HEAD.len()..].to_vec(),
        None => walk_blobs(opened, head.end, &mut findings)?,
    };
    let bytes = members.iter().map(|member| member.size).sum();
    progress.report(Event::Planned {
        images: layout.as_ref().map_or(0, |layout| layout.lock().images.len()),
        blobs: members.len(),
        bytes,
    });
    let lock = layout.as_ref().map(Layout::lock);
    let users = lock.map(Lock::users).unwrap_or_default();
    let check = BlobCheck { opened, users, total: layout.as_ref().map(Layout::total), progress };
    findings.extend(check.all(&members, threads)?);
    findings.extend(check_end(opened, &members, layout.as_ref(), head.end)?);
    findings.sort_by_key(|finding| finding.from);
    let volumes = opened.volumes().into_iter().map(|(path, range)| (path.to_owned(), range)).collect();
    let base = layout.as_ref().and_then(Layout::base).cloned();
    let sound = layout.as_ref().filter(|_| findings.is_empty());
    let checksums = sound.map(|layout| layout.head(MemberPath::Checksums).clone());
    let path = opened.path().to_owned();
    Ok(Verdict { findings, lock: lock.cloned(), base, bytes: opened.length(), volumes, checksums, path })
}

/// The members before the blobs, as far as they can be found.
pub(crate) struct Head {
    members: BTreeMap<MemberPath, (Member, Bytes)>,
    findings: Vec<Finding>,
    /// Where the first blob's header should be.
    end: u64,
}

impl Head {
    /// Reads member by member; where a header is damaged, the next one that is whole is looked for.
    pub(crate) fn read(opened: &BundleBytes) -> Result<Self, BundleError> {
        let mut head = Self { members: BTreeMap::new(), findings: Vec::new(), end: 0 };
        for path in MemberPath::HEAD {
            let Some((at, size)) = find_header(opened, path, head.end)? else {
                head.findings.push(finding(
                    Some(path),
                    head.end,
                    (head.end + BLOCK).min(opened.length()),
                    Problem::Header,
                ));
                continue;
            };
            let member = Member { path, header: at, size };
            if member.next() > opened.length() {
                let problem = Problem::CutOff { expected: member.next(), got: opened.length() };
                head.findings.push(finding(Some(path), at, opened.length(), problem));
                head.end = opened.length();
                break;
            }
            head.findings.extend(check_padding(opened, &member)?);
            head.end = member.next();
            let bytes = opened.read(member.start(), size)?;
            head.members.insert(path, (member, bytes));
        }
        // A file in which our own members cannot be found was never a bundle.
        let ours = [MemberPath::Octobundle, MemberPath::Checksums, MemberPath::Readme];
        if ours.iter().all(|path| !head.members.contains_key(path)) && opened.header_at(0)?.is_none() {
            return Err(opened.not_a_bundle());
        }
        Ok(head)
    }

    /// Compares the head with what its lock implies. Without a usable lock there is no layout.
    fn judge(&self) -> (Option<Layout>, Vec<Finding>) {
        let mut findings = self.findings.clone();
        let layout = self.layout(&mut findings);
        let sums = self.members.get(&MemberPath::Checksums).map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        for (path, (member, bytes)) in &self.members {
            let listed = *path == MemberPath::Checksums || lists(&sums, &Digest::of(bytes), *path);
            let implied = layout.as_ref().is_none_or(|layout| layout.head(*path) == bytes);
            if !listed || !implied {
                findings.push(finding(Some(*path), member.start(), member.end(), Problem::Disagrees));
            }
        }
        let all = layout
            .as_ref()
            .map(|layout| layout.lock().images.iter().map(|image| image.name.clone()).collect::<Vec<_>>());
        for finding in &mut findings {
            finding.images = all.clone().unwrap_or_default();
        }
        // A lock that the checksums do not vouch for may point anywhere: the blobs are then found by walking.
        let path = MemberPath::Octobundle;
        let vouched = self.members.get(&path).is_some_and(|(_, bytes)| lists(&sums, &Digest::of(bytes), path));
        (layout.filter(|_| vouched), findings)
    }

    /// The layout that this head was written for, though parts of it may be damaged. What its lock implies has to be
    /// confirmed: by the id that is known of the bundle, by the checksums, or by everything else that follows from it.
    pub(crate) fn salvaged(&self, known: Option<&Digest>) -> Option<Layout> {
        let found = |path| self.members.get(&path).map(|(_, bytes)| bytes);
        let contents = parse_octobundle(found(MemberPath::Octobundle)?).ok()?;
        let own = Bytes::from(readme(&contents));
        let follows = [MemberPath::Index, MemberPath::DockerManifest];
        let confirmed = |layout: &Layout| {
            let same = |path| found(path) == Some(layout.head(path));
            let rest =
                follows.into_iter().all(same) && same(MemberPath::Readme) && *layout.head(MemberPath::Readme) == own;
            known == Some(&layout.id()) || same(MemberPath::Checksums) || rest
        };
        let readmes = [found(MemberPath::Readme).cloned(), Some(own.clone())];
        let layouts =
            readmes.into_iter().flatten().filter_map(|readme| Layout::with_readme(contents.clone(), readme).ok());
        layouts.into_iter().find(confirmed)
    }

    fn layout(&self, findings: &mut Vec<Finding>) -> Option<Layout> {
        let (member, text) = self.members.get(&MemberPath::Octobundle)?;
        let readme = self.members.get(&MemberPath::Readme).map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        match parse_octobundle(text).and_then(|contents| Layout::with_readme(contents, readme)) {
            Ok(layout) => Some(layout),
            Err(error) => {
                let problem = Problem::LockUnreadable(error.to_string());
                findings.push(finding(Some(member.path), member.start(), member.end(), problem));
                None
            }
        }
    }
}

/// Whether the text of `SHA256SUMS` has a line for a member with this digest.
fn lists(sums: &[u8], digest: &Digest, path: MemberPath) -> bool {
    let line = format!("{}  {path}", digest.hex());
    sums.split(|&byte| byte == b'\n').any(|found| found == line.as_bytes())
}

fn finding(member: Option<MemberPath>, from: u64, to: u64, problem: Problem) -> Finding {
    Finding { member, from, to, problem, images: Vec::new() }
}

/// Looks for a member's header from a place on, block by block, within what a head can be long.
fn find_header(opened: &BundleBytes, path: MemberPath, from: u64) -> Result<Option<(u64, u64)>, BundleError> {
    let last = opened.length().min(from + MAX_HEAD_MEMBER);
    let mut at = from;
    while at + BLOCK <= last {
        match opened.header_at(at)? {
            Some((found, size)) if found == path && size <= MAX_HEAD_MEMBER => return Ok(Some((at, size))),
            // A whole header of a later member: the one looked for is not here.
            Some(_) => return Ok(None),
            None => at += BLOCK,
        }
    }
    Ok(None)
}

/// The blobs as their own headers place them, for a bundle whose lock is lost. What lies between them is a finding.
fn walk_blobs(opened: &BundleBytes, from: u64, findings: &mut Vec<Finding>) -> Result<Vec<Member>, BundleError> {
    let mut members = Vec::new();
    let (mut at, mut gap) = (from, from);
    while at + BLOCK <= opened.length() {
        let Some((path @ MemberPath::Blob(_), size)) =
            opened.header_at(at)?.filter(|(_, size)| *size <= opened.length())
        else {
            at += BLOCK;
            continue;
        };
        if gap < at {
            findings.push(finding(None, gap, at, Problem::Header));
        }
        let member = Member { path, header: at, size };
        at = member.next();
        gap = at;
        members.push(member);
    }
    Ok(members)
}

struct BlobCheck<'a> {
    opened: &'a BundleBytes,
    /// Which images need which blob; nobody knows where the lock cannot be read.
    users: BTreeMap<Digest, Vec<&'a ImageRef>>,
    total: Option<u64>,
    progress: &'a dyn Progress,
}

impl BlobCheck<'_> {
    /// Checks every blob, the largest first, so that threads end together.
    fn all(&self, members: &[Member], threads: usize) -> Result<Vec<Finding>, BundleError> {
        let mut order: Vec<&Member> = members.iter().collect();
        order.sort_by_key(|member| std::cmp::Reverse(member.size));
        let next = AtomicUsize::new(0);
        let findings = Mutex::new(Vec::new());
        let work = || -> Result<(), BundleError> {
            let mut buffer = vec![0; CHUNK];
            while let Some(member) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                let found = self.one(member, &mut buffer)?;
                findings.lock().expect("no thread panics while it holds the findings").extend(found);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
            running.into_iter().try_for_each(|thread| thread.join().expect("checking does not panic"))
        })?;
        Ok(findings.into_inner().expect("no thread panicked while it held the findings"))
    }

    fn one(&self, member: &Member, buffer: &mut [u8]) -> Result<Vec<Finding>, BundleError> {
        let MemberPath::Blob(expected) = member.path else { unreachable!("only blobs are checked here") };
        let images: Vec<ImageRef> = self.users.get(&expected).into_iter().flatten().copied().cloned().collect();
        let mut findings = Vec::new();
        let mut add = |from, to, problem| {
            findings.push(Finding { member: Some(member.path), from, to, problem, images: images.clone() });
        };
        if member.end() > self.opened.length() {
            let expected = self.total.unwrap_or_else(|| member.next());
            add(member.header, member.end(), Problem::CutOff { expected, got: self.opened.length() });
            return Ok(findings);
        }
        if self.opened.header_at(member.header)? != Some((member.path, member.size)) {
            add(member.header, member.start(), Problem::Header);
        }
        self.progress.report(Event::BlobStarted {
            digest: expected,
            size: member.size,
            image: images.first().map(ToString::to_string).unwrap_or_default(),
        });
        let got = self.hash(member, expected, buffer)?;
        if got != expected {
            add(member.start(), member.end(), Problem::Content { expected, got });
        }
        if let Some(padding) = check_padding(self.opened, member)? {
            add(padding.from, padding.to, padding.problem);
        }
        self.progress.report(Event::BlobDone { digest: expected, size: member.size, arrival: Arrival::Present });
        Ok(findings)
    }

    fn hash(&self, member: &Member, digest: Digest, buffer: &mut [u8]) -> Result<Digest, BundleError> {
        let mut hasher = Hasher::new();
        while hasher.length() < member.size {
            let left = usize::try_from(member.size - hasher.length()).unwrap_or(usize::MAX);
            let piece = &mut buffer[..left.min(CHUNK)];
            self.opened.read_exact_at(piece, member.start() + hasher.length())?;
            hasher.update(piece);
            self.progress.report(Event::BlobAt { digest, position: hasher.length() });
        }
        Ok(hasher.digest())
    }
}

fn check_padding(opened: &BundleBytes, member: &Member) -> Result<Option<Finding>, BundleError> {
    let available = opened.length().saturating_sub(member.end());
    let zeros = opened.read(member.end().min(opened.length()), padding(member.size).min(available))?;
    let damaged = zeros.iter().any(|&byte| byte != 0);
    Ok(damaged.then(|| finding(Some(member.path), member.end(), member.next(), Problem::Padding)))
}

/// Checks that the file ends as it should: two empty blocks behind the last member, and nothing after them.
fn check_end(
    opened: &BundleBytes,
    members: &[Member],
    layout: Option<&Layout>,
    head_end: u64,
) -> Result<Vec<Finding>, BundleError> {
    let images =
        layout.map_or_else(Vec::new, |layout| layout.lock().images.iter().map(|image| image.name.clone()).collect());
    let end = members.iter().map(Member::next).max().unwrap_or(head_end);
    let expected = end + TRAILER;
    let mut findings = Vec::new();
    if opened.length() < expected {
        let problem = Problem::CutOff { expected, got: opened.length() };
        findings.push(Finding { images, ..finding(None, opened.length(), expected, problem) });
        return Ok(findings);
    }
    if opened.read(end, TRAILER)?.iter().any(|&byte| byte != 0) {
        findings.push(finding(None, end, expected, Problem::End));
    }
    if opened.length() > expected {
        findings.push(finding(None, expected, opened.length(), Problem::Trailing));
    }
    Ok(findings)
}
