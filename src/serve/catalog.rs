//! What is offered: every repository with its tags, manifests and blobs. Made once from the locks; no I/O.

use std::collections::BTreeMap;

use crate::failure::{ErrorClass, Explain};
use crate::images::{Lock, LockedContent, LockedImage};
use crate::oci::{Digest, ImageRef, MediaType, Repository, RepositoryName, Tag};
use crate::plan::{MapError, MirrorMap, Target};

/// One bundle's part of the offer.
pub struct Offered<'a> {
    /// The images that it brings; none if it only lends what the others leave out.
    pub images: Option<&'a Lock>,
    /// Whether the bundle itself has some content, in this very length.
    pub has: &'a dyn Fn(&LockedContent) -> bool,
}

/// Why bundles cannot be offered side by side.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Two images of one bundle would get one name.
    #[error(transparent)]
    Names(#[from] MapError),
    /// One name for two images in two bundles.
    #[error("bundles {first} and {second} have different images for `{name}`")]
    TwoImages {
        /// What both would be called.
        name: String,
        /// The number of one bundle, from 1.
        first: usize,
        /// The number of the other.
        second: usize,
    },
    /// A part of an image that none of the bundles has.
    #[error("`{image}` needs {digest}, which none of the bundles has")]
    Lacks {
        /// The image.
        image: Box<ImageRef>,
        /// What it lacks.
        digest: Digest,
    },
}

impl Explain for CatalogError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Names(error) => error.class(),
            Self::TwoImages { .. } => ErrorClass::Usage,
            Self::Lacks { .. } => ErrorClass::NotFound,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Names(error) => error.help(),
            Self::TwoImages { .. } => {
                Some("serve one of them, or each by a server of its own with another `--listen`".into())
            }
            Self::Lacks { .. } => Some("give the bundle that it builds on along: `--base OLD`".into()),
        }
    }
}

/// Content in stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub media_type: MediaType,
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// The places of the bundles that have it, in the order given; at least one.
    pub sources: Vec<usize>,
    /// The places of the bundles whose images it belongs to, in this repository; at least one. Only they can say that
    /// it is wanted, wherever its bytes come from.
    pub owners: Vec<usize>,
}

/// One repository.
#[derive(Debug, Default)]
pub struct Stock {
    tags: BTreeMap<Tag, Digest>,
    manifests: BTreeMap<Digest, Item>,
    blobs: BTreeMap<Digest, Item>,
}

impl Stock {
    /// The tags, in the order of their bytes.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.keys()
    }

    /// The index or image manifest under a tag.
    pub fn tagged(&self, tag: &Tag) -> Option<&Item> {
        self.manifests.get(self.tags.get(tag)?)
    }

    /// An index or image manifest.
    pub fn manifest(&self, digest: &Digest) -> Option<&Item> {
        self.manifests.get(digest)
    }

    /// Every index and image manifest.
    pub fn manifests(&self) -> impl Iterator<Item = &Item> {
        self.manifests.values()
    }

    /// A configuration or layer of one of the repository's images.
    pub fn blob(&self, digest: &Digest) -> Option<&Item> {
        self.blobs.get(digest)
    }
}

/// Everything that is offered.
#[derive(Debug, Default)]
pub struct Catalog {
    by_name: BTreeMap<RepositoryName, Stock>,
    by_origin: BTreeMap<Repository, Stock>,
    images: Vec<OfferedImage>,
}

/// One image, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedImage {
    /// What it is called where it came from.
    pub origin: ImageRef,
    /// What it is called here; the host is a stand-in.
    pub name: ImageRef,
    /// What both names stand for.
    pub digest: Digest,
    /// What it does.
    pub role: String,
    /// Its platforms, as in `linux/amd64`.
    pub platforms: Vec<String>,
    /// Bytes of its blobs, each counted once.
    pub bytes: u64,
    /// The place of the first bundle that has it.
    pub bundle: usize,
}

