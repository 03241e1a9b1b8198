//! Exit code and next step of each error.

use crate::failure::{ErrorClass, Explain};
use crate::oci::DocumentError;
use crate::registry::error::{RegistryError, span};
use crate::registry::quirks;

impl Explain for RegistryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Setting { .. } => ErrorClass::Input,
            Self::Shared(error) => error.class(),
            Self::Credentials(failure) => failure.class(),
            Self::LoginMissing { .. }
            | Self::LoginRefused { .. }
            | Self::Denied { .. }
            | Self::ProxyLogin { .. }
            | Self::RealmRefused { .. } => ErrorClass::Access,
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::RateLimited { .. } => ErrorClass::RateLimited,
            Self::OtherContent { .. } | Self::OtherLength { .. } | Self::Compressed { .. } => ErrorClass::Integrity,
            Self::Document { source, .. } => match source {
                DocumentError::Ambiguous(_) => ErrorClass::Integrity,
                _ => ErrorClass::Input,
            },
            Self::Status { .. }
            | Self::Page { .. }
            | Self::ProxyRefused { .. }
            | Self::UnknownAuthority { .. }
            | Self::Certificate { .. }
            | Self::NotTls { .. }
            | Self::Tls { .. }
            | Self::StoreRefused { .. }
            | Self::Unresolved { .. }
            | Self::Unreachable { .. }
            | Self::Stalled { .. }
            | Self::Broken { .. }
            | Self::Garbled { .. }
            | Self::RedirectRefused { .. }
            | Self::LocationRefused { .. }
            | Self::Answer { .. }
            | Self::TooLarge { .. } => ErrorClass::Network,
        }
    }

    fn help(&self) -> Option<String> {
        if let Some(step) = quirks::step(self) {
            return Some(step);
        }
        let text = match self {
            Self::Status { status: 400..=412 | 414..=499, .. } | Self::Setting { .. } | Self::Document { .. } => {
                return None;
            }
            Self::Shared(error) => return error.help(),
            Self::Credentials(failure) => return failure.help().map(str::to_owned),
            Self::LoginMissing { host, .. } => {
                format!("log in first: `octobundle login {host}`; some registries say 401 where a name does not exist")
            }
            Self::LoginRefused { host, .. } => {
                format!("log in again: `octobundle login {host}`; it was tried once only, since registries lock accounts")
            }
            Self::Denied { .. } => {
                "ask the registry's owner for the right to this repository; where it does not exist yet, it may have to be created first".into()
            }
            Self::NotFound { .. } => "check the name and the tag; some registries say 404 where a login is missing".into(),
            Self::RateLimited { seconds, host, .. } => match seconds {
                Some(seconds) => format!("run the same command again in {}; it continues", span(*seconds)),
                None => format!("run the same command again later; logged in users are often allowed more: `octobundle login {host}`"),
            },
            Self::Status { status: 413, .. } => {
                "the server or a proxy before it limits the size of uploads (nginx: `client_max_body_size 0;`)".into()
            }
            Self::Status { status: 500..=599, .. } => "the server has a problem of its own: run the same command again later".into(),
            Self::Page { status: 413, .. } => {
                "a proxy before the registry limits the size of uploads (nginx: `client_max_body_size 0;`)".into()
            }
            Self::Page { host, .. } => {
                format!("open https://{host}/v2/ in a browser on this machine: a proxy or a portal wants something first")
            }
            Self::ProxyLogin { .. } => {
                "put user and password into the proxy's address, as in http://user:password@proxy:3128; NTLM and Kerberos need a local relay such as cntlm or px".into()
            }
            Self::ProxyRefused { host, .. } => {
                format!("check the spelling of `{host}`, the user and password in the proxy's address, and ask whoever runs the proxy to allow it")
            }
            Self::UnknownAuthority { .. } => {
                "get the authority's certificate from whoever runs the registry or the proxy and add `--ca FILE`, name its file in SSL_CERT_FILE, or install it on this machine".into()
            }
            Self::Certificate { host, .. } => {
                format!("check this machine's clock and the certificate: `openssl s_client -connect {}`", with_port(host))
            }
            Self::NotTls { host, .. } => format!("if it is meant to be reached in plain http: `--plain-http {host}`"),
            Self::Tls { .. } => "something on the way, or an old server, speaks no TLS that is safe today: TLS 1.2 or 1.3 is needed".into(),
            Self::StoreRefused { host, .. } => {
                format!("registries keep blobs on other servers: make sure that this machine may reach `{host}`")
            }
            Self::Unresolved { host, proxy, .. } => match proxy {
                Some(_) => "check the proxy's address".into(),
                None => format!("check the spelling of `{host}`; behind a proxy, set HTTPS_PROXY"),
            },
            Self::Unreachable { host, proxy, .. } => match proxy {
                Some(_) => "check the proxy's address and port".into(),
                None => format!("check that `{host}` is up and that nothing blocks the way; behind a proxy, set HTTPS_PROXY"),
            },
            Self::Stalled { .. } => {
                "run the same command again: it continues where it stopped; where small answers come and large ones never do, the packets are too large for a VPN on the way (MTU)".into()
            }
            Self::Broken { .. } => "run the same command again: it continues where it stopped".into(),
            Self::RealmRefused { trust: Some(host), .. } => {
                format!("if `{host}` may see this login, say so: `--trust-realm {host}`")
            }
            Self::Garbled { .. }
            | Self::RedirectRefused { .. }
            | Self::RealmRefused { trust: None, .. }
            | Self::Status { .. }
            | Self::Answer { .. }
            | Self::TooLarge { .. } => "this is the registry's or a proxy's fault: tell whoever runs it".into(),
            Self::LocationRefused { .. } => {
                "the registry does not know its own address: its proxy should pass `X-Forwarded-Proto` and `Host`, or the registry should send relative addresses".into()
            }
            Self::Compressed { host, .. } => {
                format!("a proxy or the web server before the registry compresses what passes: ask whoever runs it to leave `{host}` out, or go another way: `--no-proxy-env`")
            }
            Self::OtherContent { .. } | Self::OtherLength { .. } => {
                "something between here and the registry changed the bytes, often a proxy's cache: run the same command again, and if it repeats, ask for an exception for this host".into()
            }
        };
        Some(text)
    }
}

fn with_port(host: &str) -> String {
    let last = host.rsplit(']').next().unwrap_or(host);
    if last.contains(':') { host.to_owned() } else { format!("{host}:443") }
}
