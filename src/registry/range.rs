//! Where the body of an answer begins.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, StatusCode};

/// The place of a body's first byte in the blob.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Where it was asked for.
    AtPosition,
    /// At the blob's start: the server knows no ranges.
    AtBeginning,
}

/// Why a body cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Another part than the one asked for, and which.
    Range(String),
    /// The whole, but with another length than promised.
    Length(u64),
}

/// Compares an answer with the closed range that was asked for, or with the whole blob where `position` is 0.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, position: u64, size: u64) -> Result<Start, Wrong> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if status == StatusCode::PARTIAL_CONTENT {
        let wrong = |why: String| Err(Wrong::Range(why));
        let Some(range) = text(CONTENT_RANGE) else {
            return wrong("it sent a part without saying which".into());
        };
        let shown: String = range.chars().take(60).collect();
        let Some((first, last, total)) = parse(range) else {
            return wrong(format!("it sent a part called `{shown}`"));
        };
        if first != position || last < first || last >= size || total.is_some_and(|total| total != size) {
            let end = size.saturating_sub(1);
            return wrong(format!("bytes {position} to {end} of {size} were asked for, `{shown}` came"));
        }
        return Ok(Start::AtPosition);
    }
    if let Some(length) = text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok())
        && length != size
    {
        return Err(Wrong::Length(length));
    }
    Ok(if position == 0 { Start::AtPosition } else { Start::AtBeginning })
}

/// `bytes FIRST-LAST/TOTAL`, where the total may be `*`.
fn parse(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let rest = text.trim().strip_prefix("bytes")?.trim_start();
    let (range, total) = rest.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let total = if total.trim() == "*" { None } else { Some(number(total)?) };
    Some((number(first)?, number(last)?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, headers: &[(&'static str, &str)], position: u64) -> Result<Start, Wrong> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        judge(StatusCode::from_u16(status).unwrap(), &headers, position, 100)
    }

    #[test]
    fn h_07_only_the_part_that_was_asked_for_is_taken() {
        assert_eq!(of(206, &[("content-range", "bytes 16-99/100")], 16), Ok(Start::AtPosition));
        assert_eq!(of(206, &[("content-range", "bytes 16-99/*")], 16), Ok(Start::AtPosition));
        assert_eq!(of(206, &[("content-range", "bytes 16-49/100")], 16), Ok(Start::AtPosition));
        assert_eq!(of(200, &[("content-length", "100")], 16), Ok(Start::AtBeginning));
        assert_eq!(of(200, &[], 0), Ok(Start::AtPosition));
        for range in [
            "bytes 0-99/100",
            "bytes 15-99/100",
            "bytes 17-99/100",
            "bytes 16-100/100",
            "bytes 16-99/101",
            "bytes 16-15/100",
            "bytes */100",
            "items 16-99/100",
            "bytes 16-99",
            "bytes -99/100",
            "bytes 16-18446744073709551616/100",
        ] {
            assert!(of(206, &[("content-range", range)], 16).is_err(), "{range}");
        }
        assert!(of(206, &[("content-type", "multipart/byteranges; boundary=x")], 16).is_err());
        assert_eq!(of(200, &[("content-length", "99")], 0), Err(Wrong::Length(99)));
    }
}
