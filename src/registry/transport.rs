//! Connections: which client speaks to which host, and what its errors mean.
//!
//! All speak HTTP/1.1: with HTTP/2 all blobs of a host would share one connection's window (5 MiB in hyper), which is
//! slow over long lines, and a request that fails would take its neighbours along. No client follows redirects,
//! keeps cookies or decodes content.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::ACCEPT_ENCODING;
use reqwest::{Client, Request, Response};
use rustls::{AlertDescription, InvalidMessage};
use url::Url;

use crate::oci::Host;
use crate::registry::endpoint::{names_of, shown_host, shown_url};
use crate::registry::error::RegistryError;
use crate::registry::proxy::{Decision, ProxyRules};
use crate::registry::realm::may_see_login;
use crate::registry::settings::RegistrySettings;
use crate::registry::sync::lock;
use crate::registry::tls::{Issuers, Trust, is_unknown};

pub(super) struct Transport {
    checked: Client,
    /// Hosts with an unchecked certificate or one of ours to show.
    special: BTreeMap<Host, Client>,
    /// Registries with authorities of their own, which are believed for their token servers too.
    own_trust: Vec<(Url, Host)>,
    trusted_realms: BTreeSet<Host>,
    proxy: ProxyRules,
    issuers: Issuers,
    headers: Duration,
    pub(super) without_store: bool,
}

impl Transport {
    pub(super) fn new(settings: &RegistrySettings) -> Result<Self, RegistryError> {
        let trust = Trust::new(&settings.trusted)?;
        let (mut special, mut own_trust) = (BTreeMap::new(), Vec::new());
        let with_own = settings.trusted_for.keys();
        for host in settings.insecure_tls.iter().chain(settings.client_certificates.keys()).chain(with_own) {
            if special.contains_key(host) {
                continue;
            }
            let client = client(settings, host_config(settings, &trust, host)?)?;
            if settings.trusted_for.contains_key(host)
                && !settings.insecure_tls.contains(host)
                && let Ok(url) = Url::parse(&format!("https://{}/", host.api()))
            {
                own_trust.push((url, host.clone()));
            }
            special.insert(host.clone(), client);
        }
        Ok(Self {
            checked: client(settings, trust.checked(None)?)?,
            special,
            own_trust,
            trusted_realms: settings.trusted_realms.clone(),
            proxy: settings.proxy.clone(),
            issuers: trust.issuers.clone(),
            headers: settings.limits.headers,
            without_store: trust.without_store,
        })
    }

    /// The client that speaks to the host of `url`.
    pub(super) fn client(&self, url: &Url) -> &Client {
        if let Some(client) = names_of(url).iter().find_map(|name| self.special.get(name)) {
            return client;
        }
        self.registry_of_token_server(url).and_then(|host| self.special.get(host)).unwrap_or(&self.checked)
    }

    /// The registry with authorities of its own whose login may be shown at `url`: its connections are made alike.
    pub(super) fn registry_of_token_server(&self, url: &Url) -> Option<&Host> {
        let is_token_server =
            |registry: &Url| url.scheme() == "https" && may_see_login(registry, url, &self.trusted_realms).is_ok();
        self.own_trust.iter().find(|(registry, _)| is_token_server(registry)).map(|(_, host)| host)
    }

    /// Sends a request whose body, if any, is small, and waits for the answer's headers.
    pub(super) async fn send(&self, request: Request, what: &str) -> Result<Response, RegistryError> {
        let url = request.url().clone();
        match tokio::time::timeout(self.headers, self.stream(request, what)).await {
            Ok(answer) => answer,
            Err(_) => Err(RegistryError::Stalled {
                host: shown_host(&url),
                what: what.to_owned(),
                seconds: self.headers.as_secs(),
            }),
        }
    }

