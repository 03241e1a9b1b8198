//! What a registry lists: its repositories, and the tags of one of them.

use std::collections::HashSet;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::oci::{Host, Repository, RepositoryName, Tag};
use crate::registry::answer::whole_body;
use crate::registry::auth::Access;
use crate::registry::endpoint::{Endpoint, shown_host};
use crate::registry::error::RegistryError;
use crate::registry::exchange::{Answer, Call, Exchange};

/// A page of a thousand names of 255 characters has less than a tenth of this.
const MAX_PAGE: u64 = 4 * 1024 * 1024;
/// Names that are read of one list. Registries with more of them in one place are named one repository at a time.
const MAX_NAMES: usize = 100_000;
/// Pages that are read of one list, however little is on each.
const MAX_PAGES: usize = 1_000;

impl Exchange {
    /// The repositories of a registry, as far as it shows them to this login. Names that no engine takes are left out.
    pub(super) async fn repositories(&self, host: &Host) -> Result<Vec<Repository>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        // A name that nobody looks at.
        let name = "any".parse().expect("a word is a repository's name");
        let endpoint = Endpoint::of(&Repository { host: host.clone(), name }, &self.settings)?;
        let what = format!("the list of repositories of `{host}`");
        let read = |page: &[u8]| Ok(serde_json::from_slice::<Page>(page)?.repositories.unwrap_or_default());
        let names = self.list(&endpoint, endpoint.catalog(), Access::catalog(), &what, read).await?;
        let repository = |name: RepositoryName| Repository { host: host.clone(), name };
        Ok(names.iter().filter_map(|name| name.parse().ok()).map(repository).collect())
    }

    /// The tags of a repository.
    pub(super) async fn tags(&self, at: &Repository) -> Result<Vec<Tag>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let endpoint = Endpoint::of(at, &self.settings)?;
        let what = format!("the list of tags of `{at}`");
        let read = |page: &[u8]| Ok(serde_json::from_slice::<Page>(page)?.tags.unwrap_or_default());
        let tags = self.list(&endpoint, endpoint.tags(), Access::pull(at), &what, read).await?;
        Ok(tags.iter().filter_map(|tag| tag.parse().ok()).collect())
    }

    /// All pages of a list.
    async fn list(
        &self,
        endpoint: &Endpoint,
        first: Url,
        access: Access,
        what: &str,
        read: impl Fn(&[u8]) -> Result<Vec<String>, serde_json::Error>,
    ) -> Result<Vec<String>, RegistryError> {
        let (mut names, mut seen, mut next) = (Vec::new(), HashSet::new(), Some(first.clone()));
        let endless = || RegistryError::TooLarge { host: shown_host(&first), what: what.to_owned(), limit: MAX_PAGE };
        for _ in 0..MAX_PAGES {
            let Some(url) = next.take() else { return Ok(names) };
            if !seen.insert(url.clone()) {
                return Err(endless());
            }
            let call = Call::new(Method::GET, url, endpoint, access.clone(), what);
            let (page, link) = self.page(&call).await?;
            let wrong = |why: String| RegistryError::Answer { host: shown_host(&first), what: what.to_owned(), why };
            names.extend(read(&page).map_err(|error| wrong(error.to_string()))?);
            if names.len() > MAX_NAMES {
                return Err(endless());
            }
            next = link.map(|link| following(&first, &link)).transpose().map_err(wrong)?;
        }
        if next.is_none() { Ok(names) } else { Err(endless()) }
    }

    /// One page, and what it says about where the list goes on.
    async fn page(&self, call: &Call<'_>) -> Result<(Bytes, Option<String>), RegistryError> {
        let answer = self.send(call, &[StatusCode::OK]).await?;
        let link = answer.header("link").map(str::to_owned);
        let Answer { response, url, .. } = answer;
        let explain = |error| self.transport.explain(error, &url, &call.what);
        let (host, limits) = (shown_host(&url), &self.settings.limits);
        let body = whole_body(response, MAX_PAGE, limits, false, explain, &host, &call.what).await?;
        Ok((body.into(), link))
    }
}

/// The address of the next page: `<…>; rel="next"`, of the same list at the same server.
fn following(first: &Url, link: &str) -> Result<Url, String> {
    let target = link.trim().strip_prefix('<').and_then(|rest| Some(rest.split_once('>')?.0));
    let next = target.and_then(|target| first.join(target).ok());
    let same = |next: &Url| next.origin() == first.origin() && next.path() == first.path();
    next.filter(same).ok_or_else(|| "its list goes on at a place that is not the list's own".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_35_a_list_goes_on_at_its_own_place_only() {
        let first: Url = "https://reg.corp/v2/_catalog".parse().unwrap();
        for (link, next) in [
            (r#"</v2/_catalog?last=a&n=2>; rel="next""#, Some("https://reg.corp/v2/_catalog?last=a&n=2")),
            (r#"<https://reg.corp/v2/_catalog?last=a>; rel="next""#, Some("https://reg.corp/v2/_catalog?last=a")),
            (r#"<?last=b>; rel="next""#, Some("https://reg.corp/v2/_catalog?last=b")),
            (r#"<https://evil.corp/v2/_catalog?last=a>; rel="next""#, None),
            (r#"<http://reg.corp/v2/_catalog?last=a>; rel="next""#, None),
            (r#"<//evil.corp/v2/_catalog>; rel="next""#, None),
            (r#"</v2/other?last=a>; rel="next""#, None),
            ("nonsense", None),
        ] {
            assert_eq!(following(&first, link).ok().as_ref().map(Url::as_str), next, "{link}");
        }
    }
}
