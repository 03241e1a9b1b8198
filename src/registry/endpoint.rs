//! Where a repository is really asked for: the address behind a name.

use url::{Host as UrlHost, Url};

use crate::content::Lookup;
use crate::oci::{Digest, Host, Repository};
use crate::registry::error::RegistryError;
use crate::registry::registries_conf::Takes;
use crate::registry::settings::RegistrySettings;

/// A repository with its address.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// Its name.
    pub(super) repository: Repository,
    /// `…/v2/NAME/`.
    base: Url,
    /// Whether anyone on the way could change what it answers.
    pub(super) insecure: bool,
    takes: Takes,
}

impl Endpoint {
    /// The address of `repository` itself; mirrors are not looked at.
    pub(super) fn of(repository: &Repository, settings: &RegistrySettings) -> Result<Self, RegistryError> {
        let plain = speaks_plain_http(&repository.host, settings);
        let scheme = if plain { "http" } else { "https" };
        let text = format!("{scheme}://{}/v2/{}/", repository.host.api(), repository.name);
        // Our host grammar takes `1.2.3.4.5`, the one of URLs does not.
        let base = Url::parse(&text).map_err(|error| RegistryError::Setting {
            what: format!("`{}` cannot be a registry's host: {error}", repository.host),
        })?;
        let insecure = plain || settings.insecure_tls.contains(&repository.host);
        Ok(Self { repository: repository.clone(), base, insecure, takes: Takes::ALL })
    }

    /// The mirrors of `repository`, in their order, and then its own host or what stands in its place.
    pub(super) fn all_of(repository: &Repository, settings: &RegistrySettings) -> Result<Vec<Self>, RegistryError> {
        let places = settings.registries.places(repository);
        let places = places.map_err(|error| RegistryError::Setting { what: error.to_string() })?;
        let named: Vec<_> = settings.mirrors.iter().filter_map(|mirror| mirror.rename(repository)).collect();
        let mirrors = if named.is_empty() {
            places.mirrors
        } else {
            named.into_iter().map(|repository| (repository, Takes::ALL)).collect()
        };
        let all = mirrors.into_iter().chain([(places.own, Takes::ALL)]);
        all.map(|(repository, takes)| Ok(Self { takes, ..Self::of(&repository, settings)? })).collect()
    }

    /// Whether it is asked such a question: some mirrors are for tags or for digests alone.
    pub(super) fn takes(&self, lookup: &Lookup) -> bool {
        match lookup {
            Lookup::Tag(_) => self.takes.tags,
            Lookup::Digest(_) => self.takes.digests,
        }
    }

    pub(super) fn host(&self) -> &Host {
        &self.repository.host
    }

    /// The address that says whether there is a registry, and whether it wants a login.
    pub(super) fn api(&self) -> Url {
        let mut url = self.base.clone();
        url.set_path("/v2/");
        url
    }

    /// The list of the registry's repositories.
    pub(super) fn catalog(&self) -> Url {
        let mut url = self.base.clone();
        url.set_path("/v2/_catalog");
        url
    }

    /// The list of the repository's tags.
    pub(super) fn tags(&self) -> Url {
        self.below("tags/list")
    }

    pub(super) fn manifest(&self, lookup: &Lookup) -> Url {
        self.below(&format!("manifests/{lookup}"))
    }

    pub(super) fn blob(&self, digest: Digest) -> Url {
        self.below(&format!("blobs/{digest}"))
    }

    pub(super) fn uploads(&self) -> Url {
        self.below("blobs/uploads/")
    }

    fn below(&self, path: &str) -> Url {
        // `join` would read `sha256:…` as a scheme.
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }
}

/// Plain http is spoken to hosts that were named for it and to loopback hosts, as docker does; never as a fall-back.
fn speaks_plain_http(host: &Host, settings: &RegistrySettings) -> bool {
    let has_tls = settings.https.contains(host)
        || settings.insecure_tls.contains(host)
        || settings.client_certificates.contains_key(host);
    !has_tls && (host.is_loopback() || settings.plain_http.contains(host))
}

