//! Logging in: what a registry asked for is remembered, tokens are fetched once for all who need them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue};
use tokio::sync::{Mutex as AsyncMutex, OnceCell, OwnedMutexGuard};
use tokio::time::Instant;
use url::{Origin, Url};

use crate::content::blocking;
use crate::oci::Repository;
use crate::registry::challenge::{self, Challenge};
use crate::registry::credentials::{Credential, CredentialStore, Found};
use crate::registry::endpoint::{Endpoint, shown_url};
use crate::registry::error::RegistryError;
use crate::registry::realm;
use crate::registry::settings::RegistrySettings;
use crate::registry::sync::lock;
use crate::registry::token::{TokenRequest, TokenServer};

/// Repositories beyond ours that a registry may ask a token to be for; honest ones ask for one.
const MOST_WIDER: usize = 8;

/// What a request needs the right for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access(BTreeSet<String>);

impl Access {
    pub(super) fn pull(repository: &Repository) -> Self {
        Self([format!("repository:{}:pull", repository.name)].into())
    }

    /// The right to see which repositories there are.
    pub(super) fn catalog() -> Self {
        Self(["registry:catalog:*".to_owned()].into())
    }

    /// What needs no more than a login.
    pub(super) fn none() -> Self {
        Self(BTreeSet::new())
    }

    pub(super) fn push(repository: &Repository) -> Self {
        Self([format!("repository:{}:pull,push", repository.name)].into())
    }

    /// The right to take a blob over from another repository.
    pub(super) fn mount(to: &Repository, from: &Repository) -> Self {
        let mut all = Self::push(to);
        all.0.insert(format!("repository:{}:pull", from.name));
        all
    }
}

/// Who asks whom for what.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) url: &'a Url,
    pub(super) access: &'a Access,
    pub(super) what: &'a str,
}

/// A header that logs in, bound to the origin it is for.
pub(super) struct Authorization {
    header: HeaderValue,
    origin: Origin,
    kind: Kind,
}

enum Kind {
    /// With the guard, nobody knows yet whether the password is right, and nobody else tries it.
    Basic {
        found: Arc<Found>,
        trial: Option<OwnedMutexGuard<Trial>>,
    },
    Bearer {
        slot: Arc<AsyncMutex<Slot>>,
        serial: u64,
        fresh: bool,
    },
}

impl Authorization {
    /// The header, if `url` is where it may be sent.
    pub(super) fn header_for(&self, url: &Url) -> Option<HeaderValue> {
        (url.origin() == self.origin).then(|| self.header.clone())
    }

    /// Whether it is a token that was made for this very request.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.kind, Kind::Bearer { fresh: true, .. })
    }

    /// Notes that the server took it.
    pub(super) fn accepted(&mut self) {
        if let Kind::Basic { trial, .. } = &mut self.kind
            && let Some(mut trial) = trial.take()
        {
            *trial = Trial::Proven;
        }
    }
}

/// What is known about a password at one origin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    Untried,
    Proven,
    Refused,
}

/// A token, and how its last fetching failed.
#[derive(Default)]
struct Slot {
    token: Option<Token>,
    failure: Option<(Instant, Arc<RegistryError>)>,
    /// Counts tokens, so that a refusal of an old one does not discard its successor.
    serial: u64,
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

type TokenKey = (Origin, String, Option<String>, BTreeSet<String>);
/// Rights asked for beyond ours, by origin and ours.
type Wider = HashMap<(Origin, BTreeSet<String>), BTreeSet<String>>;
/// What is known about a login from some place at some origin.
type Trials = HashMap<(Origin, String), Arc<AsyncMutex<Trial>>>;
type FoundCell = Arc<OnceCell<Option<Arc<Found>>>>;

pub(super) struct Auth {
    store: Arc<dyn CredentialStore>,
    settings: Arc<RegistrySettings>,
    server: TokenServer,
    known: Mutex<HashMap<Origin, Challenge>>,
    /// Rights that a registry asks for beyond those that we think a request needs.
    wider: Mutex<Wider>,
    found: Mutex<HashMap<Repository, FoundCell>>,
    tokens: Mutex<HashMap<TokenKey, Arc<AsyncMutex<Slot>>>>,
    trials: Mutex<Trials>,
}

impl Auth {
    pub(super) fn new(settings: &Arc<RegistrySettings>, server: TokenServer) -> Self {
        Self {
            store: settings.credentials.clone(),
            settings: settings.clone(),
            server,
            known: Mutex::default(),
            wider: Mutex::default(),
            found: Mutex::default(),
            tokens: Mutex::default(),
            trials: Mutex::default(),
        }
    }

    /// The header for a request, as far as the registry is known to want one.
    pub(super) async fn authorization(&self, login: Login<'_>) -> Result<Option<Authorization>, RegistryError> {
        let known = lock(&self.known).get(&login.url.origin()).cloned();
        match known {
            None => Ok(None),
            Some(Challenge::Basic) => self.basic(login).await.map(Some),
            Some(Challenge::Bearer { realm, service, .. }) => self.bearer(login, realm, service).await.map(Some),
        }
    }

