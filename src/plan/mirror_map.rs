//! What each image is called in the private registry. The one author of these names: what `render` prints is what
//! `push` has pushed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;

use crate::failure::{ErrorClass, Explain};
use crate::images::Lock;
use crate::oci::{BadReference, Digest, Host, ImageRef, Repository, RepositoryName};

/// What becomes of the host that an image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceHost {
    /// It is left out: `docker.io/octoperf/jmeter` becomes `octoperf/jmeter`.
    #[default]
    Drop,
    /// It becomes the first part of the path: `docker.io/octoperf/jmeter`.
    Keep,
}

/// A place in a registry for a whole release, as in `reg.corp:5000/tools`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    registry: Host,
    prefix: Option<RepositoryName>,
    source_host: SourceHost,
}

/// Text that names no place in a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing there.
    #[error("the registry is empty")]
    Empty,
    /// A web address. The rest of the text is kept only where it can hold no password.
    #[error("the registry starts with `{scheme}://`; a registry is named by host and path alone")]
    Scheme {
        /// What stands before `://`.
        scheme: String,
        /// The text without it.
        rest: Option<String>,
    },
    /// A digest, or a user name and password. The text is not repeated: it may hold a password.
    #[error("the registry contains `@`; it takes neither a user nor a digest")]
    UserOrDigest,
    /// A tag after the path.
    #[error("`{0}` ends in a tag; each image keeps its own")]
    Tag(String),
    /// An empty path part.
    #[error("`{0}` has an empty path part: a `/` too many")]
    Slash(String),
    /// Docker, reading `reg/a:1`, looks on Docker Hub.
    #[error("`{0}` has neither a dot nor a port, so engines would take `{0}/…` for a name on Docker Hub")]
    NoHost(String),
    /// Host or path do not follow the grammar.
    #[error("`{text}` is no place in a registry")]
    Grammar {
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: BadReference,
    },
}

impl Explain for TargetError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Scheme { rest: Some(rest), .. } => Some(format!("write `--registry {rest}`")),
            Self::Slash(text) => Some(format!("write `--registry {}`", without_empty_parts(text))),
            Self::Tag(text) => text.rsplit_once(':').map(|(before, _)| format!("write `--registry {before}`")),
            Self::NoHost(name) => Some(format!("write the full host name, or its port: `--registry {name}:443`")),
            Self::UserOrDigest => Some("leave it out; for a password use `octobundle login HOST`".into()),
            Self::Empty | Self::Scheme { rest: None, .. } | Self::Grammar { .. } => {
                Some("write host and path, as in `--registry reg.corp:5000/tools`".into())
            }
        }
    }
}

impl Target {
    /// Reads `HOST[:PORT][/PATH]`.
    ///
    /// Nothing is corrected: a scheme, a user, a tag, upper case in the path, or a host that engines would take for
    /// a part of a Docker Hub name is an error that says so.
    pub fn parse(text: &str, source_host: SourceHost) -> Result<Self, TargetError> {
        refuse_what_is_no_registry(text)?;
        let grammar = |source| TargetError::Grammar { text: shown(text), source };
        let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
        if path.is_some_and(|path| path.split('/').any(str::is_empty)) {
            return Err(TargetError::Slash(shown(text)));
        }
        if path.is_some_and(|path| path.contains(':')) {
            return Err(TargetError::Tag(shown(text)));
        }
        let registry: Host = host.parse().map_err(grammar)?;
        // docker's rule, the same that `Repository` reads names by.
        if !host.contains(['.', ':', '[']) && registry.as_str() != "localhost" {
            return Err(TargetError::NoHost(shown(host)));
        }
        let prefix = path.map(str::parse).transpose().map_err(grammar)?;
        Ok(Self { registry, prefix, source_host })
    }

    /// The registry.
    pub fn registry(&self) -> &Host {
        &self.registry
    }

    /// The path below which every image comes, if there is one.
    pub fn prefix(&self) -> Option<&RepositoryName> {
        self.prefix.as_ref()
    }

    /// Whether names keep the host that their images came from.
    pub fn source_host(&self) -> SourceHost {
        self.source_host
    }

