//! Which token servers may see a registry's login.
//!
//! The registry names the token server, so a hostile one can name anybody. Yet the honest ones on closed sites have
//! private addresses, so blocking those would help nobody. A login goes to the registry's own origin, to servers
//! of the same registrable domain over https, and to whom the user trusts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use url::{Host as UrlHost, Url};

use crate::oci::Host;
use crate::registry::endpoint::names_of;

/// Names below which strangers get names, so that two of them need not have one owner: those of the public suffix list
/// (<https://publicsuffix.org>) under which registries and token servers run, and the clouds' registry domains, which
/// that list does not know (`amazonaws.com`, `azurecr.*`, `jfrog.io`, `pkg.dev` and others). All that is beyond this
/// list and the rule for country names is trusted by `trusted realm` alone. Sorted.
const SHARED: [&str; 68] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "appdomain.cloud",
    "appspot.com",
    "awsapprunner.com",
    "azure-api.net",
    "azurecontainer.io",
    "azurecontainerapps.io",
    "azurecr.cn",
    "azurecr.io",
    "azurecr.us",
    "azureedge.net",
    "azurefd.net",
    "azurestaticapps.net",
    "azurewebsites.net",
    "azurewebsites.us",
    "cloudapp.azure.com",
    "cloudapp.net",
    "cloudfront.net",
    "cloudfunctions.net",
    "container-registry.ovh.net",
    "customer-oci.com",
    "ddns.net",
    "deno.dev",
    "digitaloceanspaces.com",
    "duckdns.org",
    "dyndns.org",
    "dynv6.net",
    "elasticbeanstalk.com",
    "eu.org",
    "firebaseapp.com",
    "fly.dev",
    "github.dev",
    "github.io",
    "gitlab.io",
    "googleusercontent.com",
    "herokuapp.com",
    "hopto.org",
    "jfrog.io",
    "koyeb.app",
    "linodeusercontent.com",
    "myfritz.net",
    "myqnapcloud.com",
    "netlify.app",
    "ngrok-free.app",
    "ngrok-free.dev",
    "ngrok.app",
    "ngrok.io",
    "nip.io",
    "no-ip.org",
    "on.aws",
    "ondigitalocean.app",
    "onrender.com",
    "openshiftapps.com",
    "pages.dev",
    "pkg.dev",
    "railway.app",
    "run.app",
    "scw.cloud",
    "sslip.io",
    "synology.me",
    "trafficmanager.net",
    "trycloudflare.com",
    "ts.net",
    "vercel.app",
    "web.app",
    "windows.net",
    "workers.dev",
];

/// Why a login does not go somewhere, and which host the user would have to trust.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) why: &'static str,
    /// The host to trust, where trusting it would help.
    pub(super) trust: Option<String>,
}

/// Reads a realm: an http or https address with a host and without user or password.
pub(super) fn parse(text: &str) -> Result<Url, &'static str> {
    if text.len() > 2_048 {
        return Err("the address is too long");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("the address has a control character or a space");
    }
    let url = Url::parse(text).map_err(|_| "it is no address")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address holds a user or a password");
    }
    if url.port() == Some(0) || url.host_str().is_none_or(str::is_empty) {
        return Err("the address has no host or port");
    }
    if is_link_local(&url) {
        return Err("the address is link-local, where cloud machines keep their secrets");
    }
    Ok(url)
}

/// Whether `registry`'s login may go to `realm`.
pub(super) fn may_see_login(registry: &Url, realm: &Url, trusted: &BTreeSet<Host>) -> Result<(), Refused> {
    let refused = |why, trust: Option<&Host>| Err(Refused { why, trust: trust.map(ToString::to_string) });
    if realm.origin() == registry.origin() {
        return Ok(());
    }
    if realm.scheme() == "http" && registry.scheme() != "http" {
        return refused("the registry is spoken to over https, and this address is plain http", None);
    }
    let names = names_of(realm);
    if names.iter().any(|name| trusted.contains(name)) {
        return Ok(());
    }
    if realm.scheme() != "https" {
        return refused("it is another server, in plain http", names.last());
    }
    let (Some(UrlHost::Domain(ours)), Some(UrlHost::Domain(theirs))) = (registry.host(), realm.host()) else {
        return refused("it is another address", names.last());
    };
    let (ours, theirs) = (ours.trim_end_matches('.'), theirs.trim_end_matches('.'));
    if registrable(ours).is_some_and(|domain| Some(domain) == registrable(theirs)) {
        return Ok(());
    }
    refused("it belongs to another domain", names.first())
}

