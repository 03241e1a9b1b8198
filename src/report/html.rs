//! One page: no network, no script but one for the copy buttons, readable without it, on paper and in the dark.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, escape_formatter};
use sha2::{Digest as _, Sha256};

use crate::report::picture::picture;
use crate::report::{Report, ReportError};
use crate::wording::{count, cut, plain, size};

const NAME: &str = "report.html";
const TEMPLATE: &str = include_str!("../../templates/report.html");
const STYLE: &str = include_str!("../../templates/report.css");
const SCRIPT: &str = include_str!("../../templates/report.js");

/// A release of 1,000 images with 60 layers each takes some ten million steps.
const FUEL: u64 = 100_000_000;
/// The page. Everything in it that is not of our own templates is escaped, and could run nothing if it were not: the
/// policy allows one style sheet and one script, each by its hash.
pub(super) fn page(report: &Report) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() => escape_formatter(out, state, &Value::from(cut(&plain(text)))),
        _ => escape_formatter(out, state, value),
    });
    environment.add_filter("size", size);
    environment.add_filter("day", day);
    environment.add_filter("count", |number: u64, noun: String| count(number, &noun));
    environment
        .render_named_str(
            NAME,
            TEMPLATE,
            context! {
                report => Value::from(Serde(report)),
                picture => Value::from(Serde(picture(report))),
                style => Value::from_safe_string(STYLE.to_owned()),
                script => Value::from_safe_string(SCRIPT.to_owned()),
                policy => policy(),
            },
        )
        .map_err(|error| ReportError::Template { name: NAME, reason: format!("{error:#}") })
}

/// What the page may load and run: its own style and script, by their hashes. It says so itself; a server repeats it.
pub fn policy() -> String {
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}

/// The day of a date as builders write it; what is no date stays as it is.
fn day(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d").to_string(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_builders_dates() {
        assert_eq!(day("2024-05-01T10:11:12.123456789Z"), "2024-05-01");
        assert_eq!(day("<script>"), "<script>");
    }

    #[test]
    fn style_and_script_cannot_end_their_elements() {
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
    }
}
