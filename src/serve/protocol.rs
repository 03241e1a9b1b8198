//! The distribution protocol, the reading half of it: a request and the catalog give an answer. No I/O.

use serde_json::json;

use crate::oci::{Digest, Host, MediaType, Repository, RepositoryName, Tag};
use crate::serve::answer::{Answer, Body};
use crate::serve::catalog::{Catalog, Item, Stock};
use crate::serve::head::{Head, Method};
use crate::serve::range::{Selection, select};
use crate::serve::referrers::{Referrer, list as list_of, subject_of};
use crate::serve::route::{BadRoute, Page, Reference, Route, parameter};

/// Entries of one answer where the client names no number; a list of 10,000 tags is about 1 MiB at most.
const MOST_ENTRIES: usize = 10_000;
/// Names by digest never change their meaning.
const FOR_EVER: &str = "max-age=31536000, immutable";
/// Names by tag may mean something else after the next bundle.
const ASK_AGAIN: &str = "no-cache";

/// The methods that are answered.
pub(crate) const ALLOWED: &str = "GET, HEAD, OPTIONS";

/// What the protocol's part of the answers is made from.
pub(crate) struct Offer<'a> {
    /// Everything that is offered.
    pub(crate) catalog: &'a Catalog,
    /// What refers to the subject that is asked about, if one is.
    pub(crate) referrers: &'a [Referrer],
}

/// The answer to a method that is not for reading; none for the others.
pub(crate) fn refused_method(method: Method) -> Option<Answer> {
    match method {
        Method::Get | Method::Head => None,
        Method::Options => Some(Answer::empty(204).header("Allow", ALLOWED)),
        Method::Other => Some(
            Answer::refusal(405, "UNSUPPORTED", "this registry is read-only: it serves a bundle as it is")
                .header("Allow", ALLOWED),
        ),
    }
}

/// The answer to a target that names nothing.
pub(crate) fn nowhere(bad: BadRoute) -> Answer {
    match bad {
        BadRoute::Nowhere => Answer::refusal(404, "UNSUPPORTED", "there is nothing at this address"),
        BadRoute::Name => Answer::refusal(400, "NAME_INVALID", "this is no repository's name"),
        BadRoute::Digest => Answer::refusal(400, "DIGEST_INVALID", "this is no digest"),
        BadRoute::Reference => Answer::refusal(404, "MANIFEST_UNKNOWN", "there is nothing of this tag or digest here"),
        BadRoute::Page => Answer::refusal(400, "UNSUPPORTED", "`n` is a number, and `last` an entry of the list"),
    }
}

/// The answer to a route below `/v2/`; none for the other routes.
pub(crate) fn answer(offer: &Offer<'_>, route: &Route, head: &Head) -> Option<Answer> {
    let within = |name: &RepositoryName, answer: &dyn Fn(&Stock) -> Answer| match stock(offer.catalog, name, head) {
        Some(stock) => answer(stock),
        None => Answer::refusal(404, "NAME_UNKNOWN", "no bundle that is served here has this repository"),
    };
    Some(match route {
        Route::Base => Answer::bytes(200, "application/json", "{}").header("Cache-Control", ASK_AGAIN),
        Route::Catalog(page) => {
            let names = offer.catalog.names().map(RepositoryName::as_str);
            list(names, page, "/v2/_catalog", "", |names| json!({ "repositories": names }))
        }
        Route::Tags(name, page) => within(name, &|stock| tags(stock, name, page, head)),
        Route::Manifest(name, wanted) => within(name, &|stock| manifest(stock, offer.referrers, wanted, head)),
        Route::Blob(name, digest) => within(name, &|stock| blob(stock, digest, head)),
        Route::Referrers(name, _, wanted) => within(name, &|_| referrers(offer.referrers, wanted.as_deref())),
        Route::Home | Route::Asset(_) | Route::Report(_) | Route::Health | Route::Metrics => return None,
    })
}

