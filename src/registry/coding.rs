//! What servers and proxies compress though they are asked not to.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// The coding that an answer states for its body; none where it states that there is none.
pub(super) fn coding_of(headers: &HeaderMap) -> Option<String> {
    let stated = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim().to_ascii_lowercase();
    (!stated.is_empty() && stated != "identity").then(|| stated.chars().take(20).collect())
}

/// What a body was before gzip; none where it is not gzip, not whole, or larger than `limit` bytes.
pub(super) fn unpacked(body: &[u8], limit: u64) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(body).take(limit + 1).read_to_end(&mut plain).ok()?;
    (read as u64 <= limit).then_some(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(plain).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn only_whole_gzip_within_the_limit_is_unpacked() {
        let whole = packed(b"hello");
        assert_eq!(unpacked(&whole, 5).as_deref(), Some(&b"hello"[..]));
        assert_eq!(unpacked(&whole, 4), None, "larger than it may be");
        assert_eq!(unpacked(&whole[..whole.len() - 1], 5), None);
        assert_eq!(unpacked(b"{}", 5), None);
        let bomb = packed(&vec![0; 100_000_000]);
        assert!(bomb.len() < 1_000_000);
        assert_eq!(unpacked(&bomb, 4_000_000), None);
    }

    #[test]
    fn identity_is_no_coding() {
        for (stated, coding) in [("gzip", Some("gzip")), (" X-GZIP ", Some("x-gzip")), ("identity", None), ("", None)] {
            let headers = HeaderMap::from_iter([(CONTENT_ENCODING, stated.parse().unwrap())]);
            assert_eq!(coding_of(&headers).as_deref(), coding);
        }
        assert_eq!(coding_of(&HeaderMap::new()), None);
    }
}