    /// Whether the server at `url` has asked for a login or a token in this run.
    pub(super) fn was_asked(&self, url: &Url) -> bool {
        lock(&self.known).contains_key(&url.origin())
    }

    /// The address of the token server that the registry at `url` has named in this run.
    pub(super) fn token_server(&self, url: &Url) -> Option<Url> {
        match lock(&self.known).get(&url.origin())? {
            Challenge::Bearer { realm, .. } => realm::parse(realm).ok(),
            Challenge::Basic => None,
        }
    }

    /// Learns from a 401. Afterwards [`Self::authorization`] may give a better header; an error means that it
    /// will not.
    pub(super) async fn learn(
        &self,
        login: Login<'_>,
        headers: &HeaderMap,
        used: Option<Authorization>,
    ) -> Result<(), RegistryError> {
        let asked = challenge::best(headers).map_err(|why| RegistryError::Answer {
            host: login.endpoint.host().to_string(),
            what: login.what.to_owned(),
            why,
        })?;
        if let Some(used) = used {
            self.give_up(login, used, &asked).await?;
        }
        if let Challenge::Bearer { scope: Some(scope), .. } = &asked {
            self.widen(login, scope);
        }
        lock(&self.known).insert(login.url.origin(), asked);
        Ok(())
    }

    async fn give_up(&self, login: Login<'_>, used: Authorization, asked: &Challenge) -> Result<(), RegistryError> {
        match used.kind {
            Kind::Basic { found, trial } => {
                if let Some(mut trial) = trial {
                    *trial = Trial::Refused;
                }
                // Another scheme is another chance; the same one is not.
                if *asked == Challenge::Basic { Err(refused(login, &found)) } else { Ok(()) }
            }
            Kind::Bearer { slot, serial, .. } => {
                let mut slot = slot.lock().await;
                if slot.serial == serial {
                    slot.token = None;
                }
                Ok(())
            }
        }
    }

    /// The registry that sees our requests through a proxy may know the repository by another name.
    fn widen(&self, login: Login<'_>, asked: &str) {
        let repositories = asked.split(' ').filter(|scope| scope.starts_with("repository:"));
        let missing: BTreeSet<String> =
            repositories.filter(|scope| !covers(&login.access.0, scope)).take(4).map(str::to_owned).collect();
        if !missing.is_empty() {
            let mut wider = lock(&self.wider);
            let known = wider.entry((login.url.origin(), login.access.0.clone())).or_default();
            let room = MOST_WIDER.saturating_sub(known.len());
            known.extend(missing.into_iter().take(room));
        }
    }

    async fn basic(&self, login: Login<'_>) -> Result<Authorization, RegistryError> {
        let missing = || RegistryError::LoginMissing {
            host: login.endpoint.host().to_string(),
            what: login.what.to_owned(),
            said: String::new(),
        };
        let found = self.lookup(login.endpoint).await?.ok_or_else(missing)?;
        let Credential::Basic { user, password } = &found.credential else {
            return Err(missing());
        };
        let header = basic_header(user, password.reveal());
        let trial = self.trial(login, login.url.origin(), &found).await?;
        let kind = Kind::Basic { found, trial };
        Ok(Authorization { header, origin: login.url.origin(), kind })
    }

    /// The right to try a password: alone while it is unknown, not at all once it was refused.
    async fn trial(
        &self,
        login: Login<'_>,
        at: Origin,
        found: &Found,
    ) -> Result<Option<OwnedMutexGuard<Trial>>, RegistryError> {
        let key = (at, found.origin.clone());
        let trial = lock(&self.trials).entry(key).or_insert_with(|| Arc::new(AsyncMutex::new(Trial::Untried))).clone();
        let guard = trial.lock_owned().await;
        match *guard {
            Trial::Untried => Ok(Some(guard)),
            Trial::Proven => Ok(None),
            Trial::Refused => Err(refused(login, found)),
        }
    }

    async fn bearer(
        &self,
        login: Login<'_>,
        realm: String,
        service: Option<String>,
    ) -> Result<Authorization, RegistryError> {
        let origin = login.url.origin();
        let mut scopes = login.access.0.clone();
        if let Some(wider) = lock(&self.wider).get(&(origin.clone(), scopes.clone())) {
            scopes.extend(wider.iter().cloned());
        }
        let key = (origin.clone(), realm.clone(), service.clone(), scopes.clone());
        let cell = lock(&self.tokens).entry(key).or_default().clone();
        let asked_at = Instant::now();
        let mut slot = cell.lock().await;
        let held = slot.token.as_ref().filter(|token| token.until > Instant::now()).map(|token| token.header.clone());
        let fresh = held.is_none();
        let header = match held {
            Some(header) => header,
            None => self.renew(login, &mut slot, asked_at, realm, service, scopes).await?,
        };
        let serial = slot.serial;
        Ok(Authorization { header, origin, kind: Kind::Bearer { slot: cell.clone(), serial, fresh } })
    }

