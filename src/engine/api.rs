//! docker's API, over a unix socket or plain TCP. podman speaks it too.

use std::error::Error;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use reqwest::{Body, Client, RequestBuilder, Response};
use tokio::io::AsyncWriteExt as _;
use url::Url;

use crate::engine::address::ApiAddress;
use crate::engine::answer::{self, LoadFault, MAX_ANSWER, Told};
use crate::engine::error::EngineError;
use crate::engine::file_body::FileBody;
use crate::engine::host::{self, EngineHost, RunningContainer};
use crate::engine::pull::{EngineLogin, PullAnswer};
use crate::engine::{Archive, EngineKind, ImageKey};
use crate::oci::{Digest, ImageRef, Repository, Tag};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For questions that an engine answers from what it knows. Loading has no such limit: unpacking a large image is
/// silent for minutes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// An engine that fetches says something every few seconds, but for the unpacking of a large layer; one that saves first
/// packs a layer.
const SILENCE: Duration = Duration::from_secs(600);
/// The most that is taken of an image's archive: ten times the largest images there are.
const MAX_SAVED: u64 = 256 << 30;

/// An engine's API.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    base: Url,
    place: String,
}

/// A whole answer, within the limit.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

/// One request, and its name in errors.
struct Question<'a> {
    api: &'a Api,
    name: String,
    builder: RequestBuilder,
}

impl Api {
    /// A client for one engine: no proxy, no redirects, no connection made yet.
    pub(super) fn new(address: ApiAddress) -> Result<Self, EngineError> {
        let place = address.to_string();
        let builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tls_backend_preconfigured(no_tls());
        let (builder, base) = match address {
            // The host's name is of no use on a socket, but HTTP wants one.
            #[cfg(unix)]
            ApiAddress::Socket(path) => {
                (builder.unix_socket(path), Url::parse("http://localhost/").expect("a constant that parses"))
            }
            #[cfg(not(unix))]
            ApiAddress::Socket(_) => {
                return Err(EngineError::Scheme { scheme: "unix", reason: "this system has no such sockets" });
            }
            ApiAddress::Tcp(url) => (builder, url),
        };
        match builder.build() {
            Ok(client) => Ok(Self { client, base, place }),
            Err(error) => Err(EngineError::Unreachable { place, source: innermost(&error) }),
        }
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn is_on_a_socket(&self) -> bool {
        self.place.starts_with("unix://")
    }

    pub(super) async fn version(&self) -> Result<Told, EngineError> {
        let question = self.question(Method::GET, "version");
        let name = question.name.clone();
        let answer = question.quick().await?.success(self, &name)?;
        answer::version(&answer).map_err(|reason| self.not_an_engines(&name, &reason))
    }

    pub(super) async fn image_id(&self, image: ImageKey<'_>) -> Result<Option<Digest>, EngineError> {
        let question = self.question(Method::GET, &format!("images/{image}/json"));
        let name = question.name.clone();
        let answer = question.quick().await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.success(self, &name)?;
        answer::image_id(&answer).map(Some).map_err(|reason| self.not_an_engines(&name, &reason))
    }

    pub(super) async fn tag(&self, image: ImageKey<'_>, repository: &Repository, tag: &Tag) -> Result<(), EngineError> {
        let mut question = self.question(Method::POST, &format!("images/{image}/tag"));
        question.builder = question.builder.query(&[("repo", repository.to_string().as_str()), ("tag", tag.as_str())]);
        let name = question.name.clone();
        question.quick().await?.success(self, &name).map(|_| ())
    }

    pub(super) async fn host(&self) -> Result<EngineHost, EngineError> {
        self.told("info", host::of_docker).await
    }

    pub(super) async fn running(&self) -> Result<Vec<RunningContainer>, EngineError> {
        self.told("containers/json", host::containers).await
    }

    async fn told<T>(&self, path: &str, read: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, EngineError> {
        let question = self.question(Method::GET, path);
        let name = question.name.clone();
        let answer = question.quick().await?.success(self, &name)?;
        read(&answer).map_err(|reason| self.not_an_engines(&name, &reason))
    }

    pub(super) async fn pull(
        &self,
        kind: EngineKind,
        image: &ImageRef,
        login: Option<&EngineLogin>,
        arrived: impl Fn(u64),
    ) -> Result<(), EngineError> {
        let mut question = self.question(Method::POST, "images/create");
        let name = question.name.clone();
        let repository = image.repository().to_string();
        question.builder = question.builder.query(&[("fromImage", repository.as_str()), ("tag", &image.lookup())]);
        if let Some(login) = login {
            question.builder = question.builder.header("X-Registry-Auth", login.header());
        }
        let refused = |message: String| EngineError::Pull {
            place: self.place.clone(),
            kind,
            image: Box::new(image.clone()),
            message,
        };
        let silent =
            || EngineError::Silent { place: self.place.clone(), request: name.clone(), seconds: SILENCE.as_secs() };
        let broken =
            |error: reqwest::Error| EngineError::Unreachable { place: self.place.clone(), source: innermost(&error) };
        let quiet = |reason: String| self.not_an_engines(&name, &reason);
        let sent = tokio::time::timeout(SILENCE, question.builder.send()).await.map_err(|_| silent())?;
        let mut response = sent.map_err(broken)?;
        if !response.status().is_success() {
            let body = bounded(response).await.map_err(broken)?.unwrap_or_default();
            return Err(refused(answer::message(&body)));
        }
        let mut heard = PullAnswer::default();
        while let Some(chunk) =
            tokio::time::timeout(SILENCE, response.chunk()).await.map_err(|_| silent())?.map_err(broken)?
        {
            arrived(heard.take(&chunk).map_err(quiet)?);
        }
        heard.end().map_err(quiet)?.map_err(refused)
    }

    pub(super) async fn load(
        &self,
        archive: Archive<'_>,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Vec<String>, EngineError> {
        let unreadable = |source| EngineError::Archive { path: archive.name.to_owned(), source };
        // Boxed, since a body must not be tied to its place in memory.
        let sent: Box<dyn Fn(u64) + Send + Sync> = Box::new(sent);
        let body = FileBody::new(archive.parts.to_vec(), sent);
        let fault = body.fault();
        let mut question = self.question(Method::POST, "images/load");
        question.builder = question
            .builder
            .query(&[("quiet", "1")])
            .header(http::header::CONTENT_TYPE, "application/x-tar")
            .body(Body::wrap(body));
        let name = question.name.clone();
        let answer = question.ask().await;
        if let Some(source) = fault.take() {
            return Err(unreadable(source));
        }
        let answer = answer?;
        let refused =
            |message| EngineError::Load { place: self.place.clone(), archive: archive.name.to_owned(), message };
        // podman's word for a file it cannot take; docker says it in the answer's text.
        if answer.status == StatusCode::INTERNAL_SERVER_ERROR {
            return Err(refused(answer::message(&answer.body)));
        }
        let answer = answer.success(self, &name)?;
        answer::loaded(&answer).map_err(|fault| match fault {
            LoadFault::Said(message) => refused(message),
            LoadFault::Unreadable(reason) => self.not_an_engines(&name, &reason),
        })
    }

    pub(super) async fn save(&self, image: ImageKey<'_>, file: &File) -> Result<(), EngineError> {
        let question = self.question(Method::GET, &format!("images/{image}/get"));
        let (name, place) = (question.name, || self.place.clone());
        let silent = || EngineError::Silent { place: place(), request: name.clone(), seconds: SILENCE.as_secs() };
        let broken = |error: reqwest::Error| EngineError::Unreachable { place: place(), source: innermost(&error) };
        let kept = |source| EngineError::Keep { place: place(), source };
        let sent = tokio::time::timeout(SILENCE, question.builder.send()).await.map_err(|_| silent())?;
        let mut response = sent.map_err(broken)?;
        if !response.status().is_success() {
            let (status, body) = (response.status(), bounded(response).await.map_err(broken)?.unwrap_or_default());
            return Answer { status, body }.success(self, &name).map(|_| ());
        }
        let mut file = tokio::fs::File::from_std(file.try_clone().map_err(kept)?);
        let mut length = 0;
        while let Some(chunk) =
            tokio::time::timeout(SILENCE, response.chunk()).await.map_err(|_| silent())?.map_err(broken)?
        {
            length += chunk.len() as u64;
            if length > MAX_SAVED {
                return Err(self.not_an_engines(&name, &format!("it is longer than {MAX_SAVED} bytes")));
            }
            file.write_all(&chunk).await.map_err(kept)?;
        }
        file.flush().await.map_err(kept)
    }

    fn question(&self, method: Method, path: &str) -> Question<'_> {
        let name = format!("{method} /{path}");
        let url = self.base.join(path).expect("the grammar of image names holds nothing that a URL's path does not");
        Question { api: self, name, builder: self.client.request(method, url) }
    }

    fn not_an_engines(&self, request: &str, reason: &str) -> EngineError {
        EngineError::Answer { place: self.place.clone(), request: request.to_owned(), reason: answer::cut(reason) }
    }
}

impl Question<'_> {
    async fn quick(mut self) -> Result<Answer, EngineError> {
        self.builder = self.builder.timeout(ANSWER_TIMEOUT);
        self.ask().await
    }