    /// The repository below the target that an image's repository becomes.
    ///
    /// `library/` of Docker Hub's official images is kept: without it `docker.io/library/redis` and another host's
    /// `redis` would get one name, and the registry could not be set as an engine's mirror of Docker Hub, since an
    /// engine asks its mirrors for `library/redis`.
    pub fn repository(&self, from: &Repository) -> Result<Repository, BadReference> {
        let prefix = self.prefix.iter().map(|prefix| prefix.as_str().to_owned());
        let host = match self.source_host {
            SourceHost::Drop => None,
            SourceHost::Keep => Some(path_part(&from.host)),
        };
        let parts: Vec<String> = prefix.chain(host).chain([from.name.as_str().to_owned()]).collect();
        // Read back as engines will read it, so that one text never means two repositories.
        format!("{}/{}", self.registry, parts.join("/")).parse()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.registry)?;
        self.prefix.as_ref().map_or(Ok(()), |prefix| write!(f, "/{prefix}"))
    }
}

/// What the first look tells; afterwards the text holds no scheme and no password, and may be shown.
fn refuse_what_is_no_registry(text: &str) -> Result<(), TargetError> {
    if text.is_empty() {
        return Err(TargetError::Empty);
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let scheme = scheme.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
        let rest = (!rest.contains('@')).then(|| shown(rest.trim_end_matches('/'))).filter(|rest| !rest.is_empty());
        return Err(TargetError::Scheme { scheme, rest });
    }
    if text.contains('@') {
        return Err(TargetError::UserOrDigest);
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

fn without_empty_parts(text: &str) -> String {
    text.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// A host as one part of a repository's path; no two hosts give the same part.
///
/// Path parts know no colon. Host names, in turn, know no `_`, so `reg.corp:5000` becomes `reg.corp_5000` and cannot
/// be mistaken for a host of that name (`reg.corp-5000` could). An IPv6 address is written out, its eight groups
/// joined by `_` and its port set off by `__`: `[::1]:5000` becomes `0_0_0_0_0_0_0_1__5000`. Two spellings of one
/// address are one host, and give one part.
fn path_part(host: &Host) -> String {
    let port = |separator: &str| host.port().map_or_else(String::new, |port| format!("{separator}{port}"));
    match host.name().parse::<Ipv6Addr>() {
        Ok(address) => {
            let groups = address.segments().map(|group| format!("{group:x}"));
            format!("{}{}", groups.join("_"), port("__"))
        }
        Err(_) => format!("{}{}", host.name(), port("_")),
    }
}

/// Why a release cannot be put at a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// One name for two images.
    #[error("`{first}` and `{second}` would both be called `{target}`")]
    OneName {
        /// One image.
        first: Box<ImageRef>,
        /// The other.
        second: Box<ImageRef>,
        /// What both would be called.
        target: Box<ImageRef>,
        /// Whether naming the hosts would tell them apart.
        hosts_differ: bool,
    },
    /// The name at the target is no repository name, mostly because it is too long.
    #[error("`{image}` cannot be named below `{target}`")]
    Name {
        /// The image.
        image: Box<ImageRef>,
        /// Where it should go.
        target: String,
        /// What is wrong with the name.
        source: BadReference,
    },
}

impl Explain for MapError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::OneName { hosts_differ: true, .. } => {
                "keep the source hosts as part of the names: `--keep-host`".into()
            }
            Self::OneName { hosts_differ: false, first, .. } => {
                format!("put them into groups and push one at a time with `--group`, or drop `{first}`")
            }
            Self::Name { .. } => "choose a shorter path for `--registry`".into(),
        })
    }
}

/// Old name → name in the private registry, for every image of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorMap {
    /// In the order given.
    names: Vec<(ImageRef, ImageRef)>,
    places: BTreeMap<ImageRef, usize>,
}