    /// Fetches a token into its slot. Who waited while another's fetching failed gets that failure and does not ask
    /// again at once.
    async fn renew(
        &self,
        login: Login<'_>,
        slot: &mut Slot,
        asked_at: Instant,
        realm: String,
        service: Option<String>,
        scopes: BTreeSet<String>,
    ) -> Result<HeaderValue, RegistryError> {
        if let Some((at, failure)) = &slot.failure
            && *at > asked_at
        {
            return Err(RegistryError::Shared(failure.clone()));
        }
        match self.fetch(login, realm, service, scopes).await {
            Ok(token) => {
                let header = token.header.clone();
                *slot = Slot { token: Some(token), failure: None, serial: slot.serial + 1 };
                Ok(header)
            }
            Err(error) => {
                let error = Arc::new(error);
                slot.failure = Some((Instant::now(), error.clone()));
                Err(RegistryError::Shared(error))
            }
        }
    }

    async fn fetch(
        &self,
        login: Login<'_>,
        realm: String,
        service: Option<String>,
        scopes: BTreeSet<String>,
    ) -> Result<Token, RegistryError> {
        let host = login.endpoint.host().to_string();
        let address = realm::parse(&realm).map_err(|why| RegistryError::RealmRefused {
            host: host.clone(),
            realm: shown_realm(&realm),
            trust: None,
            why,
        })?;
        let found = self.lookup(login.endpoint).await?;
        let mut trial = None;
        if let Some(found) = &found {
            realm::may_see_login(login.url, &address, &self.settings.trusted_realms).map_err(|refused| {
                RegistryError::RealmRefused { host, realm: shown_url(&address), trust: refused.trust, why: refused.why }
            })?;
            trial = self.trial(login, address.origin(), found).await?;
        } else if address.scheme() == "http" && login.url.scheme() == "https" {
            let why = "the registry is spoken to over https, and this address is plain http";
            return Err(RegistryError::RealmRefused { host, realm: shown_url(&address), trust: None, why });
        }
        let request = TokenRequest { realm: address, service, scopes, found: found.as_deref(), what: login.what };
        let answer = self.server.fetch(request).await;
        if let Some(trial) = &mut trial {
            match &answer {
                Ok(_) => **trial = Trial::Proven,
                Err(RegistryError::LoginRefused { .. }) => **trial = Trial::Refused,
                Err(_) => {}
            }
        }
        let (header, lasts) = answer?;
        Ok(Token { header, until: Instant::now() + lasts })
    }

    /// The login for an endpoint's repository, looked up once.
    pub(super) async fn lookup(&self, endpoint: &Endpoint) -> Result<Option<Arc<Found>>, RegistryError> {
        let cell = lock(&self.found).entry(endpoint.repository.clone()).or_default().clone();
        let found = cell.get_or_try_init(|| async {
            let (store, repository) = (self.store.clone(), endpoint.repository.clone());
            let looked = blocking(move || store.lookup(&repository)).await;
            looked.map(|found| found.map(Arc::new)).map_err(RegistryError::Credentials)
        });
        found.await.cloned()
    }
}

fn refused(login: Login<'_>, found: &Found) -> RegistryError {
    RegistryError::LoginRefused {
        host: login.endpoint.host().to_string(),
        what: login.what.to_owned(),
        origin: found.origin.clone(),
        said: String::new(),
    }
}

/// A token server's address that could not be used, for messages.
fn shown_realm(realm: &str) -> String {
    match Url::parse(realm) {
        Ok(url) => shown_url(&url),
        // Nobody knows which part of it a server meant to be secret.
        Err(_) if realm.contains(['?', '@']) => "an unreadable address".into(),
        Err(_) => realm.chars().filter(|c| !c.is_control()).take(200).collect(),
    }
}

/// `Basic` with user and password.
pub(super) fn basic_header(user: &str, password: &str) -> HeaderValue {
    use base64::Engine as _;
    let pair = zeroize::Zeroizing::new(format!("{user}:{password}"));
    let text = zeroize::Zeroizing::new(format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair.as_bytes())));
    let mut header = HeaderValue::from_str(&text).expect("base64 is plain text");
    header.set_sensitive(true);
    header
}

/// Whether some scope of `ours` is for the same repository and allows at least as much.
fn covers(ours: &BTreeSet<String>, asked: &str) -> bool {
    let split = |scope: &str| -> Option<(String, BTreeSet<String>)> {
        let (name, actions) = scope.rsplit_once(':')?;
        Some((name.to_owned(), actions.split(',').map(str::to_owned).collect()))
    };
    let Some((name, actions)) = split(asked) else { return true };
    ours.iter().filter_map(|scope| split(scope)).any(|(ours, allowed)| ours == name && actions.is_subset(&allowed))
}
