//! Looks at a registry from outside, one question at a time and without trying again: for `login` and `doctor`.

use std::net::IpAddr;
use std::time::SystemTime;

use http::header::{ACCEPT, DATE, SERVER};
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::content::Lookup;
use crate::failure::Failure;
use crate::oci::{Digest, Host, Repository};
use crate::registry::Registry;
use crate::registry::auth::Access;
use crate::registry::credentials::Credential;
use crate::registry::endpoint::{Endpoint, names_of, shown_url, written_host};
use crate::registry::error::RegistryError;
use crate::registry::exchange::{Answer, Call, Exchange};
use crate::registry::proxy::Decision;
use crate::registry::pull::{accepted_documents, manifest_name};
use crate::registry::sync::lock;
use crate::registry::tls::Trust;
use crate::registry::tls_report::{Seen, TlsReport, Vouched};
use crate::registry::transport;

/// What a registry did with a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginAnswer {
    /// It asked for one and took it.
    Accepted,
    /// It answers without: nobody knows whether the login is right.
    NotAsked,
}

/// How a server is reached, and what it shows before it answers.
#[derive(Debug)]
pub struct Reach {
    /// Its host, with the port where one is written.
    pub host: String,
    /// Its address, without a query.
    pub address: String,
    /// How it is reached.
    pub route: Decision,
    /// The addresses of its name.
    pub resolved: Resolved,
    /// What it shows in TLS; none in plain http or where no connection came about.
    pub tls: Option<TlsReport>,
    /// Whether that is checked.
    pub tls_checked: bool,
    /// Whether anyone on the way can read and change what is sent: plain http to another machine.
    pub in_the_clear: bool,
    /// Its clock less ours, in seconds, where it tells the time.
    pub clock_difference: Option<i64>,
}

/// What was found out about a registry.
#[derive(Debug)]
pub struct HostReport {
    /// Its host.
    pub host: Host,
    /// The way to its API.
    pub reach: Reach,
    /// Where the login for it comes from; none where there is none.
    pub login: Result<Option<String>, Failure>,
    /// What it answers to a request for its API.
    pub answer: Result<ApiAnswer, Failure>,
}

/// What was found out about a server that is no registry.
#[derive(Debug)]
pub struct ServerReport {
    /// The way to its first page.
    pub reach: Reach,
    /// The HTTP status that it answers with.
    pub answer: Result<u16, Failure>,
}

/// The addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// These.
    Addresses(Vec<IpAddr>),
    /// The proxy looks it up.
    ByProxy,
    /// None; the text is the resolver's.
    Failed(String),
}

/// An answer to a request for the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAnswer {
    /// Whether it asked for a login or a token first.
    pub login: LoginAnswer,
    /// The `Server` header.
    pub server: Option<String>,
}

/// What one place says about an image.
#[derive(Debug)]
pub struct PlaceReport {
    /// The repository there.
    pub repository: Repository,
    /// What the image's name stands for there.
    pub answer: Result<Option<Digest>, Failure>,
    /// How many images may still be fetched, where the place says so.
    pub rate: Option<RateLimit>,
}

/// Docker Hub's limit of images fetched in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// In all.
    pub limit: u64,
    /// Left.
    pub remaining: u64,
    /// The time, in seconds.
    pub window: Option<u64>,
}

impl Registry {
    /// Asks `host` for its API once, with the login that the settings have for it. A refused one is an error.
    pub async fn try_login(&self, host: &Host) -> Result<LoginAnswer, Failure> {
        // A name that nobody looks at: the settings of a login know one login.
        let name = "any".parse().expect("a word is a repository's name");
        let endpoint = Endpoint::of(&Repository { host: host.clone(), name }, &self.0.settings)?;
        Ok(self.0.api(&endpoint).await?.login)
    }

    /// Where `repository` is asked for: its mirrors and then its own host or what stands in its place.
    pub fn places_of(&self, repository: &Repository) -> Vec<Repository> {
        self.0.settings.places_of(repository)
    }

