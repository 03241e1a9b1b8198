//! What several commands take: a release or manifest with its choices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;

use octobundle::failure::{ErrorClass, Failure};
use octobundle::images::{ImageSet, Lock, PlatformChoice};
use octobundle::manifest::{MAX_MANIFEST_BYTES, Manifest, Selection, find_release};
use octobundle::oci::Platform;

/// A lock of 1,000 images of 60 layers is about 10 MiB.
const MAX_LOCK_BYTES: u64 = 64 * 1024 * 1024;

/// Which images of which release.
#[derive(clap::Args)]
pub(crate) struct ReleaseArgs {
    /// A release that comes with the tool (`octobundle releases`), or the path of a manifest
    pub(crate) release: Option<String>,
    /// Take only this group's images, and those without group; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Give a variable of the manifest a value; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Take this platform of every image, as in `linux/amd64`, or `all`; may be given several times
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]")]
    platforms: Vec<String>,
}

impl ReleaseArgs {
    /// The images that are wanted.
    pub(crate) fn image_set(&self) -> Result<ImageSet, Failure> {
        let Some(release) = &self.release else {
            return Err(Failure::new(ErrorClass::Usage, "no release was named")
                .with_help("name one of `octobundle releases`, the path of a manifest, or `--locked FILE`"));
        };
        let selection = self.selection()?;
        if is_path(release) {
            let text = read_limited(Path::new(release), MAX_MANIFEST_BYTES as u64 + 1)?;
            return Ok(Manifest::parse(release, &text)?.select(&selection)?);
        }
        Ok(find_release(release)?.manifest.select(&selection)?)
    }

    /// Whether anything but a lock was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.release.is_none() && self.groups.is_empty() && self.set.is_empty() && self.platforms.is_empty()
    }

    fn selection(&self) -> Result<Selection, Failure> {
        Ok(Selection { groups: self.groups.clone(), set: self.values()?, platforms: self.platform_choice()? })
    }

    fn values(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut values = BTreeMap::new();
        for text in &self.set {
            let Some((name, value)) = text.split_once('=') else {
                return Err(usage(format!("`--set {text}` has no `=`"), "write `--set name=value`"));
            };
            if values.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(usage(format!("`--set {name}=…` stands twice"), "give each variable one value"));
            }
        }
        Ok(values)
    }

    fn platform_choice(&self) -> Result<Option<PlatformChoice>, Failure> {
        if self.platforms.iter().any(|text| text == "all") {
            return match self.platforms.len() {
                1 => Ok(Some(PlatformChoice::All)),
                _ => Err(usage("`--platform all` stands beside other platforms", "leave out one or the other")),
            };
        }
        let parse = |text: &String| {
            text.parse::<Platform>()
                .map_err(|error| usage(error.to_string(), "write it as in `--platform linux/amd64`"))
        };
        let platforms = self.platforms.iter().map(parse).collect::<Result<BTreeSet<_>, _>>()?;
        Ok((!platforms.is_empty()).then_some(PlatformChoice::Only(platforms)))
    }
}

/// Release names have no slash and no ending; what exists as a file is meant as one.
fn is_path(text: &str) -> bool {
    let ending = Path::new(text).extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    ending || text.contains(['/', '\\']) || Path::new(text).is_file()
}

/// The text of a lock file, cut where no lock goes on.
pub(crate) fn read_lock_text(path: &Path) -> Result<Vec<u8>, Failure> {
    read_limited(path, MAX_LOCK_BYTES)
}

/// Reads a lock file.
pub(crate) fn read_lock(path: &Path) -> Result<Lock, Failure> {
    Lock::parse(&read_lock_text(path)?)
        .map_err(|error| Failure::from(error).within(format!("failed to use the lock `{}`", path.display())))
}

/// The first `limit` bytes of a file.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let class = match error.kind() {
                std::io::ErrorKind::NotFound => ErrorClass::NotFound,
                _ => ErrorClass::Disk,
            };
            Err(Failure::new(class, format!("failed to read `{}`: {error}", path.display()))
                .with_help("check the path"))
        }
    }
}

/// A wrong command line that clap could not see.
pub(crate) fn usage(message: impl Into<String>, help: &str) -> Failure {
    Failure::new(ErrorClass::Usage, message).with_help(help)
}

/// One thread a core.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
