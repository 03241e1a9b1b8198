//! Which part of some content a `Range` header asks for (RFC 9110, 14.2).

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of it, as if nothing had been asked.
    Whole,
    /// This part.
    Part {
        /// The first byte's offset.
        start: u64,
        /// How many bytes, at least one.
        length: u64,
    },
    /// Nothing: the range lies outside.
    Outside,
}

/// Reads the header for content of `size` bytes. What does not follow the grammar, another unit, and several ranges at
/// once select the whole, as the RFC allows.
pub(crate) fn select(header: &str, size: u64) -> Selection {
    let Some((unit, ranges)) = header.split_once('=') else { return Selection::Whole };
    let Some((first, last)) = ranges.trim().split_once('-') else { return Selection::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return Selection::Whole;
    }
    match (offset(first), offset(last)) {
        (Some(Offset::None), Some(Offset::At(suffix))) => part(size.saturating_sub(suffix), size, size),
        (Some(Offset::At(first)), Some(Offset::None)) => part(first, size, size),
        (Some(Offset::At(first)), Some(Offset::At(last))) if first <= last => part(first, last.saturating_add(1), size),
        _ => Selection::Whole,
    }
}

/// From `start` to before `end`, as far as it is inside.
fn part(start: u64, end: u64, size: u64) -> Selection {
    let end = end.min(size);
    if start < end { Selection::Part { start, length: end - start } } else { Selection::Outside }
}

enum Offset {
    None,
    At(u64),
}

/// Digits, or nothing; numbers beyond 64 bits are as far outside as the largest one.
fn offset(text: &str) -> Option<Offset> {
    if text.is_empty() {
        return Some(Offset::None);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Offset::At(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_73_one_range_is_honoured_and_others_give_the_whole_or_416() {
        let part = |start, length| Selection::Part { start, length };
        let huge = "18446744073709551616";
        let cases = [
            ("bytes=0-0".to_owned(), part(0, 1)),
            ("bytes=0-9".into(), part(0, 10)),
            ("bytes=0-".into(), part(0, 10)),
            ("bytes=3-".into(), part(3, 7)),
            ("bytes=9-".into(), part(9, 1)),
            ("bytes=10-".into(), Selection::Outside),
            ("bytes=10-20".into(), Selection::Outside),
            ("bytes=-1".into(), part(9, 1)),
            ("bytes=-10".into(), part(0, 10)),
            ("bytes=-11".into(), part(0, 10)),
            ("bytes=-0".into(), Selection::Outside),
            ("bytes=5-2".into(), Selection::Whole),
            ("bytes=5-99".into(), part(5, 5)),
            (format!("bytes=5-{huge}"), part(5, 5)),
            (format!("bytes={huge}-"), Selection::Outside),
            (format!("bytes=-{huge}"), part(0, 10)),
            ("BYTES = 1-2".into(), part(1, 2)),
            ("bytes=0-1,3-4".into(), Selection::Whole),
            ("bytes=-".into(), Selection::Whole),
            ("bytes=".into(), Selection::Whole),
            ("bytes".into(), Selection::Whole),
            (String::new(), Selection::Whole),
            ("bytes=a-b".into(), Selection::Whole),
            ("bytes=+1-2".into(), Selection::Whole),
            ("bytes=1-2-3".into(), Selection::Whole),
            ("bytes=0x1-2".into(), Selection::Whole),
            ("bytes=1 - 2".into(), Selection::Whole),
            ("items=0-1".into(), Selection::Whole),
            ("bytes=--1".into(), Selection::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(select(&header, 10), expected, "{header}");
        }
        for header in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(select(header, 0), Selection::Outside, "{header} of nothing");
        }
    }
}