impl MirrorMap {
    /// Names every image at `target`. The tag is kept, and stands alone where the image has a digest too (a digest
    /// that was asked for is the index's, which is not pushed when one platform was chosen). An image with only a
    /// digest keeps it.
    ///
    /// Refuses two images that would get one name; the same image twice is one.
    pub fn new<'a>(images: impl IntoIterator<Item = &'a ImageRef>, target: &Target) -> Result<Self, MapError> {
        Self::build(images.into_iter().map(|image| (image, image.digest())), target)
    }

    /// Names every image of a lock, as [`MirrorMap::new`] does; but an image with only a digest is named by the
    /// digest that is in the bundle, which after a choice of platforms is not the one asked for.
    pub fn of_lock(lock: &Lock, target: &Target) -> Result<Self, MapError> {
        Self::build(lock.images.iter().map(|image| (&image.name, Some(image.root.digest))), target)
    }

    fn build<'a>(
        images: impl Iterator<Item = (&'a ImageRef, Option<Digest>)>,
        target: &Target,
    ) -> Result<Self, MapError> {
        let mut map = Self { names: Vec::new(), places: BTreeMap::new() };
        let mut taken: BTreeMap<ImageRef, &ImageRef> = BTreeMap::new();
        for (image, digest) in images {
            if map.places.contains_key(image) {
                continue;
            }
            let named = name_at(target, image, digest)?;
            if let Some(first) = taken.insert(named.clone(), image) {
                let hosts_differ = path_part(&first.repository().host) != path_part(&image.repository().host);
                return Err(MapError::OneName {
                    first: Box::new(first.clone()),
                    second: Box::new(image.clone()),
                    target: Box::new(named),
                    hosts_differ: hosts_differ && target.source_host == SourceHost::Drop,
                });
            }
            map.places.insert(image.clone(), map.names.len());
            map.names.push((image.clone(), named));
        }
        Ok(map)
    }

    /// What an image is called in the private registry; none if it is not of the set.
    pub fn target_of(&self, image: &ImageRef) -> Option<&ImageRef> {
        self.places.get(image).map(|&place| &self.names[place].1)
    }

    /// Every pair of old and new name, in the order the images were given.
    pub fn iter(&self) -> impl Iterator<Item = (&ImageRef, &ImageRef)> {
        self.names.iter().map(|(image, target)| (image, target))
    }
}