    /// Sends a request whose body takes as long as it takes; the caller watches it.
    pub(super) async fn stream(&self, request: Request, what: &str) -> Result<Response, RegistryError> {
        let (url, method, asked) = (request.url().clone(), request.method().clone(), Instant::now());
        let answer = self.client(&url).execute(request).await.map_err(|error| self.explain(error, &url, what));
        let came =
            answer.as_ref().map_or_else(|_| "no answer".to_owned(), |answer| answer.status().as_u16().to_string());
        tracing::debug!("{method} {}: {came} after {} ms", shown_url(&url), asked.elapsed().as_millis());
        let answer = answer?;
        if answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let proxy = self.proxy_for(&url).unwrap_or_else(|| "in between".into());
            return Err(RegistryError::ProxyLogin { host: shown_host(&url), proxy });
        }
        Ok(answer)
    }

    /// Whether a proxy is on the way, which may keep answers.
    pub(super) fn is_proxied(&self, url: &Url) -> bool {
        self.proxy_for(url).is_some()
    }

    fn proxy_for(&self, url: &Url) -> Option<String> {
        match self.proxy.for_url(url) {
            Decision::Via(proxy, _) => Some(proxy.to_string()),
            Decision::Direct(_) => None,
        }
    }

    /// What an error of the HTTP library means.
    pub(super) fn explain(&self, error: reqwest::Error, url: &Url, what: &str) -> RegistryError {
        let host = shown_host(url);
        let proxy = self.proxy_for(url);
        // Its text holds the whole address, and a signed one is a secret.
        let error = error.without_url();
        if let Some(tls) = find::<rustls::Error>(&error) {
            return if !error.is_connect() && is_damage(tls) {
                RegistryError::Broken { host, what: what.to_owned(), source: Box::new(error) }
            } else {
                self.explain_tls(tls.clone(), host, url, what)
            };
        }
        let texts = texts_of(&error);
        if let Some(proxy) = &proxy
            && texts.contains("proxy authorization required")
        {
            return RegistryError::ProxyLogin { host, proxy: proxy.clone() };
        }
        if let Some(proxy) = &proxy
            && texts.contains("tunnel error")
        {
            return RegistryError::ProxyRefused { host, proxy: proxy.clone(), source: last_words(&error).into() };
        }
        let garbled =
            texts.contains(" parsed") || texts.contains("message head is too large") || texts.contains("chunk");
        // What is between it and us are the HTTP library's own layers, which tell a user nothing.
        let source = last_words(&error).into();
        if garbled {
            return RegistryError::Garbled { host, what: what.to_owned(), source };
        }
        if texts.contains("dns error") {
            return RegistryError::Unresolved { host, proxy, source };
        }
        if error.is_connect() {
            return RegistryError::Unreachable { host, proxy, source };
        }
        RegistryError::Broken { host, what: what.to_owned(), source }
    }

    /// Who signed the certificate that the server at `url` showed when it was refused.
    fn issuer_for(&self, url: &Url) -> Option<String> {
        let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        lock(&self.issuers).get(name).cloned()
    }

    fn explain_tls(&self, error: rustls::Error, host: String, url: &Url, what: &str) -> RegistryError {
        match &error {
            _ if is_unknown(&error) => {
                let issuer = self.issuer_for(url);
                match self.proxy.for_url(url) {
                    // It never came to the server's own certificate.
                    Decision::Via(proxy, _) if issuer.is_none() && self.issuer_for(proxy.reveal()).is_some() => {
                        let issuer = self.issuer_for(proxy.reveal());
                        RegistryError::UnknownAuthority { host: shown_host(proxy.reveal()), issuer }
                    }
                    _ => RegistryError::UnknownAuthority { host, issuer },
                }
            }
            rustls::Error::InvalidCertificate(why) => RegistryError::Certificate { host, why: why.to_string() },
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                RegistryError::NotTls { host, source: Box::new(error) }
            }
            rustls::Error::AlertReceived(
                AlertDescription::CertificateRequired | AlertDescription::BadCertificate | AlertDescription::UnknownCA,
            ) => RegistryError::Certificate {
                host,
                why: format!("the server wants another client certificate or none of ours: {error}"),
            },
            rustls::Error::AlertReceived(_)
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::InvalidMessage(_)
            | rustls::Error::PeerMisbehaved(_) => RegistryError::Tls { host, source: Box::new(error) },
            _ => RegistryError::Broken { host, what: what.to_owned(), source: Box::new(error) },
        }
    }
}

/// Whom to believe about `host`, and what to show it.
pub(super) fn host_config(
    settings: &RegistrySettings,
    trust: &Trust,
    host: &Host,
) -> Result<rustls::ClientConfig, RegistryError> {
    let shown = settings.client_certificates.get(host);
    if settings.insecure_tls.contains(host) {
        return trust.unchecked(host, shown);
    }
    match settings.trusted_for.get(host) {
        Some(own) => trust.with(&settings.trusted, own)?.checked(shown),
        None => trust.checked(shown),
    }
}

pub(super) fn client(settings: &RegistrySettings, tls: rustls::ClientConfig) -> Result<Client, RegistryError> {
    let rules = settings.proxy.clone();
    let proxy = reqwest::Proxy::custom(move |url| match rules.for_url(url) {
        Decision::Via(proxy, _) => Some(proxy.reveal().clone()),
        Decision::Direct(_) => None,
    });
    // Content decoding is not compiled in; servers are still told, since some proxies compress on their own.
    let headers = [(ACCEPT_ENCODING, http::HeaderValue::from_static("identity"))].into_iter().collect();
    Client::builder()
        .user_agent(&settings.user_agent)
        .default_headers(headers)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .proxy(proxy)
        .tls_backend_preconfigured(tls)
        .http1_only()
        .connect_timeout(settings.limits.connect)
        .tcp_keepalive(Duration::from_secs(30))
        .pool_max_idle_per_host(settings.connections)
        .build()
        .map_err(|error| RegistryError::Setting {
            what: format!("the HTTP client cannot be made: {}", texts_of(&error)),
        })
}

/// Whether bytes that were altered on the way explain it, once a connection stood. What a server has against our
/// certificate it may also say so late.
fn is_damage(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::AlertReceived(alert) => matches!(
            alert,
            AlertDescription::BadRecordMac
                | AlertDescription::RecordOverflow
                | AlertDescription::DecodeError
                | AlertDescription::DecryptError
                | AlertDescription::UnexpectedMessage
                | AlertDescription::InternalError
        ),
        rustls::Error::DecryptError
        | rustls::Error::PeerSentOversizedRecord
        | rustls::Error::InvalidMessage(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. }
        | rustls::Error::PeerMisbehaved(_) => true,
        _ => false,
    }
}

/// The first error of a type in the chain of causes. An I/O error hides what it wraps from that chain.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// What the innermost cause says.
fn last_words(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// All texts of the chain of causes in one.
fn texts_of(error: &dyn Error) -> String {
    let mut texts = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        texts.push_str(": ");
        texts.push_str(&cause.to_string());
        next = cause.source();
    }
    texts
}
