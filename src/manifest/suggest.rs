//! What a mistyped word may have meant.

/// How many slips of the finger are forgiven.
const MAX_DISTANCE: usize = 2;
/// Longer words are not compared: nobody mistypes them, and the comparison is quadratic.
const MAX_LENGTH: usize = 128;

/// The candidate nearest to `word`, at most two insertions, deletions, changes or swaps of neighbours away;
/// for a word of up to three letters at most one. Upper and lower case are one. The first of equals wins.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(MAX_LENGTH + 1).collect();
    if word.len() > MAX_LENGTH {
        return None;
    }
    let forgiven = if word.len() <= 3 { 1 } else { MAX_DISTANCE };
    let near = candidates.into_iter().filter_map(|candidate| {
        let letters: Vec<char> = candidate.to_lowercase().chars().take(MAX_LENGTH + 1).collect();
        let distance = if letters.len().abs_diff(word.len()) > forgiven { usize::MAX } else { slips(&word, &letters) };
        (distance <= forgiven).then_some((distance, candidate))
    });
    near.min_by_key(|&(distance, _)| distance).map(|(_, candidate)| candidate)
}

/// The Damerau distance in its restricted form (optimal string alignment): a swapped pair is not edited again.
fn slips(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1; to.len() + 1];
        for (j, b) in to.iter().enumerate() {
            row[j + 1] = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                row[j + 1] = row[j + 1].min(before_last[j - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_its_neighbour_and_a_strange_one_none() {
        let cases = [
            ("imags", Some("images")),
            ("iamges", Some("images")),
            ("Images", Some("images")),
            ("image", Some("images")),
            ("imgs", Some("images")),
            ("plaforms", Some("platforms")),
            ("roel", Some("role")),
            ("img", None),
            ("tag", None),
            ("", None),
        ];
        for (word, meant) in cases {
            assert_eq!(closest(word, ["images", "role", "platforms"]), meant, "{word}");
        }
        assert_eq!(closest(&"a".repeat(100_000), ["a"]), None);
    }
}