fn name_at(target: &Target, image: &ImageRef, digest: Option<Digest>) -> Result<ImageRef, MapError> {
    let repository = target.repository(image.repository()).map_err(|source| MapError::Name {
        image: Box::new(image.clone()),
        target: target.to_string(),
        source,
    })?;
    Ok(match (image.tag(), digest) {
        (Some(tag), _) => ImageRef::tagged(repository, tag.clone()),
        (None, Some(digest)) => ImageRef::pinned(repository, digest),
        (None, None) => unreachable!("a reference is made with a tag or a digest"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failure::Failure;

    fn image(text: &str) -> ImageRef {
        text.parse().unwrap()
    }

    fn target(text: &str) -> Target {
        Target::parse(text, SourceHost::Drop).unwrap()
    }

    fn keeping_host(text: &str) -> Target {
        Target::parse(text, SourceHost::Keep).unwrap()
    }

    fn named(text: &str, target: &Target) -> String {
        let image = image(text);
        MirrorMap::new([&image], target).unwrap().target_of(&image).unwrap().to_string()
    }

    #[test]
    fn an_image_keeps_its_path_and_tag_in_the_private_registry() {
        let digest = Digest::of(b"x");
        let cases = [
            ("octoperf/jmeter:5.6.3", "reg.corp:5000/tools", "reg.corp:5000/tools/octoperf/jmeter:5.6.3"),
            ("octoperf/jmeter:5.6.3", "reg.corp", "reg.corp/octoperf/jmeter:5.6.3"),
            ("octoperf/jmeter:5.6.3", "[fd00::1]:5000/a/b", "[fd00::1]:5000/a/b/octoperf/jmeter:5.6.3"),
            ("redis:7", "localhost/tools", "localhost/tools/library/redis:7"),
            ("quay.io/a/b:1", "docker.io/corp", "docker.io/corp/a/b:1"),
        ];
        for (from, to, expected) in cases {
            assert_eq!(named(from, &target(to)), expected);
        }
        let pinned = format!("octoperf/jmeter@{digest}");
        assert_eq!(named(&pinned, &target("reg.corp")), format!("reg.corp/octoperf/jmeter@{digest}"));
        let both = format!("octoperf/jmeter:1@{digest}");
        assert_eq!(named(&both, &target("reg.corp")), "reg.corp/octoperf/jmeter:1");
    }

    #[test]
    fn a_kept_host_becomes_a_path_part() {
        let cases = [
            ("octoperf/jmeter:1", "reg.corp/tools/docker.io/octoperf/jmeter:1"),
            ("old.corp:5000/a:1", "reg.corp/tools/old.corp_5000/a:1"),
            ("old.corp-5000/a:1", "reg.corp/tools/old.corp-5000/a:1"),
            ("[::1]:5000/a:1", "reg.corp/tools/0_0_0_0_0_0_0_1__5000/a:1"),
            ("[fd00::a]/a:1", "reg.corp/tools/fd00_0_0_0_0_0_0_a/a:1"),
            ("127.0.0.1:5000/a:1", "reg.corp/tools/127.0.0.1_5000/a:1"),
        ];
        for (from, expected) in cases {
            assert_eq!(named(from, &keeping_host("reg.corp/tools")), expected);
        }
    }

    #[test]
    fn two_images_that_would_get_one_name_are_refused_with_both_names() {
        let images = [image("octoperf/a:1"), image("quay.io/octoperf/a:1")];
        let error = MirrorMap::new(&images, &target("reg.corp")).unwrap_err();
        let failure = Failure::from(error);
        assert_eq!(failure.class(), ErrorClass::Usage);
        for part in ["docker.io/octoperf/a:1", "quay.io/octoperf/a:1", "`reg.corp/octoperf/a:1`"] {
            assert!(failure.to_string().contains(part), "{failure}");
        }
        assert!(failure.help().unwrap().contains("--keep-host"));
        let kept = MirrorMap::new(&images, &keeping_host("reg.corp")).unwrap();
        assert_eq!(kept.target_of(&images[1]).unwrap(), &image("reg.corp/quay.io/octoperf/a:1"));
    }

    #[test]
    fn a_clash_that_hosts_cannot_settle_does_not_suggest_keeping_them() {
        let pinned = image(&format!("a:1@{}", Digest::of(b"x")));
        let images = [image("a:1"), pinned];
        let error = MirrorMap::new(&images, &target("reg.corp")).unwrap_err();
        assert!(!error.help().unwrap().contains("--keep-host"), "{:?}", error.help());
    }

    #[test]
    fn one_repository_with_several_tags_and_one_image_twice_are_fine() {
        let images = [image("a:1"), image("a:2"), image("a:1"), image("quay.io/library/a:3")];
        let map = MirrorMap::new(&images, &target("reg.corp")).unwrap();
        let targets: Vec<String> = map.iter().map(|(_, target)| target.to_string()).collect();
        assert_eq!(targets, ["reg.corp/library/a:1", "reg.corp/library/a:2", "reg.corp/library/a:3"]);
        assert_eq!(map.target_of(&image("b:1")), None);
    }

    #[test]
    fn a_name_that_grows_too_long_is_refused() {
        let long = image(&format!("{}:1", "a".repeat(230)));
        let error = MirrorMap::new([&long], &target("reg.corp:5000/tools/octoperf")).unwrap_err();
        assert!(matches!(error, MapError::Name { .. }), "{error:?}");
    }

    #[test]
    fn what_names_no_place_in_a_registry_is_refused_with_a_next_step() {
        type Matches = fn(&TargetError) -> bool;
        let cases: [(&str, Matches, &str); 13] = [
            ("", |error| matches!(error, TargetError::Empty), "reg.corp:5000/tools"),
            (
                "https://reg.corp/tools/",
                |error| matches!(error, TargetError::Scheme { .. }),
                "`--registry reg.corp/tools`",
            ),
            ("https://me:hunter2@reg.corp", |error| matches!(error, TargetError::Scheme { .. }), "reg.corp:5000/tools"),
            ("me:hunter2@reg.corp", |error| matches!(error, TargetError::UserOrDigest), "octobundle login"),
            ("reg.corp:5000/tools:1", |error| matches!(error, TargetError::Tag(_)), "`--registry reg.corp:5000/tools`"),
            ("reg.corp/", |error| matches!(error, TargetError::Slash(_)), "`--registry reg.corp`"),
            ("reg.corp//tools", |error| matches!(error, TargetError::Slash(_)), "`--registry reg.corp/tools`"),
            ("tools", |error| matches!(error, TargetError::NoHost(_)), "tools:443"),
            ("tools/octoperf", |error| matches!(error, TargetError::NoHost(_)), "tools:443"),
            (
                "reg.corp/Tools",
                |error| matches!(error, TargetError::Grammar { source: BadReference::UpperCase(_), .. }),
                "--registry",
            ),
            ("reg.corp:0", |error| matches!(error, TargetError::Grammar { .. }), "--registry"),
            ("reg.corp/../x", |error| matches!(error, TargetError::Grammar { .. }), "--registry"),
            ("/tools", |error| matches!(error, TargetError::Grammar { .. }), "--registry"),
        ];
        for (text, expected, step) in cases {
            let error = Target::parse(text, SourceHost::Drop).unwrap_err();
            assert!(expected(&error), "{text}: {error:?}");
            let failure = Failure::from(error);
            assert!(failure.help().unwrap().contains(step), "{text}: {:?}", failure.help());
            assert!(!format!("{failure} {:?}", failure.help()).contains("hunter2"), "{failure}");
        }
    }

    #[test]
    fn a_target_is_shown_as_it_is_written() {
        for text in ["reg.corp:5000/tools", "localhost", "[::1]:5000/a/b"] {
            assert_eq!(target(text).to_string(), text);
        }
    }

    fn hosts() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("docker.io".to_owned()),
            "[a-b]\\.[a-b]([:-][1-2])?",
            "\\[::[1-2](:[1-2])?\\](:[1-2])?",
            "localhost(:[1-9])?",
        ]
    }

    fn images() -> impl Strategy<Value = ImageRef> {
        let path = "[a-b]((\\.|_|__|-{1,3})[0-1])?(/[a-b])?";
        let end = prop_oneof![
            "[A1_][z.-]?".prop_map(|tag| format!(":{tag}")),
            (0..2u8).prop_map(|seed| format!("@{}", Digest::of(&[seed]))),
        ];
        (hosts(), path, end).prop_map(|(host, path, end)| image(&format!("{host}/{path}{end}")))
    }

    fn targets() -> impl Strategy<Value = Target> {
        let place = (hosts(), "(/[a-b]{1,2}){0,2}").prop_map(|(host, path)| format!("{host}{path}"));
        let source_host = prop_oneof![Just(SourceHost::Drop), Just(SourceHost::Keep)];
        (place, source_host).prop_map(|(place, source_host)| Target::parse(&place, source_host).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn names_are_distinct_repeatable_and_parse(
            images in proptest::collection::btree_set(images(), 1..8), target in targets(),
        ) {
            let map = MirrorMap::new(&images, &target);
            prop_assert_eq!(&map, &MirrorMap::new(&images, &target));
            if let Ok(map) = map {
                let mut seen = std::collections::BTreeSet::new();
                for (image, name) in map.iter() {
                    prop_assert!(seen.insert(name.to_string()), "{} stands for two images", name);
                    prop_assert_eq!(&name.to_string().parse::<ImageRef>().unwrap(), name);
                    prop_assert_eq!(&name.repository().host, target.registry());
                    prop_assert_eq!(name.tag(), image.tag());
                    let below = format!("{target}/");
                    prop_assert!(name.to_string().starts_with(&below), "{} is not below {}", name, target);
                }
                prop_assert_eq!(seen.len(), images.len());
            }
        }

        #[test]
        fn two_hosts_never_become_one_path_part(first in hosts(), second in hosts()) {
            let (first, second): (Host, Host) = (first.parse().unwrap(), second.parse().unwrap());
            let part = path_part(&first);
            prop_assert!(part.parse::<RepositoryName>().is_ok(), "{part}");
            let address = |host: &Host| (host.name().parse::<Ipv6Addr>().ok(), host.port());
            let same = first == second || (address(&first).0.is_some() && address(&first) == address(&second));
            prop_assert_eq!(part == path_part(&second), same, "{} {}", first, second);
        }
    }
}
