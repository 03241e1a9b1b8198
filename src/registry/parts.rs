//! A blob in parts, each acknowledged, continued where the registry says that it stands.

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderValue, Method, StatusCode};

use crate::content::ImageSource;
use crate::oci::Hasher;
use crate::registry::body::Rest;
use crate::registry::endpoint::shown_host;
use crate::registry::error::RegistryError;
use crate::registry::exchange::Answer;
use crate::registry::retry::{Chance, chance};
use crate::registry::upload::{Standing, Stop, Upload};

/// How often in a row a part may be refused for its login, which is renewed each time.
const RENEWALS: u32 = 3;

impl<S: ImageSource> Upload<'_, S> {
    pub(super) async fn parts(&mut self) -> Result<(), Stop> {
        let mut standing = self.go_on().await?;
        let sent = self.send_parts(&mut standing).await;
        if sent.is_err() {
            self.abandon(standing).await;
        }
        sent
    }

    async fn send_parts(&mut self, standing: &mut Standing) -> Result<(), Stop> {
        let size = self.content.blob().size;
        let mut rest = None;
        let mut refusals = 0;
        loop {
            while standing.position < size {
                let content = match rest.take() {
                    Some(rest) => rest,
                    None => self.content_behind(standing).await?,
                };
                let length = self.next_part(standing.least).min(size - standing.position);
                match self.patch(standing, content, length).await {
                    Ok(left) => (rest, refusals) = (left, 0),
                    Err(Stop::Server(error)) => self.recover(standing, error).await?,
                    // Tokens of minutes end between parts. The login was renewed by the refusal; what arrived stays.
                    Err(Stop::Renewed(_)) if refusals < RENEWALS => {
                        refusals += 1;
                        self.ask_standing(standing).await?;
                    }
                    Err(other) => return Err(other),
                }
                self.came_to(standing.position);
            }
            match self.complete(standing).await {
                // The parts are there, and may be the blob already: only the last request is made again.
                Err(Stop::Server(error)) if chance(&error) == Chance::Good => {
                    self.exchange.pause(error, &mut self.budget).await?;
                    if self.arrived().await? {
                        return Ok(());
                    }
                    self.ask_standing(standing).await?;
                }
                ended => return ended,
            }
        }
    }

    /// Our own content behind what the registry has. Some forget what they had acknowledged.
    async fn content_behind(&self, standing: &Standing) -> Result<Rest, Stop> {
        let known = standing.mark.length() <= standing.position;
        let reader = self.content.after(if known { standing.mark.clone() } else { Hasher::new() }).await?;
        Ok(Rest::behind(reader, standing.position, self.exchange.throttle.clone()).await?)
    }

    /// Sends one part. Gives back the content behind it if the registry took all of it.
    async fn patch(&self, standing: &mut Standing, content: Rest, length: u64) -> Result<Option<Rest>, Stop> {
        let mut call = self.call(Method::PATCH, standing.session.clone());
        let end = standing.position + length;
        let range = format!("{}-{}", standing.position, end - 1);
        call.headers.insert(CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are plain text"));
        standing.mark = content.mark();
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
        let why = "the registry and we disagree on where the upload stands";
        let error = if out_of_step { self.as_broken(&error, why) } else { error };
        let broke = matches!(error, RegistryError::Broken { .. } | RegistryError::Stalled { .. });
        self.exchange.pause(error, &mut self.budget).await?;
        let asked = self.ask_standing(standing).await;
        match &asked {
            Ok(()) if broke && standing.position > 0 => self.outlived_a_break(),
            Err(Stop::Lost(_)) if broke => self.lost_by_a_break(),
            _ => {}
        }
        asked
    }

    /// Asks where the upload stands.
    pub(super) async fn ask_standing(&self, standing: &mut Standing) -> Result<(), Stop> {
        let call = self.call(Method::GET, standing.session.clone());
        let wanted = [StatusCode::NO_CONTENT, StatusCode::OK, StatusCode::ACCEPTED];
        let answer = match self.exchange.send(&call, &wanted).await {
            Ok(answer) => answer,
            // The session is gone; perhaps because the blob is complete.
            Err(error @ RegistryError::NotFound { .. }) => {
                if !self.is_there().await? {
                    return Err(Stop::Lost(error));
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
                    Err(Stop::Lost(error))
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
    Some(if last == 0 { 0 } else { last.saturating_add(1) })
}
