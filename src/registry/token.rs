//! Asking a token server for a token.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::registry::answer::{page, refused, whole_body};
use crate::registry::auth::basic_header;
use crate::registry::credentials::{Credential, Found};
use crate::registry::endpoint::shown_host;
use crate::registry::error::RegistryError;
use crate::registry::retry::Pauses;
use crate::registry::secret::Secret;
use crate::registry::settings::Limits;
use crate::registry::transport::Transport;

/// Real ones have a few kilobytes.
const MAX_TOKEN_ANSWER: u64 = 1024 * 1024;
/// The token specification's default where a server does not say how long a token lasts.
const DEFAULT_SECONDS: f64 = 60.0;
/// Longer promises are not believed.
const MOST_SECONDS: f64 = 24.0 * 3_600.0;

pub(super) struct TokenServer {
    pub(super) transport: Arc<Transport>,
    pub(super) pauses: Arc<Pauses>,
    pub(super) limits: Limits,
}

pub(super) struct TokenRequest<'a> {
    /// Checked: it may see the login.
    pub(super) realm: Url,
    pub(super) service: Option<String>,
    pub(super) scopes: BTreeSet<String>,
    pub(super) found: Option<&'a Found>,
    /// What the token is for.
    pub(super) what: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<f64>,
}

impl TokenServer {
    /// A header with a token, and how long to use it.
    pub(super) async fn fetch(&self, request: TokenRequest<'_>) -> Result<(HeaderValue, Duration), RegistryError> {
        let host = shown_host(&request.realm);
        let what = format!("a token for {}", request.what);
        self.pauses.wait(&host).await;
        let response = self.transport.send(self.request(&request)?, &what).await?;
        let status = response.status();
        if status.is_redirection() {
            let why = "token servers see logins, so they are asked directly or not at all";
            return Err(RegistryError::RedirectRefused { host, what, target: "another address".into(), why });
        }
        if !status.is_success() {
            let error = refused(response, host, what).await;
            return Err(with_login(error, status, request.found));
        }
        let headers = response.headers().clone();
        let explain = |error| self.transport.explain(error, &request.realm, &what);
        let body = whole_body(response, MAX_TOKEN_ANSWER, &self.limits, true, explain, &host, &what).await?;
        if let Some(page) = page(status, &headers, &body, &host, &what) {
            return Err(page);
        }
        let body = zeroize::Zeroizing::new(body);
        header_from(&body).map_err(|why| RegistryError::Answer { host, what, why: why.into() })
    }

    fn request(&self, request: &TokenRequest<'_>) -> Result<reqwest::Request, RegistryError> {
        let client = self.transport.client(&request.realm);
        let builder = match request.found.map(|found| &found.credential) {
            Some(Credential::IdentityToken(token)) => {
                let scope = request.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
                let service = request.service.clone().unwrap_or_default();
                client.post(request.realm.clone()).form(&[
                    ("grant_type", "refresh_token"),
                    ("service", &service),
                    ("scope", &scope),
                    ("client_id", "octobundle"),
                    ("refresh_token", token.reveal()),
                ])
            }
            Some(Credential::Basic { user, password }) => {
                let header = basic_header(user, password.reveal());
                client.get(with_query(request, Some(user))).header(AUTHORIZATION, header)
            }
            None => client.get(with_query(request, None)),
        };
        builder.build().map_err(|error| self.transport.explain(error, &request.realm, request.what))
    }
}

fn with_query(request: &TokenRequest<'_>, account: Option<&str>) -> Url {
    let mut url = request.realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(account) = account {
            query.append_pair("account", account);
        }
        if let Some(service) = &request.service {
            query.append_pair("service", service);
        }
        for scope in &request.scopes {
            query.append_pair("scope", scope);
        }
    }
    url
}

/// A refusal says where the refused login came from.
fn with_login(error: RegistryError, status: StatusCode, found: Option<&Found>) -> RegistryError {
    match (error, found) {
        (RegistryError::LoginMissing { host, what, said }, Some(found)) => {
            RegistryError::LoginRefused { host, what, origin: found.origin.clone(), said }
        }
        // OAuth2 servers say 400 `invalid_grant` to a refresh token that is no longer good.
        (RegistryError::Status { host, what, said, .. }, Some(found))
            if status == StatusCode::BAD_REQUEST && matches!(found.credential, Credential::IdentityToken(_)) =>
        {
            RegistryError::LoginRefused { host, what, origin: found.origin.clone(), said }
        }
        (error, _) => error,
    }
}

fn header_from(body: &[u8]) -> Result<(HeaderValue, Duration), &'static str> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "its token answer is not the JSON it should be")?;
    let usable = |token: &Secret| !token.reveal().is_empty();
    let token = answer.token.filter(usable).or(answer.access_token.filter(usable)).ok_or("its answer has no token")?;
    let text = zeroize::Zeroizing::new(format!("Bearer {}", token.reveal()));
    let mut header = HeaderValue::from_str(&text).map_err(|_| "its token has characters that no header takes")?;
    header.set_sensitive(true);
    Ok((header, lifetime(answer.expires_in)))
}

/// A tenth less than promised, so that a token does not end on its way.
fn lifetime(stated: Option<f64>) -> Duration {
    let seconds = stated.filter(|seconds| *seconds >= 1.0).map_or(DEFAULT_SECONDS, |s| s.min(MOST_SECONDS));
    Duration::from_secs_f64(seconds * 0.9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_02_answers_of_all_forms_are_understood() {
        for (body, header, seconds) in [
            (r#"{"token":"T"}"#, "Bearer T", 54.0),
            (r#"{"access_token":"T","expires_in":300}"#, "Bearer T", 270.0),
            (r#"{"token":"T","access_token":"U","expires_in":0,"issued_at":"x"}"#, "Bearer T", 54.0),
            (r#"{"token":"","access_token":"U","expires_in":1e300}"#, "Bearer U", 77_760.0),
            (r#"{"token":"T","expires_in":-5}"#, "Bearer T", 54.0),
        ] {
            let (got, lasts) = header_from(body.as_bytes()).unwrap();
            assert_eq!((got.to_str().unwrap(), lasts), (header, Duration::from_secs_f64(seconds)), "{body}");
            assert!(got.is_sensitive());
        }
        for body in ["", "{}", "[]", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":5}"#, "<html>"] {
            assert!(header_from(body.as_bytes()).is_err(), "{body}");
        }
    }
}
