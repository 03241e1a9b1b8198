//! What a request's target names. Nothing of it becomes a path of the file system.

use crate::oci::{BadDigest, Digest, RepositoryName, Tag};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`: does it speak the protocol, and is the login right?
    Base,
    /// `/v2/_catalog`.
    Catalog(Page),
    /// `/v2/NAME/tags/list`.
    Tags(RepositoryName, Page),
    /// `/v2/NAME/manifests/TAG-OR-DIGEST`.
    Manifest(RepositoryName, Reference),
    /// `/v2/NAME/blobs/DIGEST`.
    Blob(RepositoryName, Digest),
    /// `/v2/NAME/referrers/DIGEST`, with the only type of artifact that is wanted.
    Referrers(RepositoryName, Digest, Option<String>),
    /// `/`.
    Home,
    /// A file that the page needs.
    Asset(Asset),
    /// `/report/NUMBER`: the report of a bundle, counted from 1.
    Report(usize),
    /// `/healthz`.
    Health,
    /// `/metrics`.
    Metrics,
}

/// A file that the page needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asset {
    /// `/page.css`.
    Style,
    /// `/page.js`.
    Script,
    /// `/certificate.pem`: what a client must trust.
    Certificate,
    /// `/favicon.ico`, which browsers ask for unasked.
    Icon,
}

/// A tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// By the name it has today.
    Tag(Tag),
    /// By what it is.
    Digest(Digest),
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// At most so many entries; all that fit into one answer where there is none.
    pub(crate) most: Option<usize>,
    /// Only entries behind this one, in the order of their bytes.
    pub(crate) after: Option<String>,
}

/// A target that names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadRoute {
    /// No such address.
    Nowhere,
    /// Not a repository's name.
    Name,
    /// Not a digest.
    Digest,
    /// A digest or tag that cannot be there: of another algorithm, or of no known form.
    Reference,
    /// A page's size that is no number.
    Page,
}

/// The longest name of a page's last entry: a repository's.
const MAX_AFTER: usize = 255;

impl Route {
    /// Reads a path and the query behind it.
    ///
    /// Percent-encoding is undone for the colon of digests only; names need none, and a name that is written in two
    /// ways is two names to whoever guards them.
    pub(crate) fn parse(path: &str, query: &str) -> Result<Self, BadRoute> {
        match path {
            "/" => return Ok(Self::Home),
            "/page.css" => return Ok(Self::Asset(Asset::Style)),
            "/page.js" => return Ok(Self::Asset(Asset::Script)),
            "/certificate.pem" => return Ok(Self::Asset(Asset::Certificate)),
            "/favicon.ico" => return Ok(Self::Asset(Asset::Icon)),
            "/healthz" => return Ok(Self::Health),
            "/metrics" => return Ok(Self::Metrics),
            "/v2" | "/v2/" => return Ok(Self::Base),
            "/v2/_catalog" => return Page::parse(query).map(Self::Catalog),
            _ => {}
        }
        if let Some(number) = path.strip_prefix("/report/") {
            return report(number);
        }
        let rest = path.strip_prefix("/v2/").ok_or(BadRoute::Nowhere)?;
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(repository(name)?, Page::parse(query)?));
        }
        let (rest, last) = rest.rsplit_once('/').ok_or(BadRoute::Nowhere)?;
        let (name, kind) = rest.rsplit_once('/').ok_or(BadRoute::Nowhere)?;
        match kind {
            "manifests" => Ok(Self::Manifest(repository(name)?, Reference::parse(last)?)),
            "blobs" => Ok(Self::Blob(repository(name)?, digest(last)?)),
            "referrers" => Ok(Self::Referrers(repository(name)?, digest(last)?, wanted_type(query))),
            _ => Err(BadRoute::Nowhere),
        }
    }
}

impl Reference {
    fn parse(text: &str) -> Result<Self, BadRoute> {
        if text.contains([':', '%']) {
            return digest(text).map(Self::Digest);
        }
        text.parse().map(Self::Tag).map_err(|_| BadRoute::Reference)
    }
}

impl Page {
    fn parse(query: &str) -> Result<Self, BadRoute> {
        let most = parameter(query, "n").filter(|text| !text.is_empty());
        let digits = |text: &String| text.bytes().all(|byte| byte.is_ascii_digit());
        if most.as_ref().is_some_and(|text| !digits(text)) {
            return Err(BadRoute::Page);
        }
        let after = parameter(query, "last").filter(|last| !last.is_empty());
        if after.as_ref().is_some_and(|last| last.len() > MAX_AFTER) {
            return Err(BadRoute::Page);
        }
        Ok(Self { most: most.map(|text| text.parse().unwrap_or(usize::MAX)), after })
    }
}

/// A filter for no type is none.
fn wanted_type(query: &str) -> Option<String> {
    parameter(query, "artifactType").filter(|wanted| !wanted.is_empty())
}

/// Only the way in which our own links write a number is an address.
fn report(number: &str) -> Result<Route, BadRoute> {
    let found: usize = number.parse().map_err(|_| BadRoute::Nowhere)?;
    if found.to_string() == number { Ok(Route::Report(found)) } else { Err(BadRoute::Nowhere) }
}

fn repository(name: &str) -> Result<RepositoryName, BadRoute> {
    name.parse().map_err(|_| BadRoute::Name)
}

fn digest(text: &str) -> Result<Digest, BadRoute> {
    let text = text.replacen("%3A", ":", 1).replacen("%3a", ":", 1);
    text.parse().map_err(|error| match error {
        BadDigest::Algorithm(_) => BadRoute::Reference,
        BadDigest::Form(_) => BadRoute::Digest,
    })
}

/// The first parameter of a name, decoded.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn targets_name_what_the_specification_says() {
        let name: RepositoryName = "a/manifests/b".parse().unwrap();
        let held: Digest = DIGEST.parse().unwrap();
        let blob = format!("/v2/a/manifests/b/blobs/{DIGEST}");
        assert_eq!(Route::parse(&blob, ""), Ok(Route::Blob(name.clone(), held)));
        let encoded = blob.replace("sha256:", "sha256%3A");
        assert_eq!(Route::parse(&encoded, ""), Ok(Route::Blob(name.clone(), held)));
        let tag = Reference::Tag("latest".parse().unwrap());
        assert_eq!(Route::parse("/v2/a/manifests/b/manifests/latest", ""), Ok(Route::Manifest(name.clone(), tag)));
        let page = Page { most: Some(2), after: Some("1.0".into()) };
        assert_eq!(Route::parse("/v2/a/manifests/b/tags/list", "n=2&last=1.0"), Ok(Route::Tags(name.clone(), page)));
        let referrers = Route::parse(&format!("/v2/a/manifests/b/referrers/{DIGEST}"), "artifactType=a%2Fb%2Bjson");
        assert_eq!(referrers, Ok(Route::Referrers(name, held, Some("a/b+json".into()))));
        let tags: RepositoryName = "tags".parse().unwrap();
        assert_eq!(Route::parse("/v2/tags/tags/list", ""), Ok(Route::Tags(tags, Page::default())));
    }

    #[test]
    fn sec_76_odd_paths_name_nothing() {
        let long = format!("/v2/{}/tags/list", "a/".repeat(32 * 1024));
        let upper = format!("/v2/a/blobs/{}", DIGEST.to_uppercase());
        let sums = format!("/v2/a/blobs/{}", DIGEST.replace("sha256", "sha512"));
        let odd = [
            "",
            "//",
            "/v2//",
            "/v2/a",
            "/v2/../tags/list",
            "/v2/a/../b/tags/list",
            "/v2/./tags/list",
            "//v2/",
            "/v2/a//tags/list",
            "/v2/%2e%2e/tags/list",
            "/v2/a%2fb/tags/list",
            "/v2/a\\b/tags/list",
            "/v2/a\0/tags/list",
            "/v2/A/tags/list",
            "/v2//tags/list",
            "/v2/tags/list",
            "/V2/",
            "/v2/a/tags/list/",
            "/v2/a/manifests/",
            "/v2/a/manifests/..",
            "/v2/a/manifests/%2e%2e",
            "/v2/a/manifests/a%2fb",
            "/v2/a/blobs/latest",
            "/v2/a/blobs/sha256:",
            "/v2/a/blobs/uploads/",
            "/v2/a/blobs/..%2f..%2fetc%2fpasswd",
            "/etc/passwd",
            "/debug/pprof/",
            "/page.css/",
            "/healthz/",
            "/report/",
            "/report/01",
            "/report/+1",
            "/report/-1",
            "/report/1/",
            "/report/18446744073709551616",
            "/v2/_catalog/",
            &long,
            &upper,
            &sums,
        ];
        for path in odd {
            assert!(Route::parse(path, "").is_err(), "{path:?}");
        }
        for query in ["n=-1", "n=x", "n=1e3", "n=%31x"] {
            assert_eq!(Route::parse("/v2/_catalog", query), Err(BadRoute::Page), "{query}");
        }
    }
}
