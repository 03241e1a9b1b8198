//! One request and its answer: login, redirects, pauses and tries in one place.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use reqwest::{Body, Response};
use url::Url;

use crate::oci::Digest;
use crate::progress::{Event, Progress};
use crate::registry::answer::refused;
use crate::registry::auth::{Access, Auth, Authorization, Login};
use crate::registry::crowd::{Crowd, Place};
use crate::registry::endpoint::{Endpoint, shown_host, shown_url};
use crate::registry::error::RegistryError;
use crate::registry::notice::notices;
use crate::registry::redirect::Trail;
use crate::registry::retry::{Budget, Chance, Pauses, chance, is_passing_status, retry_after};
use crate::registry::settings::RegistrySettings;
use crate::registry::sync::lock;
use crate::registry::throttle::Throttle;
use crate::registry::token::TokenServer;
use crate::registry::transport::Transport;
use crate::registry::weather::Weather;

/// A registry that has something new to say with every answer is heard so often.
const MAX_NOTICES: usize = 10;

/// A request, as often as it has to be sent.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// Small and in memory; a stream goes through [`Exchange::stream`].
    pub(super) body: bytes::Bytes,
    pub(super) endpoint: &'a Endpoint,
    pub(super) access: Access,
    /// What is asked for, in messages.
    pub(super) what: String,
    /// Whether redirects are followed; else they are the answer.
    pub(super) follows: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, url: Url, endpoint: &'a Endpoint, access: Access, what: &str) -> Self {
        let (headers, body) = (HeaderMap::new(), bytes::Bytes::new());
        Self { method, url, headers, body, endpoint, access, what: what.into(), follows: true }
    }

    /// Whether nothing is sent and nothing changed by it.
    fn only_asks(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Whether a redirect with this status is followed. "See other" to who sends something means that it was taken,
    /// which is for the caller to believe or not.
    fn follows_a(&self, status: StatusCode) -> bool {
        self.follows && (self.only_asks() || status != StatusCode::SEE_OTHER)
    }
}

/// What came back, with the place it came from.
pub(super) struct Answer {
    pub(super) response: Response,
    /// Who answered, after redirects.
    pub(super) url: Url,
    /// Whether that was another origin than the registry's own.
    pub(super) elsewhere: bool,
    /// Held until the body has been read.
    _place: Place,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The error that this answer is.
    pub(super) async fn refused(self, what: &str) -> RegistryError {
        let elsewhere = self.elsewhere;
        let error = refused(self.response, shown_host(&self.url), what.to_owned()).await;
        if elsewhere { as_of_a_store(error) } else { error }
    }
}

pub(super) struct Exchange {
    pub(super) settings: Arc<RegistrySettings>,
    pub(super) transport: Arc<Transport>,
    pub(super) auth: Auth,
    pub(super) pauses: Arc<Pauses>,
    crowd: Crowd,
    pub(super) throttle: Arc<Throttle>,
    /// Blobs whose first byte was asked for in this run; asked for again, caches on the way are passed by.
    pub(super) begun: Mutex<HashSet<Digest>>,
    pub(super) progress: Arc<dyn Progress>,
    /// Hosts that answered in this run, whatever they said.
    pub(super) reached: Mutex<HashSet<String>>,
    /// Hosts whose upload addresses were repaired, each told once.
    pub(super) warned: Mutex<HashSet<String>>,
    /// What registries want their users to know, each told once.
    pub(super) notices: Mutex<HashSet<String>>,
    /// What uploads learn of the hosts they go to.
    pub(super) weather: Weather,
    /// Mirrors that failed; they are not asked again.
    pub(super) left_out: Mutex<HashSet<String>>,
}

