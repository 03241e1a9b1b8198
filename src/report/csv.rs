//! A row a platform of an image, for spreadsheets (RFC 4180).

use crate::report::{ImageFacts, PlatformFacts, Report};
use crate::wording::line;

const HEAD: [&str; 13] = [
    "release",
    "image",
    "private name",
    "role",
    "groups",
    "platform",
    "digest",
    "image digest",
    "bytes",
    "created",
    "licences",
    "source",
    "insecure",
];

/// The whole table, lines ending as the RFC has them.
pub(super) fn table(report: &Report) -> String {
    let mut text = row(&HEAD.map(str::to_owned));
    for image in &report.images {
        for platform in &image.platforms {
            text += &row(&cells(report, image, platform));
        }
    }
    text
}

fn cells(report: &Report, image: &ImageFacts, platform: &PlatformFacts) -> [String; 13] {
    [
        report.release.clone(),
        image.name.clone(),
        image.private_name.clone().unwrap_or_default(),
        image.role.clone(),
        image.groups.join(" "),
        platform.platform.clone().unwrap_or_else(|| "attestation".to_owned()),
        image.digest.to_string(),
        platform.digest.to_string(),
        platform.bytes.to_string(),
        platform.created.clone().unwrap_or_default(),
        image.licences.join("; "),
        image.source.clone(),
        if image.insecure { "yes" } else { "no" }.to_owned(),
    ]
}

fn row(cells: &[String]) -> String {
    cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(",") + "\r\n"
}

/// A cell that no spreadsheet takes for a formula: what could begin one is led by an apostrophe, which they show as
/// text. Tabs and line ends, which could begin a cell of their own, are shown as escapes.
fn cell(text: &str) -> String {
    let shown = line(text);
    let leading = shown.trim_start().chars().next();
    // Some read full-width signs as their narrow ones.
    let formula = leading.is_some_and(|c| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠'));
    let shown = if formula { format!("'{shown}") } else { shown };
    if shown.contains([',', '"', ';', '\'']) || shown != shown.trim() {
        return format!("\"{}\"", shown.replace('"', "\"\""));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_59_no_cell_is_a_formula() {
        for (text, shown) in [
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            (" =1", "\"' =1\""),
            ("\t=1", "\\u{9}=1"),
            ("\r=1", "\\u{d}=1"),
            ("\n=1", "\\u{a}=1"),
            ("＝1", "\"'＝1\""),
            ("a,b", "\"a,b\""),
            ("say \"=1\"", "\"say \"\"=1\"\"\""),
            ("plain", "plain"),
            ("1,\n=cmd|' /C calc'!A0", "\"1,\\u{a}=cmd|' /C calc'!A0\""),
        ] {
            assert_eq!(cell(text), shown, "{text:?}");
        }
    }
}