/// The part of a name that somebody registered: two labels, or three where the second-last is one that registries
/// of names use under a country (`co.uk`, `com.au`). None where names are shared or too short to tell.
fn registrable(name: &str) -> Option<&str> {
    let labels: Vec<&str> = name.split('.').collect();
    if labels.iter().any(|label| label.is_empty()) {
        return None;
    }
    if SHARED.iter().any(|shared| name == *shared || name.strip_suffix(shared).is_some_and(|rest| rest.ends_with('.')))
    {
        return None;
    }
    let (&top, &second) = (labels.last()?, labels.get(labels.len().checked_sub(2)?)?);
    let country = top.len() == 2;
    let shared_second = country && (second.len() <= 3 || matches!(second, "gouv" | "asso" | "govt" | "school"));
    let wanted = if shared_second { 3 } else { 2 };
    if labels.len() < wanted {
        return None;
    }
    let skipped: usize = labels[..labels.len() - wanted].iter().map(|label| label.len() + 1).sum();
    Some(&name[skipped..])
}

fn is_link_local(url: &Url) -> bool {
    let address = match url.host() {
        Some(UrlHost::Ipv4(address)) => IpAddr::V4(address),
        Some(UrlHost::Ipv6(address)) => address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4),
        Some(UrlHost::Domain(_)) | None => return false,
    };
    match address {
        IpAddr::V4(four) => four.is_link_local() || four.is_unspecified(),
        IpAddr::V6(six) => six.is_unicast_link_local() || six.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn allowed(registry: &str, realm: &str) -> bool {
        let trusted = BTreeSet::from(["login.partner.io".parse().unwrap(), "10.0.0.9:8443".parse().unwrap()]);
        parse(realm).is_ok_and(|realm| may_see_login(&url(registry), &realm, &trusted).is_ok())
    }

    #[test]
    fn sec_09_a_login_goes_to_its_own_and_nobody_else() {
        for (registry, realm, expected) in [
            // The registry itself, on closed sites too.
            ("https://reg.corp/", "https://reg.corp/token", true),
            ("https://10.0.0.5/", "https://10.0.0.5/service/token", true),
            ("https://10.0.0.5:8443/", "https://10.0.0.5:8443/service/token", true),
            ("https://[fd00::5]/", "https://[fd00::5]/token", true),
            ("http://localhost:5000/", "http://localhost:5000/token", true),
            ("https://reg.corp/", "https://REG.corp:443/token", true),
            // One owner's domain.
            ("https://registry-1.docker.io/", "https://auth.docker.io/token", true),
            ("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth", true),
            ("https://registry.example.com/", "https://auth.example.com/token", true),
            ("https://registry.example.co.uk/", "https://auth.example.co.uk/token", true),
            ("https://a.b.corp/", "https://c.b.corp:8443/token", true),
            // Whom the user trusts.
            ("https://reg.corp/", "https://login.partner.io/token", true),
            ("https://reg.corp/", "https://10.0.0.9:8443/token", true),
            // Others.
            ("https://reg.corp/", "https://login.partner.io:444/token", false),
            ("https://reg.corp/", "https://10.0.0.9/token", false),
            ("https://reg.corp/", "http://reg.corp/token", false),
            ("https://reg.corp/", "http://login.partner.io/token", false),
            ("http://reg.corp/", "http://auth.corp/token", false),
            ("http://reg.corp/", "http://reg.corp:81/token", false),
            ("https://10.0.0.5/", "https://10.0.0.6/token", false),
            ("https://10.0.0.5/", "https://10.0.0.5:8443/token", false),
            ("https://reg.corp/", "https://evil.com/token", false),
            ("https://reg.example.com/", "https://reg.example.com.evil.com/token", false),
            ("https://reg.example.com/", "https://evilexample.com/token", false),
            ("https://example.com/", "https://com/token", false),
            ("https://a.co.uk/", "https://b.co.uk/token", false),
            ("https://a.com.au/", "https://evil.com.au/token", false),
            ("https://1.dkr.ecr.eu-west-1.amazonaws.com/", "https://evil.amazonaws.com/token", false),
            ("https://corp.azurecr.io/", "https://evil.azurecr.io/token", false),
            ("https://corp.azurecr.io/", "https://corp.azurecr.io/oauth2/token", true),
            ("https://europe-docker.pkg.dev/", "https://evil.pkg.dev/token", false),
            ("https://corp.azurecr.cn/", "https://evil.azurecr.cn/token", false),
            ("https://corp.jfrog.io/", "https://evil.jfrog.io/token", false),
            ("https://1.dkr.ecr.cn-north-1.amazonaws.com.cn/", "https://evil.amazonaws.com.cn/token", false),
            ("https://reg.westeurope.cloudapp.azure.com/", "https://evil.westeurope.cloudapp.azure.com/t", false),
            ("https://reg.azure.com/", "https://login.azure.com/token", true),
            ("https://registry.access.redhat.com/", "https://sso.redhat.com/token", true),
            ("https://registry-1.docker.io/", "https://auth.docker.io:8443/token", true),
            ("https://registry-1.docker.io/", "https://auth.docker.io.evil.com/token", false),
            ("https://registry-1.docker.io/", "http://auth.docker.io/token", false),
            ("https://reg/", "https://auth/token", false),
            // No addresses at all, or traps.
            ("https://reg.corp/", "/token", false),
            ("https://reg.corp/", "", false),
            ("https://reg.corp/", "token", false),
            ("https://reg.corp/", "file:///etc/passwd", false),
            ("https://reg.corp/", "https://", false),
            ("https://reg.corp/", "https://reg.corp@evil.com/token", false),
            ("https://reg.corp/", "https://user:pw@reg.corp/token", false),
            ("https://reg.corp/", "https://reg.corp:0/token", false),
            ("https://reg.corp/", "https://0.0.0.0/token", false),
            ("https://reg.corp/", "https://[::]/token", false),
            ("https://169.254.169.254/", "https://169.254.169.254/token", false),
            ("https://reg.corp/", "https://[fe80::1]/token", false),
            ("https://reg.corp/", "https://[::ffff:169.254.169.254]/token", false),
            ("https://reg.corp/", "https://2852039166/token", false),
            ("https://reg.corp/", "https://0xa9.254.169.254/token", false),
            ("https://reg.corp/", "https://reg.corp/to ken", false),
            ("https://reg.corp/", "https://reg.corp/token\r\nX: y", false),
            ("https://reg.corp/", "https://reg\u{3002}corp.evil.com/token", false),
        ] {
            assert_eq!(allowed(registry, realm), expected, "{registry} asks to use {realm}");
        }
        assert!(parse(&format!("https://reg.corp/{}", "a".repeat(1 << 20))).is_err());
    }

    #[test]
    fn sec_09_two_names_below_a_shared_one_have_no_common_owner() {
        assert!(SHARED.is_sorted());
        for shared in SHARED {
            let (ours, theirs) = (format!("https://corp.{shared}/"), format!("https://evil.{shared}/token"));
            assert!(!allowed(&ours, &theirs), "{shared}");
            assert!(!allowed(&ours, &format!("https://{shared}/token")), "{shared}");
            assert!(allowed(&ours, &format!("{ours}token")), "{shared}");
        }
    }

    #[test]
    fn a_refusal_names_the_host_to_trust_where_that_would_help() {
        let trust =
            |realm: &str| may_see_login(&url("https://reg.corp/"), &url(realm), &BTreeSet::new()).unwrap_err().trust;
        assert_eq!(trust("https://evil.com/token").as_deref(), Some("evil.com"));
        assert_eq!(trust("https://evil.com:8443/token").as_deref(), Some("evil.com:8443"));
        assert_eq!(trust("http://evil.com/token"), None);
    }
}