/// The names under which settings may list the host of `url`: as image names write it, with and without the port.
pub(super) fn names_of(url: &Url) -> Vec<Host> {
    let Some(name) = url.host().map(|host| match host {
        UrlHost::Ipv6(address) => format!("[{address}]"),
        // The dot says that a name is written out to its end; it is the same name.
        other => other.to_string().trim_end_matches('.').to_owned(),
    }) else {
        return Vec::new();
    };
    let with_port = url.port_or_known_default().and_then(|port| format!("{name}:{port}").parse().ok());
    // A port of its own is another server; only the scheme's default one may be left out.
    let without = if url.port().is_none() { name.parse().ok() } else { None };
    without.into_iter().chain(with_port).collect()
}

/// `host[:port]` of an address, for messages. Of Docker Hub's names the one that is really asked for: whoever opens a
/// firewall needs it.
pub(super) fn shown_host(url: &Url) -> String {
    names_of(url).first().map_or_else(|| written_host(url), |host| host.api().to_owned())
}

/// `host[:port]` as an address has it. Servers of blobs may have names that no registry has, as in `minio_1:9000`.
pub(super) fn written_host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default().trim_end_matches('.');
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// An address for messages: without user, password, query and fragment, any of which may hold a secret.
pub(super) fn shown_url(url: &Url) -> String {
    let text = format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), port_and_path(url));
    text.chars().take(300).collect()
}

fn port_and_path(url: &Url) -> String {
    url.port().map_or_else(|| url.path().to_owned(), |port| format!(":{port}{}", url.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(text: &str) -> Repository {
        text.parse().unwrap()
    }

    #[test]
    fn plain_http_is_for_loopback_and_named_hosts_only() {
        let mut settings = RegistrySettings::default();
        settings.plain_http.insert("lab.corp:5000".parse().unwrap());
        settings.https.insert("localhost:5443".parse().unwrap());
        settings.insecure_tls.insert("127.0.0.1:7443".parse().unwrap());
        for (name, address) in [
            ("redis", "https://registry-1.docker.io/v2/library/redis/blobs/uploads/"),
            ("10.0.0.1/a/b", "https://10.0.0.1/v2/a/b/blobs/uploads/"),
            ("localhost:5000/a", "http://localhost:5000/v2/a/blobs/uploads/"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a/blobs/uploads/"),
            ("localhost:5443/a", "https://localhost:5443/v2/a/blobs/uploads/"),
            ("127.0.0.1:7443/a", "https://127.0.0.1:7443/v2/a/blobs/uploads/"),
            ("lab.corp:5000/a", "http://lab.corp:5000/v2/a/blobs/uploads/"),
            ("lab.corp/a", "https://lab.corp/v2/a/blobs/uploads/"),
        ] {
            assert_eq!(Endpoint::of(&repository(name), &settings).unwrap().uploads().as_str(), address);
        }
        assert!(Endpoint::of(&repository("1.2.3.4.5/a"), &settings).is_err());
    }

    #[test]
    fn mirrors_come_first_and_keep_names_below_their_prefix() {
        let mut settings = RegistrySettings::default();
        let mirror = Mirror { from: Host::docker_hub(), to: "reg.corp".parse().unwrap(), prefix: "hub".into() };
        settings.mirrors.push(mirror);
        let names = |name| -> Vec<String> {
            let all = Endpoint::all_of(&repository(name), &settings).unwrap();
            all.iter().map(|endpoint| endpoint.repository.to_string()).collect()
        };
        assert_eq!(names("redis"), ["reg.corp/hub/library/redis", "docker.io/library/redis"]);
        assert_eq!(names("quay.io/a/b"), ["quay.io/a/b"]);
    }

    #[test]
    fn an_address_in_a_message_has_no_secrets() {
        let url = Url::parse("https://user:pw@cdn.corp:8443/blob?X-Signature=abc#f").unwrap();
        assert_eq!(shown_url(&url), "https://cdn.corp:8443/blob");
        assert_eq!(shown_host(&url), "cdn.corp:8443");
        for (address, host) in [
            ("https://reg.corp./", "reg.corp"),
            ("https://reg.corp.:8443/", "reg.corp:8443"),
            ("http://minio_1:9000/", "minio_1:9000"),
            ("http://my_bucket.s3.corp/", "my_bucket.s3.corp"),
            ("http://[::1]:5000/", "[::1]:5000"),
        ] {
            assert_eq!(shown_host(&Url::parse(address).unwrap()), host);
        }
    }

    use crate::registry::settings::Mirror;
}
