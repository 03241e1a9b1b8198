//! What is said to a request, from whoever it is, and what the body is sent from.

use std::net::IpAddr;

use bytes::Bytes;

use crate::content::blocking;
use crate::oci::Host;
use crate::plan::Target;
use crate::serve::answer::{Answer, Body};
use crate::serve::auth::Access;
use crate::serve::head::{Head, Method};
use crate::serve::metrics::Gauges;
use crate::serve::page::{self, Page};
use crate::serve::protocol::{self, Offer};
use crate::serve::reading::{RETRY_AFTER, refused_by};
use crate::serve::route::{Asset, BadRoute, Route};
use crate::serve::sending::Part;
use crate::serve::server::Server;
use crate::serve::source::Trouble;

/// An answer with what its body is read from.
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    pub(crate) body: Ready,
    pub(crate) user: Option<String>,
    /// What was asked for, for counting.
    pub(crate) kind: &'static str,
}

/// A body that can be sent.
pub(crate) enum Ready {
    Bytes(Bytes),
    Part(Part),
}

impl Server {
    /// The answer to a request, with what it is to be sent from.
    pub(crate) async fn reply(&self, head: &Head, client: IpAddr) -> Reply {
        let route = Route::parse(&head.path, &head.query);
        let kind = route.as_ref().map_or("other", kind);
        let mut user = None;
        let answer = match self.admit(head, client, &route).await {
            Ok(found) => {
                user = found;
                match route {
                    Ok(route) => self.answer(&route, head).await,
                    Err(bad) => protocol::nowhere(bad),
                }
            }
            Err(refusal) => refusal,
        };
        match self.ready(&answer, head.method).await {
            Ok(body) => Reply { answer, body, user, kind },
            Err(refusal) => Reply { body: Ready::Bytes(bytes_of(&refusal)), answer: refusal, user, kind },
        }
    }

    /// The user, if one is asked for; or why the request goes no further.
    async fn admit(
        &self,
        head: &Head,
        client: IpAddr,
        route: &Result<Route, BadRoute>,
    ) -> Result<Option<String>, Answer> {
        if !self.is_host_right(head) {
            let text = "this server is not known by that name; name it with `--name` where the server is started";
            return Err(Answer::refusal(421, "DENIED", text));
        }
        if matches!(route, Ok(Route::Health)) {
            return protocol::refused_method(head.method).map_or(Ok(None), Err);
        }
        let user = self.user(head, client).await?;
        // What names nothing by any method is told that first; so does the specification's own test of reading.
        if matches!(route, Err(BadRoute::Name | BadRoute::Digest)) {
            return Ok(user);
        }
        if let Some(refusal) = protocol::refused_method(head.method) {
            return Err(refusal);
        }
        if head.has_body {
            return Err(Answer::refusal(400, "UNSUPPORTED", "a request for reading has no body"));
        }
        Ok(user)
    }

    async fn user(&self, head: &Head, client: IpAddr) -> Result<Option<String>, Answer> {
        let Some(logins) = self.logins() else { return Ok(None) };
        match logins.access(head.header("authorization"), client).await {
            Access::User(user) => Ok(Some(user)),
            Access::Denied => {
                if head.header("authorization").is_some() {
                    self.metrics().denied.add(1);
                }
                let ask = "Basic realm=\"octobundle\", charset=\"UTF-8\"";
                Err(Answer::refusal(401, "UNAUTHORIZED", "log in first").header("WWW-Authenticate", ask))
            }
            Access::Busy => {
                Err(Answer::refusal(429, "TOOMANYREQUESTS", "too many logins at once")
                    .header("Retry-After", RETRY_AFTER))
            }
        }
    }

    /// A page elsewhere that a browser shows can make a name mean this machine; it cannot make it a name of ours.
    fn is_host_right(&self, head: &Head) -> bool {
        let (hosts, Some(host)) = (&self.settings().hosts, &head.host) else { return true };
        if hosts.is_empty() {
            return true;
        }
        let Ok(host) = host.parse::<Host>() else { return false };
        let known = |name: &String| name.eq_ignore_ascii_case(host.name()) || name.eq_ignore_ascii_case(host.as_str());
        host.is_loopback() || hosts.iter().any(known)
    }

    async fn answer(&self, route: &Route, head: &Head) -> Answer {
        match route {
            Route::Home => self.home(head),
            Route::Asset(Asset::Style) => page::style(),
            Route::Asset(Asset::Script) => page::script(),
            Route::Asset(Asset::Certificate) => self.trust_file(),
            Route::Asset(Asset::Icon) => Answer::empty(204).header("Cache-Control", "max-age=86400"),
            Route::Report(number) => self.report(*number).await,
            Route::Health => self.health().await,
            Route::Metrics => self.metrics_text().await,
            _ => self.by_protocol(route, head).await.unwrap_or_else(|trouble| self.trouble(trouble)),
        }
    }

