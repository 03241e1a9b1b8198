//! A blob in parts, each acknowledged, continued where the registry says that it stands.

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderValue, Method, StatusCode};
use url::Url;

use crate::content::ImageSource;
use crate::registry::body::Rest;
use crate::registry::endpoint::shown_host;
use crate::registry::error::RegistryError;
use crate::registry::exchange::Answer;
use crate::registry::retry::{Chance, chance};
use crate::registry::upload::{Stop, Upload};

/// How often in a row a part may be refused for its login, which is renewed each time.
const RENEWALS: u32 = 3;

/// Where an upload stands.
struct Standing {
    session: Url,
    /// Bytes that the registry has.
    position: u64,
}

impl<S: ImageSource> Upload<'_, S> {
    pub(super) async fn parts(&mut self) -> Result<(), Stop> {
        let (session, least) = self.begin().await?;
        let mut standing = Standing { session, position: 0 };
        let sent = self.send_parts(&mut standing, least).await;
        if sent.is_err() {
            self.exchange.abandon(&self.endpoint, standing.session, &self.what).await;
        }
        sent
    }

    async fn send_parts(&mut self, standing: &mut Standing, least: u64) -> Result<(), Stop> {
        let size = self.content.blob().size;
        let mut rest = None;
        let mut refusals = 0;
        while standing.position < size {
            let content = match rest.take() {
                Some(rest) => rest,
                None => self.content_behind(standing.position).await?,
            };
            let length = self.next_part(least).min(size - standing.position);
            match self.patch(standing, content, length).await {
                Ok(left) => {
                    (rest, refusals) = (left, 0);
                    self.part_arrived();
                }
                Err(Stop::Server(error)) => {
                    self.part_broke();
                    self.recover(standing, error).await?;
                }
                // Tokens of minutes end between parts. The login was renewed by the refusal; what arrived stays.
                Err(Stop::BeginAgain(RegistryError::LoginMissing { .. })) if refusals < RENEWALS => {
                    refusals += 1;
                    self.ask_standing(standing).await?;
                }
                Err(other) => return Err(other),
            }
            self.came_to(standing.position);
        }
        self.complete(standing).await
    }

    async fn content_behind(&self, position: u64) -> Result<Rest, Stop> {
        let reader = self.content.open().await?;
        Ok(Rest::behind(reader, position, self.exchange.throttle.clone()).await?)
    }

    /// Sends one part. Gives back the content behind it if the registry took all of it.
    async fn patch(&self, standing: &mut Standing, content: Rest, length: u64) -> Result<Option<Rest>, Stop> {
        let mut call = self.call(Method::PATCH, standing.session.clone());
        let end = standing.position + length;
        let range = format!("{}-{}", standing.position, end - 1);
        call.headers.insert(CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are plain text"));
        let (body, sending) = content.body(length);
        let answer = self.watched(&call, body, &sending).await?;
        if !matches!(answer.status(), StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::CREATED) {
            return Err(self.stop(answer).await);
        }
        standing.session = self.exchange.upload_address(&answer, &self.what)?;
        standing.position = reached(&answer).unwrap_or(end);
        if standing.position > end {
            return Err(self.wrong(&answer, "it has more bytes than were sent").into());
        }
        Ok(if standing.position == end { sending.rest() } else { None })
    }

    /// After a failure that may pass: waits and asks where the upload stands.
    async fn recover(&mut self, standing: &mut Standing, error: RegistryError) -> Result<(), Stop> {
        let out_of_step = matches!(error, RegistryError::Status { status: 416, .. });
        if !out_of_step && chance(&error) == Chance::None && !matches!(error, RegistryError::RateLimited { .. }) {
            return Err(error.into());
        }
        let error = if out_of_step { as_broken(&error) } else { error };
        self.exchange.pause(error, &mut self.budget).await?;
        self.ask_standing(standing).await
    }

    /// Asks where the upload stands.
    async fn ask_standing(&self, standing: &mut Standing) -> Result<(), Stop> {
        let call = self.call(Method::GET, standing.session.clone());
        let wanted = [StatusCode::NO_CONTENT, StatusCode::OK, StatusCode::ACCEPTED];
        let answer = match self.exchange.send(&call, &wanted).await {
            Ok(answer) => answer,
            // The session is gone; perhaps because the blob is complete.
            Err(error @ RegistryError::NotFound { .. }) => {
                if !self.is_there().await? {
                    return Err(Stop::BeginAgain(error));
                }
                standing.position = self.content.blob().size;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let position = reached(&answer).unwrap_or(0);
        if position > self.content.blob().size {
            return Err(self.wrong(&answer, "it has more bytes than were sent").into());
        }
        standing.position = position;
        if answer.header("location").is_some() {
            standing.session = self.exchange.upload_address(&answer, &self.what)?;
        }
        Ok(())
    }

    /// Closes the upload. Its answer may get lost like any other: then the blob itself is asked for.
    async fn complete(&mut self, standing: &Standing) -> Result<(), Stop> {
        let call = self.call(Method::PUT, self.completing(&standing.session));
        let completed = self.exchange.attempt(&call, &[StatusCode::CREATED]).await;
        match completed.map(drop) {
            Err(error @ RegistryError::NotFound { .. }) => {
                if self.is_there().await? {
                    Ok(())
                } else {
                    Err(Stop::BeginAgain(error))
                }
            }
            other => Ok(other?),
        }
    }

    fn wrong(&self, answer: &Answer, why: &str) -> RegistryError {
        RegistryError::Answer { host: shown_host(&answer.url), what: self.what.clone(), why: why.to_owned() }
    }
}

/// How many bytes an answer says that the registry has: `Range: 0-LAST`. Distribution says `0-0` for none, which can
/// also mean one; to send one byte again is harmless, since the registry then tells where it stands.
fn reached(answer: &Answer) -> Option<u64> {
    let range = answer.header(RANGE.as_str())?;
    let (_, last) = range.trim().trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

/// A part that came out of step is like one that broke: the registry is asked where it stands.
fn as_broken(error: &RegistryError) -> RegistryError {
    let (host, what) = (error.host(), error.to_string());
    RegistryError::Broken { host, what, source: "the registry and we disagree on where the upload stands".into() }
}