    async fn ask(self) -> Result<Answer, EngineError> {
        let (api, name) = (self.api, self.name);
        let failed = |error: reqwest::Error| {
            let place = api.place.clone();
            if error.is_timeout() && !error.is_connect() {
                EngineError::Silent { place, request: name.clone(), seconds: ANSWER_TIMEOUT.as_secs() }
            } else {
                EngineError::Unreachable { place, source: innermost(&error) }
            }
        };
        let response = self.builder.send().await.map_err(failed)?;
        let status = response.status();
        match bounded(response).await.map_err(failed)? {
            Some(body) => Ok(Answer { status, body }),
            None => Err(api.not_an_engines(&name, &format!("it is longer than {MAX_ANSWER} bytes"))),
        }
    }
}

impl Answer {
    fn success(self, api: &Api, request: &str) -> Result<Vec<u8>, EngineError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        Err(EngineError::Refused {
            place: api.place.clone(),
            request: request.to_owned(),
            status: self.status.as_u16(),
            message: answer::message(&self.body),
        })
    }
}

/// The body, or none if it is longer than the limit.
async fn bounded(mut response: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// The cause below all wrapping; the wrapping says only that a request failed.
fn innermost(error: &reqwest::Error) -> io::Error {
    let mut deepest: &(dyn Error + 'static) = error;
    let mut kind = io::ErrorKind::Other;
    while let Some(cause) = deepest.source() {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            kind = cause.kind();
        }
        deepest = cause;
    }
    io::Error::new(kind, answer::cut(&deepest.to_string()))
}

/// TLS is never spoken to an engine, but the client wants to be told how.
fn no_tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks the versions that its crate calls safe")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