/// The repository that is meant. An engine that uses this server as a mirror says in `ns` which registry it stands in
/// for; then the name is the one that the image has there, and never another registry's image of the same name.
pub(crate) fn stock<'a>(catalog: &'a Catalog, name: &RepositoryName, head: &Head) -> Option<&'a Stock> {
    let other = |registry: &String| !registry.is_empty() && Some(registry) != head.host.as_ref();
    let Some(registry) = parameter(&head.query, "ns").filter(other) else { return catalog.named(name) };
    let host: Host = registry.parse().ok()?;
    let name = if host.is_docker_hub() { official(name) } else { name.clone() };
    catalog.origin(&Repository { host, name })
}

/// Docker Hub's own images stand below `library/`, whether that is said or not.
fn official(name: &RepositoryName) -> RepositoryName {
    if name.as_str().contains('/') { name.clone() } else { name.below("library").unwrap_or_else(|_| name.clone()) }
}

fn tags(stock: &Stock, name: &RepositoryName, page: &Page, head: &Head) -> Answer {
    let (tags, name) = (stock.tags().map(Tag::as_str), name.as_str());
    // The next page is of the same registry's repository.
    let registry = parameter(&head.query, "ns").map_or_else(String::new, |registry| {
        format!("&{}", url::form_urlencoded::Serializer::new(String::new()).append_pair("ns", &registry).finish())
    });
    list(tags, page, &format!("/v2/{name}/tags/list"), &registry, |tags| json!({ "name": name, "tags": tags }))
}

/// The repository and the subject in it whose referrers an answer needs, if it needs any.
pub(crate) fn subject<'a>(catalog: &'a Catalog, route: &Route, head: &Head) -> Option<(&'a Stock, Digest)> {
    let (name, subject) = match route {
        Route::Referrers(name, digest, _) => (name, *digest),
        Route::Manifest(name, Reference::Tag(tag)) => (name, subject_of(tag)?),
        _ => return None,
    };
    Some((stock(catalog, name, head)?, subject))
}

fn manifest(stock: &Stock, referrers: &[Referrer], reference: &Reference, head: &Head) -> Answer {
    let (item, caching) = match reference {
        Reference::Tag(tag) => (stock.tagged(tag), ASK_AGAIN),
        Reference::Digest(digest) => (stock.manifest(digest), FOR_EVER),
    };
    let Some(item) = item else {
        if !referrers.is_empty() {
            return Answer::bytes(200, MediaType::OCI_INDEX, list_of(referrers, None))
                .header("Cache-Control", ASK_AGAIN);
        }
        return Answer::refusal(404, "MANIFEST_UNKNOWN", "this repository has no such tag or manifest");
    };
    if let Some(answer) = by_condition(&item.digest, caching, head) {
        return answer;
    }
    named(Answer::with_body(200, Body::Document(item.clone())), &item.digest, caching)
        .header("Content-Type", content_type(&item.media_type))
}

/// A manifest's type as its bundle states it, where that is a type of manifests. A bundle may state anything, and a
/// browser that is sent there would show what is said to be a page.
fn content_type(stated: &MediaType) -> &str {
    let token = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte));
    match stated.as_str().strip_prefix("application/vnd.") {
        Some(rest) if !rest.is_empty() && token(rest) => stated.as_str(),
        _ => "application/octet-stream",
    }
}

fn blob(stock: &Stock, digest: &Digest, head: &Head) -> Answer {
    let Some(item) = stock.blob(digest) else {
        return Answer::refusal(404, "BLOB_UNKNOWN", "no image of this repository has this blob");
    };
    if let Some(answer) = by_condition(digest, FOR_EVER, head) {
        return answer;
    }
    let answer = |status, start, length| {
        let body = Body::Blob { item: item.clone(), start, length };
        named(Answer::with_body(status, body), digest, FOR_EVER)
            .header("Content-Type", "application/octet-stream")
            .header("Accept-Ranges", "bytes")
    };
    match wanted_part(head, item) {
        Selection::Whole => answer(200, 0, item.size),
        Selection::Part { start, length } => {
            let range = format!("bytes {start}-{}/{}", start + length - 1, item.size);
            answer(206, start, length).header("Content-Range", range)
        }
        Selection::Outside => Answer::refusal(416, "SIZE_INVALID", "the range lies outside of the blob")
            .header("Content-Range", format!("bytes */{}", item.size)),
    }
}