    /// Finds out about the host of `repository`, with the login for that repository.
    pub async fn probe_host(&self, repository: &Repository) -> Result<HostReport, Failure> {
        let endpoint = Endpoint::of(repository, &self.0.settings)?;
        let login = self.0.auth.lookup(&endpoint).await;
        let host = endpoint.host().clone();
        let (reach, answer) = self.0.look(host.to_string(), &endpoint.api(), API).await?;
        let answer = match answer {
            // The request with a login meets the same refusal and can say whose certificate it was.
            Err(error) if reach.tls.is_none() => Err(error),
            _ => self.0.api(&endpoint).await,
        };
        Ok(HostReport {
            host,
            reach,
            login: login.map(|found| found.map(|found| found.origin.clone())).map_err(Failure::from),
            answer: answer.map_err(Failure::from),
        })
    }

    /// Finds out about a server that is no registry, by one request for its first page without a login. No redirect is
    /// followed.
    pub async fn probe_server(&self, url: &Url) -> Result<ServerReport, Failure> {
        let (reach, answer) = self.0.look(written_host(url), url, "its first page").await?;
        Ok(ServerReport { reach, answer: answer.map(|status| status.as_u16()).map_err(Failure::from) })
    }

    /// The login that the settings have for `repository`, for someone else to show.
    pub async fn login_for(&self, repository: &Repository) -> Result<Option<Credential>, Failure> {
        let endpoint = Endpoint::of(repository, &self.0.settings)?;
        let found = self.0.auth.lookup(&endpoint).await?;
        Ok(found.map(|found| found.credential.clone()))
    }

    /// What `repository` has under a tag or digest, without fetching it.
    pub async fn probe_image(&self, repository: &Repository, lookup: &Lookup) -> PlaceReport {
        let (answer, rate) = match self.0.head(repository, lookup).await {
            Ok((digest, rate)) => (Ok(digest), rate),
            Err(error) => (Err(error.into()), None),
        };
        PlaceReport { repository: repository.clone(), answer, rate }
    }
}

/// What is asked for first, in messages.
const API: &str = "its API (`/v2/`)";

impl Exchange {
    async fn api(&self, endpoint: &Endpoint) -> Result<ApiAnswer, RegistryError> {
        let call = Call::new(Method::GET, endpoint.api(), endpoint, Access::none(), API);
        let answer = self.attempt(&call, &[StatusCode::OK]).await?;
        let asked = self.auth.was_asked(&endpoint.api());
        Ok(ApiAnswer {
            login: if asked { LoginAnswer::Accepted } else { LoginAnswer::NotAsked },
            server: answer.header(SERVER.as_str()).map(|server| server.chars().take(100).collect()),
        })
    }

    /// One request without a login over a connection of its own, whose certificates are kept.
    async fn look(
        &self,
        host: String,
        url: &Url,
        what: &str,
    ) -> Result<(Reach, Result<StatusCode, RegistryError>), RegistryError> {
        let seen = Seen::default();
        // A registry's token server is trusted, and shown what it wants, as the registry is.
        let (settings, mut names) = (&self.settings, names_of(url));
        let unchecked = names.iter().find(|name| settings.insecure_tls.contains(name)).cloned();
        names.splice(..0, self.transport.registry_of_token_server(url).cloned());
        let own = names.iter().find_map(|name| settings.trusted_for.get(name)).map_or(&[][..], Vec::as_slice);
        let trust = Trust::new(&[&settings.trusted[..], own].concat())?;
        let shown = names.iter().find_map(|name| settings.client_certificates.get(name));
        let config = trust.recording(seen.clone(), unchecked.as_ref(), shown)?;
        let client = transport::client(&self.settings, config)?;
        let sent = tokio::time::timeout(self.settings.limits.headers, client.get(url.clone()).send()).await;
        let shown = lock(&seen).take();
        let files: Vec<_> = self.settings.trusted.iter().chain(own).collect();
        let mut tls = shown.map(|shown| shown.report(trust.provider(), &files));
        if let Some(tls) = tls.as_mut().filter(|tls| unchecked.is_some() && tls.vouched_by == Vouched::System) {
            tls.vouched_by = Vouched::Unchecked;
        }
        let mut clock_difference = None;
        let answer = match sent {
            Ok(Ok(response)) => {
                clock_difference = clock_of(response.headers(), SystemTime::now());
                Ok(response.status())
            }
            Ok(Err(error)) => Err(self.transport.explain(error, url, what)),
            Err(_) => Err(RegistryError::Stalled {
                host: host.clone(),
                what: what.into(),
                seconds: self.settings.limits.headers.as_secs(),
            }),
        };
        let route = self.settings.proxy.for_url(url);
        let reach = Reach {
            host,
            address: shown_url(url),
            resolved: resolve(url, &route).await,
            route,
            tls,
            tls_checked: url.scheme() == "https" && unchecked.is_none(),
            in_the_clear: url.scheme() == "http" && !is_this_machine(url),
            clock_difference,
        };
        Ok((reach, answer))
    }

