//! Where the bytes of an upload go: the registry says so, within limits.

use url::Url;

use crate::registry::endpoint::shown_url;

/// An upload address to use, and what had to be repaired in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: Url,
    /// What the server should have said, where it said something else.
    pub(super) repaired: Option<String>,
}

/// Reads the `Location` of an upload. It may be relative; it must stay on the host that was asked. A registry behind a
/// TLS proxy often does not know its scheme and port: those are taken from the address that was asked.
pub(super) fn resolve(asked: &Url, location: &str) -> Result<Target, &'static str> {
    if location.len() > 16 * 1024 {
        return Err("the address is too long");
    }
    let named = asked.join(location).map_err(|_| "it is no address")?;
    if !matches!(named.scheme(), "http" | "https") {
        return Err("it is neither http nor https");
    }
    if named.host() != asked.host() {
        return Err("it is on another host");
    }
    if !named.username().is_empty() || named.password().is_some() {
        return Err("the address holds a user or a password");
    }
    let mut url = named.clone();
    url.set_fragment(None);
    if named.origin() == asked.origin() {
        return Ok(Target { url, repaired: None });
    }
    // Only what a proxy in between explains: plain http, or a scheme's own port.
    let explained = named.port().is_none() || named.port() == asked.port();
    if !explained {
        return Err("it is on another port");
    }
    // The port first: a special scheme drops its default one when it is set.
    let cannot = "the address cannot be repaired";
    url.set_scheme(asked.scheme()).map_err(|()| cannot)?;
    url.set_port(asked.port()).map_err(|()| cannot)?;
    let repaired = format!("`{}` instead of `{}`", shown_url(&named), shown_url(&url));
    Ok(Target { url, repaired: Some(repaired) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_13_uploads_stay_on_their_host() {
        let asked = Url::parse("https://reg.corp:8443/v2/a/blobs/uploads/").unwrap();
        let at = |location: &str| resolve(&asked, location).map(|target| target.url.to_string());
        for (location, url) in [
            ("/v2/a/blobs/uploads/1?_state=x", "https://reg.corp:8443/v2/a/blobs/uploads/1?_state=x"),
            ("1?_state=x", "https://reg.corp:8443/v2/a/blobs/uploads/1?_state=x"),
            ("https://reg.corp:8443/u/1", "https://reg.corp:8443/u/1"),
            ("https://REG.corp:8443/u/1", "https://reg.corp:8443/u/1"),
            ("http://reg.corp:8443/u/1", "https://reg.corp:8443/u/1"),
            ("http://reg.corp/u/1", "https://reg.corp:8443/u/1"),
            ("https://reg.corp/u/1", "https://reg.corp:8443/u/1"),
            ("//reg.corp/u/1", "https://reg.corp:8443/u/1"),
        ] {
            assert_eq!(at(location).as_deref(), Ok(url), "{location}");
        }
        let long = "a".repeat(1 << 20);
        for location in [
            "https://evil.corp/u/1",
            "https://reg.corp.evil/u/1",
            "https://a.reg.corp:8443/u/1",
            "https://10.0.0.1:8443/u/1",
            "https://reg.corp:9443/u/1",
            "http://reg.corp:5000/u/1",
            "https://user:pw@reg.corp:8443/u/1",
            "file:///etc/passwd",
            "ftp://reg.corp/u/1",
            "//evil.corp/u/1",
            "https://",
            &long,
        ] {
            assert!(at(location).is_err(), "{location}");
        }
    }

    #[test]
    fn a_repair_says_what_was_wrong_without_secrets() {
        let asked = Url::parse("https://reg.corp/v2/").unwrap();
        let target = resolve(&asked, "http://reg.corp/u/1?_state=CANARY").unwrap();
        assert_eq!(target.repaired.as_deref(), Some("`http://reg.corp/u/1` instead of `https://reg.corp/u/1`"));
        assert_eq!(target.url.as_str(), "https://reg.corp/u/1?_state=CANARY");
    }
}