/// Ranges are for GET (RFC 9110, 14.2), for one header, and for the very bytes that `If-Range` names.
fn wanted_part(head: &Head, item: &Item) -> Selection {
    let mut ranges = head.all("range");
    match (head.method, ranges.next(), ranges.next()) {
        (Method::Get, Some(range), None) if head.header("if-range").is_none_or(|tag| tag == etag(&item.digest)) => {
            select(range, item.size)
        }
        _ => Selection::Whole,
    }
}

/// The answer that a condition of the request asks for, if it does.
fn by_condition(digest: &Digest, caching: &str, head: &Head) -> Option<Answer> {
    let names = |header: &str| {
        let mut tags = head.all(header).flat_map(|value| value.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag(digest))
    };
    if head.header("if-match").is_some() && !names("if-match") {
        return Some(Answer::refusal(412, "DENIED", "the content is another one"));
    }
    names("if-none-match").then(|| named(Answer::empty(304), digest, caching))
}

fn named(answer: Answer, digest: &Digest, caching: &str) -> Answer {
    answer
        .header("Docker-Content-Digest", digest.to_string())
        .header("ETag", etag(digest))
        .header("Cache-Control", caching)
}

fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

fn referrers(referrers: &[Referrer], wanted: Option<&str>) -> Answer {
    let list = Answer::bytes(200, MediaType::OCI_INDEX, list_of(referrers, wanted)).header("Cache-Control", ASK_AGAIN);
    if wanted.is_some() { list.header("OCI-Filters-Applied", "artifactType") } else { list }
}

/// One page of a list, with the address of the next, which has `further` parameters. The order is the specification's: that of the letters, whatever
/// their case, and among entries that differ in case only that of their bytes.
fn list<'a>(
    entries: impl Iterator<Item = &'a str>,
    page: &Page,
    address: &str,
    further: &str,
    body: impl Fn(&[&str]) -> serde_json::Value,
) -> Answer {
    let most = page.most.unwrap_or(MOST_ENTRIES).min(MOST_ENTRIES);
    let place = |entry: &str| (entry.to_ascii_lowercase(), entry.to_owned());
    let after = page.after.as_deref().map(place);
    let behind = |entry: &&str| after.as_ref().is_none_or(|after| place(entry) > *after);
    let mut rest: Vec<&str> = entries.filter(behind).collect();
    rest.sort_by_cached_key(|entry| place(entry));
    let mut rest = rest.into_iter();
    let shown: Vec<&str> = rest.by_ref().take(most).collect();
    let answer = Answer::bytes(200, "application/json", body(&shown).to_string()).header("Cache-Control", ASK_AGAIN);
    match (shown.last(), rest.next()) {
        (Some(last), Some(_)) => {
            answer.header("Link", format!("<{address}?n={most}&last={last}{further}>; rel=\"next\""))
        }
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_78_no_manifest_is_said_to_be_a_page() {
        let told = |stated: &str| content_type(&MediaType::from(stated.to_owned())).to_owned();
        for manifest in
            [MediaType::OCI_INDEX, MediaType::OCI_MANIFEST, MediaType::DOCKER_LIST, MediaType::DOCKER_MANIFEST]
        {
            assert_eq!(told(manifest), manifest);
        }
        for other in [
            "text/html",
            "application/xhtml+xml",
            "image/svg+xml",
            "application/vnd.",
            "",
            "application/vnd.a\r\nX-Injected: 1",
            "application/vnd.a b",
        ] {
            assert_eq!(told(other), "application/octet-stream", "{other:?}");
        }
    }
}