    async fn head(
        &self,
        repository: &Repository,
        lookup: &Lookup,
    ) -> Result<(Option<Digest>, Option<RateLimit>), RegistryError> {
        let endpoint = Endpoint::of(repository, &self.settings)?;
        let what = manifest_name(repository, lookup);
        let mut call = Call::new(Method::HEAD, endpoint.manifest(lookup), &endpoint, Access::pull(repository), &what);
        call.headers.insert(ACCEPT, accepted_documents());
        let answer = match self.attempt(&call, &[StatusCode::OK]).await {
            // Some servers and proxies know no HEAD.
            Err(RegistryError::Status { status: 400..=499, .. }) => {
                let get = Call { method: Method::GET, ..call };
                self.attempt(&get, &[StatusCode::OK]).await?
            }
            answered => answered?,
        };
        Ok((digest_of(&answer), rate_of(answer.response.headers())))
    }
}

fn digest_of(answer: &Answer) -> Option<Digest> {
    answer.header("docker-content-digest").and_then(|text| text.parse().ok())
}

/// Docker's `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`.
fn rate_of(headers: &HeaderMap) -> Option<RateLimit> {
    let value = |name: &str| headers.get(name)?.to_str().ok();
    let count = |text: &str| text.split(';').next()?.trim().parse().ok();
    let limit = value("ratelimit-limit")?;
    let window = limit.split(';').find_map(|part| part.trim().strip_prefix("w=")?.parse().ok());
    Some(RateLimit { limit: count(limit)?, remaining: count(value("ratelimit-remaining")?)?, window })
}

fn is_this_machine(url: &Url) -> bool {
    names_of(url).iter().any(Host::is_loopback)
}

/// The server's clock less `now`, in whole seconds.
fn clock_of(headers: &HeaderMap, now: SystemTime) -> Option<i64> {
    let theirs = jiff::fmt::rfc2822::parse(headers.get(DATE)?.to_str().ok()?).ok()?.timestamp().as_second();
    let ours = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(theirs - i64::try_from(ours).ok()?)
}

async fn resolve(url: &Url, route: &Decision) -> Resolved {
    if let Decision::Via(proxy, _) = route
        && proxy.resolves_names()
    {
        return Resolved::ByProxy;
    }
    let (Some(name), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Resolved::Failed("the address has no host".into());
    };
    match tokio::net::lookup_host((name.trim_matches(['[', ']']), port)).await {
        Ok(found) => Resolved::Addresses(found.map(|address| address.ip()).collect()),
        Err(error) => Resolved::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn docker_hubs_limit_is_read() {
        let said = headers(&[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "76;w=21600")]);
        assert_eq!(rate_of(&said), Some(RateLimit { limit: 100, remaining: 76, window: Some(21_600) }));
        let plain = headers(&[("ratelimit-limit", "100"), ("ratelimit-remaining", "0")]);
        assert_eq!(rate_of(&plain), Some(RateLimit { limit: 100, remaining: 0, window: None }));
        for odd in [
            headers(&[]),
            headers(&[("ratelimit-limit", "100;w=1")]),
            headers(&[("ratelimit-limit", "x"), ("ratelimit-remaining", "1")]),
        ] {
            assert_eq!(rate_of(&odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_clock_that_differs_is_measured() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        let said = headers(&[("date", "Tue, 14 Nov 2023 22:23:20 GMT")]);
        assert_eq!(clock_of(&said, now), Some(600));
        assert_eq!(clock_of(&headers(&[("date", "yesterday")]), now), None);
    }
}
