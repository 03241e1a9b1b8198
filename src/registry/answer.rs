//! What an answer says when it is not the one asked for.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, SERVER};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use serde::Deserialize;
use tokio::time::Instant;

use crate::registry::error::RegistryError;
use crate::registry::pace::Pace;
use crate::registry::retry::retry_after;
use crate::registry::settings::Limits;

/// Error texts beyond this are not for people.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// What of a server's own words goes into a message.
const MAX_SAID: usize = 300;
/// An error's text is not worth a longer wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes an error of an answer.
pub(super) async fn refused(response: Response, host: String, what: String) -> RegistryError {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = start_of_body(response).await;
    let limited = status == StatusCode::TOO_MANY_REQUESTS;
    if !limited && let Some(error) = page(status, &headers, &body, &host, &what) {
        return error;
    }
    let said = words(&body);
    match status {
        StatusCode::UNAUTHORIZED => RegistryError::LoginMissing { host, what, said },
        StatusCode::FORBIDDEN => RegistryError::Denied { host, what, said },
        StatusCode::NOT_FOUND | StatusCode::GONE => RegistryError::NotFound { host, what, said },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE if busy(status, &headers) => {
            RegistryError::RateLimited {
                host,
                what,
                status: status.as_u16(),
                // "Come back in 0 seconds" says nothing.
                seconds: retry_after(&headers, SystemTime::now()).map(|pause| pause.as_secs()).filter(|s| *s > 0),
                said,
            }
        }
        _ => RegistryError::Status { host, what, status: status.as_u16(), said },
    }
}

/// 429 always, 503 where it says for how long.
fn busy(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || retry_after(headers, SystemTime::now()).is_some()
}

/// A web page where the registry's own answer was expected.
pub(super) fn page(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    host: &str,
    what: &str,
) -> Option<RegistryError> {
    if !is_page(headers, body) {
        return None;
    }
    let server = headers.get(SERVER).and_then(|server| server.to_str().ok()).unwrap_or_default();
    Some(RegistryError::Page {
        host: host.to_owned(),
        what: what.to_owned(),
        status: status.as_u16(),
        title: without_logins(&title(body)),
        server: without_logins(server).chars().take(100).collect(),
    })
}

/// Whether the server says, or the first bytes show, that it is HTML.
fn is_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let stated = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let start = String::from_utf8_lossy(&body[..body.len().min(200)]).trim_start().to_ascii_lowercase();
    stated.to_ascii_lowercase().starts_with("text/html")
        || start.starts_with("<!doctype html")
        || start.starts_with("<html")
}

fn title(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    let inner = lower.find("<title").and_then(|open| {
        let from = open + lower[open..].find('>')? + 1;
        let to = from + lower[from..].find("</title")?;
        Some(text[from..to].split_whitespace().collect::<Vec<_>>().join(" "))
    });
    inner.filter(|title| !title.is_empty()).unwrap_or_else(|| "(no title)".into()).chars().take(100).collect()
}

/// The words in an error's body: those of the registry's JSON where it is that, else its first line.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let text = match serde_json::from_slice::<Errors>(body) {
        Ok(Errors { errors }) => {
            let each = errors.into_iter().take(5).map(|one| format!("{} {}", one.code, one.message).trim().to_owned());
            each.collect::<Vec<_>>().join(", ")
        }
        Err(_) => String::from_utf8_lossy(body).lines().next().unwrap_or_default().trim().to_owned(),
    };
    without_logins(&text).chars().take(MAX_SAID).collect()
}

/// Some servers repeat the request in their errors, its login included.
fn without_logins(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    loop {
        let lower = rest.to_ascii_lowercase();
        let scheme = ["bearer ", "basic "].iter().filter_map(|scheme| Some(lower.find(scheme)? + scheme.len())).min();
        let Some(end) = scheme else { return kept + rest };
        kept.push_str(&rest[..end]);
        let secret = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        rest = rest[end..].trim_start_matches(secret);
        kept.push('…');
    }
}

async fn start_of_body(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = MAX_ERROR_BODY - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == MAX_ERROR_BODY {
                break;
            }
        }
    };
    // What came in time is enough.
    let _ = tokio::time::timeout(PATIENCE, reading).await;
    body
}

/// Reads a whole body of at most `limit` bytes. One that drips is given up if `replaceable`: on another connection it may
/// come faster.
pub(super) async fn whole_body(
    mut response: Response,
    limit: u64,
    limits: &Limits,
    replaceable: bool,
    explain: impl Fn(reqwest::Error) -> RegistryError,
    host: &str,
    what: &str,
) -> Result<Vec<u8>, RegistryError> {
    let stalled = |time: Duration| RegistryError::Stalled {
        host: host.to_owned(),
        what: what.to_owned(),
        seconds: time.as_secs(),
    };
    let (mut body, mut pace) = (Vec::new(), Pace::default());
    loop {
        let begun = Instant::now();
        let chunk = tokio::time::timeout(limits.stall, response.chunk()).await.map_err(|_| stalled(limits.stall))?;
        let Some(chunk) = chunk.map_err(&explain)? else { return Ok(body) };
        if pace.is_too_slow(begun.elapsed(), chunk.len() as u64, limits) && replaceable {
            return Err(stalled(limits.slow_window));
        }
        if body.len() as u64 + chunk.len() as u64 > limit {
            return Err(RegistryError::TooLarge { host: host.to_owned(), what: what.to_owned(), limit });
        }
        body.extend_from_slice(&chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_a_server_repeats_is_left_out() {
        for (said, kept) in [
            (
                r#"bad header "Authorization: Bearer abc.DEF-1_2=", sorry"#,
                r#"bad header "Authorization: Bearer …", sorry"#,
            ),
            ("basic Ym9iOnB3 and BEARER x", "basic … and BEARER …"),
            ("é Bearer", "é Bearer"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(words(said.as_bytes()), kept);
        }
    }

    #[test]
    fn a_registrys_own_words_are_found_in_its_json() {
        let json = br#"{"errors":[{"code":"DENIED","message":"no quota","detail":{}},{"code":"X"}]}"#;
        assert_eq!(words(json), "DENIED no quota, X");
        assert_eq!(words(b"first line\nsecond"), "first line");
        assert_eq!(words(&[0xff; 1000]).chars().count(), 300);
    }

    #[test]
    fn h_10_pages_are_told_from_other_answers() {
        let titled = |body: &str| {
            let page = page(StatusCode::OK, &HeaderMap::new(), body.as_bytes(), "reg.corp", "a manifest");
            page.map(|error| error.to_string())
        };
        for body in ["<html><title>A &  B</title>", " <!doctype HTML>\n<TITLE lang=x>\nA &\tB </TITLE>"] {
            assert!(titled(body).unwrap().contains("titled `A & B`"), "{body}");
        }
        assert!(titled("<html>").unwrap().contains("(no title)"));
        assert!(titled("<html><title>no end").unwrap().contains("(no title)"));
        assert_eq!(titled(r#"{"errors":[]}"#), None);
        assert_eq!(titled(""), None);
    }
}
