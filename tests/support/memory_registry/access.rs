//! Who may do what: open, with a password, or with tokens that the registry issues itself.

use std::collections::BTreeMap;

use base64::Engine as _;
use http::StatusCode;
use http::request::Parts;
use serde_json::json;

use super::Shared;
use super::protocol::{Place, Reply, query};

#[derive(Clone, Debug)]
pub(crate) enum Access {
    Open,
    Basic {
        user: String,
        password: String,
    },
    /// Tokens from `/token` of the same server.
    Bearer {
        /// Who gets tokens; `None` gives them to everyone.
        login: Option<(String, String)>,
        /// How many requests a token is good for before it has expired.
        uses: u32,
    },
}

impl Access {
    /// Tokens for everyone that do not expire.
    pub(crate) fn anonymous_tokens() -> Self {
        Self::Bearer { login: None, uses: u32::MAX }
    }
}

/// Tokens given out, each with its scopes and the uses left.
#[derive(Default)]
pub(super) struct Tokens {
    issued: BTreeMap<String, (Vec<String>, u32)>,
}

impl Tokens {
    fn issue(&mut self, scopes: Vec<String>, uses: u32) -> String {
        let token = format!("token-{}", self.issued.len() + 1);
        self.issued.insert(token.clone(), (scopes, uses));
        token
    }

    /// Whether the token is good for this; takes one use.
    fn admit(&mut self, token: &str, needed: Option<&Scope>) -> bool {
        let Some((scopes, uses)) = self.issued.get_mut(token) else { return false };
        let granted = needed.is_none_or(|needed| scopes.iter().any(|scope| needed.is_granted_by(scope)));
        if *uses == 0 || !granted {
            return false;
        }
        *uses -= 1;
        true
    }
}

/// What a request needs: `repository:NAME:ACTION`.
struct Scope {
    repository: String,
    action: &'static str,
}

impl Scope {
    fn of(method: &http::Method, place: &Place) -> Option<Self> {
        let repository = place.repository()?.to_owned();
        let reads = method == http::Method::GET || method == http::Method::HEAD;
        let pulls = reads && !matches!(place, Place::Uploads { .. } | Place::Upload { .. });
        Some(Self { repository, action: if pulls { "pull" } else { "push" } })
    }

    fn is_granted_by(&self, scope: &str) -> bool {
        let Some(rest) = scope.strip_prefix("repository:") else { return false };
        let Some((repository, actions)) = rest.rsplit_once(':') else { return false };
        repository == self.repository && actions.split(',').any(|action| action == self.action)
    }

    fn to_ask_for(&self) -> String {
        let actions = if self.action == "push" { "pull,push" } else { "pull" };
        format!("repository:{}:{actions}", self.repository)
    }
}

/// The refusal, if this request is not allowed.
pub(super) fn refusal(shared: &Shared, parts: &Parts, place: &Place) -> Option<Reply> {
    match &shared.options.access {
        Access::Open => None,
        Access::Basic { user, password } => {
            let allowed = credentials(parts) == Some((user.clone(), password.clone()));
            (!allowed).then(|| unauthorized("Basic realm=\"memory\"".to_owned()))
        }
        Access::Bearer { .. } => {
            let needed = Scope::of(&parts.method, place);
            let mut tokens = shared.tokens.lock().expect("no request panics while it holds the tokens");
            let token = authorization(parts, "Bearer ");
            let allowed = token.is_some_and(|token| tokens.admit(token, needed.as_ref()));
            (!allowed).then(|| unauthorized(challenge(shared, needed.as_ref())))
        }
    }
}

fn challenge(shared: &Shared, needed: Option<&Scope>) -> String {
    let scope = needed.map(|needed| format!(",scope=\"{}\"", needed.to_ask_for())).unwrap_or_default();
    format!("Bearer realm=\"http://{}/token\",service=\"memory\"{scope}", shared.host)
}

fn unauthorized(challenge: String) -> Reply {
    Reply::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
        .header("www-authenticate", challenge)
}

/// Answers `/token`: a token with the scopes that were asked for.
pub(super) fn token(shared: &Shared, parts: &Parts) -> Reply {
    let Access::Bearer { login, uses } = &shared.options.access else { return Reply::new(StatusCode::NOT_FOUND) };
    let given = credentials(parts);
    if given.is_some() && given != *login || given.is_none() && login.is_some() {
        return Reply::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "wrong name or password");
    }
    let scopes = query(parts).into_iter().filter(|(name, _)| name == "scope").map(|(_, scope)| scope).collect();
    let token = shared.tokens.lock().expect("no request panics while it holds the tokens").issue(scopes, *uses);
    Reply::new(StatusCode::OK).json(&json!({ "token": token, "access_token": token, "expires_in": 300 }))
}

fn authorization<'a>(parts: &'a Parts, scheme: &str) -> Option<&'a str> {
    parts.headers.get("authorization")?.to_str().ok()?.strip_prefix(scheme)
}

fn credentials(parts: &Parts) -> Option<(String, String)> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(authorization(parts, "Basic ")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}