impl Exchange {
    pub(super) fn new(settings: RegistrySettings, progress: Arc<dyn Progress>) -> Result<Self, RegistryError> {
        let settings = Arc::new(settings);
        let transport = Arc::new(Transport::new(&settings)?);
        let pauses = Arc::new(Pauses::default());
        let server =
            TokenServer { transport: transport.clone(), pauses: pauses.clone(), limits: settings.limits.clone() };
        Ok(Self {
            auth: Auth::new(&settings, server),
            crowd: Crowd::new(settings.connections),
            throttle: Arc::new(Throttle::new(settings.limit_rate)),
            begun: Mutex::default(),
            settings,
            transport,
            pauses,
            progress,
            reached: Mutex::default(),
            warned: Mutex::default(),
            notices: Mutex::default(),
            weather: Weather::default(),
            left_out: Mutex::default(),
        })
    }

    pub(super) fn budget(&self) -> Budget {
        Budget::new(self.settings.retry_for, &self.settings.limits)
    }

    /// Sends `call` until it is answered with one of `wanted`, or with something that trying again does not change.
    pub(super) async fn send(&self, call: &Call<'_>, wanted: &[StatusCode]) -> Result<Answer, RegistryError> {
        let mut budget = self.budget();
        loop {
            match self.attempt(call, wanted).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.pause(error, &mut budget).await?,
            }
        }
    }

    /// Sends `call` once; any status that is not in `wanted` is an error.
    pub(super) async fn attempt(&self, call: &Call<'_>, wanted: &[StatusCode]) -> Result<Answer, RegistryError> {
        let answer = self.once(call).await?;
        if wanted.contains(&answer.status()) { Ok(answer) } else { Err(answer.refused(&call.what).await) }
    }

    /// Waits after a failure, or gives the failure back when waiting would not help.
    pub(super) async fn pause(&self, error: RegistryError, budget: &mut Budget) -> Result<(), RegistryError> {
        let host = error.host();
        if let RegistryError::Stalled { seconds, .. } = error.inner() {
            budget.stood_still(Duration::from_secs(*seconds));
        }
        let (pause, reason) = if let RegistryError::RateLimited { seconds: Some(seconds), .. } = error.inner() {
            let stated = Duration::from_secs(*seconds);
            let allowed = budget.may_wait(stated, self.settings.max_wait);
            if allowed {
                self.pauses.hold(&host, stated);
            }
            (allowed.then_some(stated), "it asked for a pause".to_owned())
        } else {
            let limited = matches!(error.inner(), RegistryError::RateLimited { .. });
            let chance = if limited { Chance::Good } else { chance(&error) };
            let met = lock(&self.reached).contains(&host);
            let pause = budget.next_pause(chance, (!met).then_some(self.settings.limits.first_contact));
            if let (true, Some(pause)) = (limited, pause) {
                self.pauses.hold(&host, pause);
            }
            (pause, error.to_string())
        };
        let Some(pause) = pause else { return Err(error) };
        self.tell_wait(&host, reason, pause);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn tell_wait(&self, host: &str, reason: String, pause: Duration) {
        let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
        self.progress.report(Event::Waiting { host: host.to_owned(), reason, seconds });
    }

    /// A place among the requests to a host that wants no pause. Streamed uploads stand in a line of their own: what
    /// they send may be a download from the same host, and that must not wait for them.
    async fn place_at(&self, host: &str, direction: &str) -> Place {
        loop {
            if let Some(left) = self.pauses.left(host) {
                self.tell_wait(host, "it asked for a pause".into(), left);
                self.pauses.wait(host).await;
            }
            let place = self.crowd.enter(&format!("{host} {direction}")).await;
            // The pause may have begun while we waited for the place.
            if self.pauses.left(host).is_none() {
                return place;
            }
        }
    }

    /// Sends `call` with its login, follows redirects unless it says otherwise, answers a 401.
    pub(super) async fn once(&self, call: &Call<'_>) -> Result<Answer, RegistryError> {
        let mut trail = Trail::new(&call.endpoint.api(), call.url.clone());
        let mut fresh_refused = 0;
        loop {
            let url = trail.now().clone();
            let login = Login { endpoint: call.endpoint, url: &url, access: &call.access, what: &call.what };
            let mut authorization = if trail.carries_login() { self.auth.authorization(login).await? } else { None };
            let place = self.place_at(&shown_host(&url), "down").await;
            let mut request = self.request(call, &url, authorization.as_ref())?;
            give_body(&mut request, call);
            let response = self.transport.send(request, &call.what).await?;
            self.note(&url, &response, &place);
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && trail.carries_login() {
                drop(place);
                self.answer_refusal(login, response, authorization, &mut fresh_refused).await?;
                continue;
            }
            if let Some(authorization) = &mut authorization
                && proves_login(status)
            {
                authorization.accepted();
            }
            let Some(location) = redirect_of(&response).filter(|_| call.follows_a(status)) else {
                return Ok(Answer { response, url, elsewhere: !trail.carries_login(), _place: place });
            };
            follow(&mut trail, &location, &call.what)?;
            if !call.only_asks() && !trail.carries_login() {
                let why = "what a registry is sent goes to no other server";
                let (host, target, what) = (shown_host(&url), shown_url(trail.now()), call.what.clone());
                return Err(RegistryError::RedirectRefused { host, what, target, why });
            }
        }
    }

    /// Sends a body that cannot be sent twice. A redirect or a 401 is the caller's to deal with; the 401 has been
    /// learnt from by then, so that the next request is logged in.
    pub(super) async fn stream(&self, call: &Call<'_>, body: Body) -> Result<Answer, RegistryError> {
        let url = call.url.clone();
        let login = Login { endpoint: call.endpoint, url: &url, access: &call.access, what: &call.what };
        let at_home = Trail::new(&call.endpoint.api(), url.clone()).carries_login();
        let mut authorization = if at_home { self.auth.authorization(login).await? } else { None };
        let place = self.place_at(&shown_host(&url), "up").await;
        let mut request = self.request(call, &url, authorization.as_ref())?;
        *request.body_mut() = Some(body);
        let response = self.transport.stream(request, &call.what).await?;
        self.note(&url, &response, &place);
        if response.status() == StatusCode::UNAUTHORIZED && at_home {
            self.auth.learn(login, response.headers(), authorization).await?;
        } else if let Some(authorization) = &mut authorization
            && proves_login(response.status())
        {
            authorization.accepted();
        }
        Ok(Answer { response, url, elsewhere: !at_home, _place: place })
    }

    fn request(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<&Authorization>,
    ) -> Result<reqwest::Request, RegistryError> {
        let client = self.transport.client(url);
        let mut builder = client.request(call.method.clone(), url.clone()).headers(call.headers.clone());
        if let Some(header) = authorization.and_then(|authorization| authorization.header_for(url)) {
            builder = builder.header(AUTHORIZATION, header);
        }
        builder.build().map_err(|error| self.transport.explain(error, url, &call.what))
    }

    /// Learns from a 401, until a token that was made for this very request was refused twice. Others may be refused
    /// for their age, or because they were never meant for it.
    async fn answer_refusal(
        &self,
        login: Login<'_>,
        response: Response,
        used: Option<Authorization>,
        fresh_refused: &mut u32,
    ) -> Result<(), RegistryError> {
        let fresh = used.as_ref().is_some_and(Authorization::is_fresh);
        *fresh_refused += u32::from(fresh);
        let headers = response.headers().clone();
        self.auth.learn(login, &headers, used).await?;
        let lacks_right = headers
            .get_all(http::header::WWW_AUTHENTICATE)
            .iter()
            .any(|header| header.to_str().is_ok_and(|text| text.contains("insufficient_scope")));
        if fresh && (*fresh_refused > 1 || lacks_right) {
            let host = login.endpoint.host().to_string();
            let error = refused(response, host, login.what.to_owned()).await;
            let error = if lacks_right { naming_scope(error) } else { error };
            return Err(self.name_login(error, login).await);
        }
        if fresh {
            // A token server whose clock is ahead gives tokens that hold in a second or two.
            tokio::time::sleep(self.settings.limits.fresh_token_pause).await;
        }
        Ok(())
    }

    async fn name_login(&self, error: RegistryError, login: Login<'_>) -> RegistryError {
        match (error, self.auth.lookup(login.endpoint).await) {
            (RegistryError::LoginMissing { host, what, said }, Ok(Some(found))) => {
                RegistryError::LoginRefused { host, what, origin: found.origin.clone(), said }
            }
            (error, _) => error,
        }
    }

    /// Remembers that a host answers, and for how long and how much it wants to be left alone.
    fn note(&self, url: &Url, response: &Response, place: &Place) {
        let host = shown_host(url);
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            place.was_too_much();
            if let Some(pause) = retry_after(response.headers(), SystemTime::now())
                && pause <= self.settings.max_wait
            {
                self.pauses.hold(&host, pause);
            }
        } else {
            place.went_well();
        }
        self.pass_on_notices(&host, response);
        lock(&self.reached).insert(host);
    }

    /// Tells the user what the registry wants to be told.
    fn pass_on_notices(&self, host: &str, response: &Response) {
        for text in notices(response.headers()) {
            let text = format!("`{host}` says: {text}");
            let mut told = lock(&self.notices);
            if told.len() < MAX_NOTICES && told.insert(text.clone()) {
                self.progress.report(Event::Warning(text));
            }
        }
    }
}