impl Catalog {
    /// Lists every image of every bundle under the name that a push to `target` would give it.
    ///
    /// Refuses names that would stand for two images, and images of which a part is in none of the bundles.
    pub fn new(bundles: &[Offered<'_>], target: &Target) -> Result<Self, CatalogError> {
        let mut catalog = Self::default();
        let mut named: BTreeMap<ImageRef, (usize, Digest)> = BTreeMap::new();
        for (place, bundle) in bundles.iter().enumerate() {
            let Some(lock) = bundle.images else { continue };
            let mirrored = MirrorMap::of_lock(lock, target)?;
            for image in &lock.images {
                let name = mirrored.target_of(&image.name).expect("the map was made of this lock");
                let (first, digest) = *named.entry(name.clone()).or_insert((place, image.root.digest));
                if digest != image.root.digest {
                    let text = format!("{}:{}", name.repository().name.as_str(), name.lookup());
                    return Err(CatalogError::TwoImages { name: text, first: first + 1, second: place + 1 });
                }
                let parts = Parts::of(image, place, bundles)?;
                parts.put(catalog.by_name.entry(name.repository().name.clone()).or_default(), name.tag());
                parts.put(
                    catalog.by_origin.entry(image.name.repository().clone()).or_default(),
                    image.name.tag().or(name.tag()),
                );
                if first == place {
                    catalog.images.push(offered(image, name, place));
                }
            }
        }
        Ok(catalog)
    }

    /// A repository by the name that a push would give it.
    pub fn named(&self, name: &RepositoryName) -> Option<&Stock> {
        self.by_name.get(name)
    }

    /// A repository by the name that it has where its images came from.
    pub fn origin(&self, repository: &Repository) -> Option<&Stock> {
        self.by_origin.get(repository)
    }

    /// The names of all repositories, in the order of their bytes.
    pub fn names(&self) -> impl Iterator<Item = &RepositoryName> {
        self.by_name.keys()
    }

    /// Every image, in the order of the bundles and of their locks.
    pub fn images(&self) -> &[OfferedImage] {
        &self.images
    }
}

/// An image's content with the bundles that have it.
struct Parts {
    root: Digest,
    manifests: Vec<Item>,
    blobs: Vec<Item>,
}

impl Parts {
    fn of(image: &LockedImage, owner: usize, bundles: &[Offered<'_>]) -> Result<Self, CatalogError> {
        let item = |content: &LockedContent| {
            let has = |(place, bundle): (usize, &Offered<'_>)| (bundle.has)(content).then_some(place);
            let sources: Vec<usize> = bundles.iter().enumerate().filter_map(has).collect();
            if sources.is_empty() {
                return Err(CatalogError::Lacks { image: Box::new(image.name.clone()), digest: content.digest });
            }
            let (media_type, digest, size) = (content.media_type.clone(), content.digest, content.size);
            Ok(Item { media_type, digest, size, sources, owners: vec![owner] })
        };
        let manifests = image.platforms.iter().map(|platform| &platform.manifest);
        Ok(Self {
            root: image.root.digest,
            manifests: std::iter::once(&image.root).chain(manifests).map(item).collect::<Result<_, _>>()?,
            blobs: image.blobs().map(item).collect::<Result<_, _>>()?,
        })
    }

    fn put(&self, stock: &mut Stock, tag: Option<&Tag>) {
        if let Some(tag) = tag {
            stock.tags.insert(tag.clone(), self.root);
        }
        self.manifests.iter().for_each(|item| add(&mut stock.manifests, item));
        self.blobs.iter().for_each(|item| add(&mut stock.blobs, item));
    }
}

fn add(all: &mut BTreeMap<Digest, Item>, item: &Item) {
    // What an earlier bundle says of some content stands; a later one cannot make it something else.
    let known = all.entry(item.digest).or_insert_with(|| Item { owners: Vec::new(), ..item.clone() });
    known.owners.extend(&item.owners);
    known.owners.dedup();
}

fn offered(image: &LockedImage, name: &ImageRef, bundle: usize) -> OfferedImage {
    let blobs: BTreeMap<Digest, u64> = image.blobs().map(|blob| (blob.digest, blob.size)).collect();
    let known = image.platforms.iter().filter_map(|platform| platform.platform.as_ref());
    OfferedImage {
        origin: image.name.clone(),
        name: name.clone(),
        digest: image.root.digest,
        role: image.role.clone(),
        platforms: known.filter(|platform| platform.is_known()).map(ToString::to_string).collect(),
        bytes: blobs.values().sum(),
        bundle,
    }
}