    async fn by_protocol(&self, route: &Route, head: &Head) -> Result<Answer, Trouble> {
        let referrers = match protocol::subject(self.catalog(), route, head) {
            Some((stock, subject)) => self.sources().referrers(stock, &subject).await?,
            None => Vec::new(),
        };
        let offer = Offer { catalog: self.catalog(), referrers: &referrers };
        Ok(protocol::answer(&offer, route, head).unwrap_or_else(|| protocol::nowhere(BadRoute::Nowhere)))
    }

    /// Reads what the answer is made of, or finds where to send it from.
    async fn ready(&self, answer: &Answer, method: Method) -> Result<Ready, Answer> {
        let found = match &answer.body {
            Body::Nothing => Ok(Ready::Bytes(Bytes::new())),
            Body::Bytes(bytes) => Ok(Ready::Bytes(bytes.clone())),
            Body::Document(item) => self.sources().document(item).await.map(Ready::Bytes),
            Body::Blob { item, .. } if method == Method::Head => {
                self.sources().holds(item).await.map(|()| Ready::Bytes(Bytes::new()))
            }
            Body::Blob { item, start, length } => self.sources().blob(item, *start, *length).await.map(Ready::Part),
        };
        found.map_err(|trouble| self.trouble(trouble))
    }

    fn trouble(&self, trouble: Trouble) -> Answer {
        if trouble == Trouble::Damaged {
            self.metrics().damaged.add(1);
        }
        refused_by(trouble)
    }

    fn home(&self, head: &Head) -> Answer {
        let certificate = self.certificate();
        page::home(&Page {
            target: &self.target_for(head),
            bundles: self.shown(),
            images: self.catalog().images(),
            fingerprint: certificate.as_ref().map(|loaded| loaded.fingerprint),
            self_signed: certificate.is_some_and(|loaded| loaded.to_trust.is_some()),
            login: self.settings().htpasswd.is_some(),
        })
    }

    /// Where the images are as this client reached them, if their names can begin so.
    fn target_for(&self, head: &Head) -> Target {
        let host = head.host.as_deref().and_then(|host| host.parse::<Host>().ok());
        let own = self.target().prefix().map_or_else(String::new, |prefix| format!("/{prefix}"));
        let named = host.map(|host| Target::parse(&format!("{host}{own}"), self.target().source_host()));
        named.and_then(Result::ok).unwrap_or_else(|| self.target().clone())
    }

    /// The report of a bundle, counted from 1.
    async fn report(&self, number: usize) -> Answer {
        let Some(source) = number.checked_sub(1).and_then(|place| self.sources().offered().get(place)) else {
            return protocol::nowhere(BadRoute::Nowhere);
        };
        let (papers, source, target) = (self.papers().clone(), source.clone(), self.target().clone());
        let written = blocking(move || {
            let opened = source.now()?;
            papers.page(number - 1, opened.bundle(), &target)
        });
        written.await.map_or_else(|trouble| self.trouble(trouble), page::report)
    }

    fn trust_file(&self) -> Answer {
        match self.certificate().and_then(|loaded| loaded.to_trust.clone()) {
            Some(pem) => Answer::bytes(200, "application/x-pem-file", pem),
            None => protocol::nowhere(BadRoute::Nowhere),
        }
    }

    async fn health(&self) -> Answer {
        match self.sources().readable().await.iter().position(|readable| !readable) {
            None => Answer::bytes(200, "text/plain; charset=utf-8", "ok\n"),
            Some(place) => {
                let text = format!("bundle {} cannot be read\n", place + 1);
                Answer::bytes(503, "text/plain; charset=utf-8", text).header("Retry-After", RETRY_AFTER)
            }
        }
        .header("Cache-Control", "no-store")
    }

    async fn metrics_text(&self) -> Answer {
        let gauges = Gauges {
            connections: self.crowd().len(),
            bundles: self.sources().readable().await,
            log_lines_dropped: self.log().dropped(),
        };
        Answer::bytes(200, "text/plain; version=0.0.4; charset=utf-8", self.metrics().text(&gauges))
            .header("Cache-Control", "no-store")
    }
}

fn kind(route: &Route) -> &'static str {
    match route {
        Route::Base => "base",
        Route::Catalog(_) => "catalog",
        Route::Tags(..) => "tags",
        Route::Manifest(..) => "manifest",
        Route::Blob(..) => "blob",
        Route::Referrers(..) => "referrers",
        Route::Home | Route::Asset(_) | Route::Report(_) => "page",
        Route::Health => "health",
        Route::Metrics => "metrics",
    }
}

fn bytes_of(answer: &Answer) -> Bytes {
    match &answer.body {
        Body::Bytes(bytes) => bytes.clone(),
        Body::Nothing | Body::Document(_) | Body::Blob { .. } => Bytes::new(),
    }
}