/// The one word by which token servers tell a login that lacks a right from a wrong one stands in a header.
fn naming_scope(error: RegistryError) -> RegistryError {
    match error {
        RegistryError::LoginMissing { host, what, said } => {
            RegistryError::LoginMissing { host, what, said: format!("insufficient_scope {said}").trim().to_owned() }
        }
        other => other,
    }
}

/// Where the registry redirected to, no 4xx is about the registry's own rights and names: signed addresses expire, and
/// stores say so in many ways.
fn as_of_a_store(error: RegistryError) -> RegistryError {
    match error {
        RegistryError::LoginMissing { host, what, said } => {
            RegistryError::StoreRefused { host, what, status: 401, said }
        }
        RegistryError::Denied { host, what, said } => RegistryError::StoreRefused { host, what, status: 403, said },
        RegistryError::NotFound { host, what, said } => RegistryError::StoreRefused { host, what, status: 404, said },
        RegistryError::Status { host, what, status: status @ 400..=499, said } if !is_passing_status(status) => {
            RegistryError::StoreRefused { host, what, status, said }
        }
        other => other,
    }
}

/// Gives a request the call's body. Some proxies answer 411 to an empty one without its length.
fn give_body(request: &mut reqwest::Request, call: &Call<'_>) {
    if !call.body.is_empty() {
        *request.body_mut() = Some(call.body.clone().into());
    } else if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
        request.headers_mut().insert(CONTENT_LENGTH, 0.into());
    }
}

/// Whether an answer other than 401 shows that the login was looked at and found good.
fn proves_login(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::REQUEST_TIMEOUT
}

pub(super) fn follow(trail: &mut Trail, location: &str, what: &str) -> Result<(), RegistryError> {
    let from = trail.now().clone();
    trail.follow(location).map_err(|why| {
        let target = from.join(location).map_or_else(|_| "an unreadable address".into(), |url| shown_url(&url));
        RegistryError::RedirectRefused { host: shown_host(&from), what: what.to_owned(), target, why }
    })
}

pub(super) fn redirect_of(response: &Response) -> Option<String> {
    let followed = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION)?;
    // Some servers put raw bytes there; a URL parser knows what to do with them.
    followed.then(|| String::from_utf8_lossy(location.as_bytes()).into_owned())
}
