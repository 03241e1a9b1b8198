//! Templates, filled in without I/O, without the environment and within a bound.

use std::error::Error as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use crate::render::error::RenderError;
use crate::render::quote::Quoting;

/// A template of ours takes some thousand steps; a loop without end stops here.
const FUEL: u64 = 100_000;

/// A template that is part of the tool. Its file's ending says how values in it are quoted.
pub(super) struct Template<'a> {
    /// Its file's name.
    pub(super) name: &'a str,
    /// Its text.
    pub(super) text: &'a str,
}

/// A text as a value of a template.
pub(super) fn text(text: &str) -> Value {
    Value::from(text)
}

impl Template<'_> {
    /// The arguments of a command: one a line, empty lines left out.
    ///
    /// No value may contain a line break or be empty: it would become two arguments, or none. Their types see to it.
    pub(super) fn arguments(&self, values: &[(&str, Value)]) -> Result<Vec<String>, RenderError> {
        let filled = self.fill(values)?;
        Ok(filled.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// The text with every `{{ value }}` quoted as its place needs it: by the file's ending, or by a filter that names
    /// another rule (`{{ value | sh }}`). Numbers and switches stand as they are.
    pub(super) fn fill(&self, values: &[(&str, Value)]) -> Result<String, RenderError> {
        let failed = |reason: String| RenderError::Template { name: self.name.to_owned(), reason };
        let quoting = Quoting::of_file(self.name).ok_or_else(|| failed(Quoting::unknown_ending()))?;
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // A line of `{% ... %}` alone leaves no line behind.
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .keep_trailing_newline(true)
                .build()
                .expect("the delimiters are the usual ones"),
        );
        environment.set_fuel(Some(FUEL));
        for filter in Quoting::ALL {
            environment.add_filter(filter.key(), move |text: &str| quoted(filter, text).map(Value::from_safe_string));
        }
        environment.set_formatter(move |out, _, value| {
            let written = match value.as_str() {
                Some(text) if !value.is_safe() => quoted(quoting, text)?,
                Some(text) => text.to_owned(),
                None if matches!(value.kind(), ValueKind::Number | ValueKind::Bool) => value.to_string(),
                None => return Err(no_text(value)),
            };
            out.write_str(&written).map_err(minijinja::Error::from)
        });
        environment
            .render_named_str(self.name, self.text, Value::from_pairs(values.iter().cloned()))
            .map_err(|error| refused_value(&error).unwrap_or_else(|| failed(error.to_string())))
    }
}

fn quoted(quoting: Quoting, text: &str) -> Result<String, minijinja::Error> {
    quoting.quoted(text).map_err(|error| {
        minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, error.to_string()).with_source(error)
    })
}

/// What was wrong with a value, where that is why the template failed.
fn refused_value(error: &minijinja::Error) -> Option<RenderError> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(refused) = cause.downcast_ref::<RenderError>() {
            return Some(refused.clone());
        }
        next = cause.source();
    }
    None
}

fn no_text(value: &Value) -> minijinja::Error {
    let kind = value.kind();
    minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, format!("a value of kind {kind} is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template<'_> {
        Template { name: "test.argv", text }
    }

    #[test]
    fn a_value_that_looks_like_a_template_is_not_read_again() {
        let values = [("value", text("{{ value }}<&'\""))];
        assert_eq!(template("{{ value }}\n\nb").arguments(&values).unwrap(), ["{{ value }}<&'\"", "b"]);
    }

    #[test]
    fn a_value_is_quoted_by_the_files_ending_unless_a_filter_names_another_rule() {
        let values = [("value", text("a'b $c")), ("number", Value::from(5))];
        let source = "{{ value }} {{ value | json }} {{ number }}";
        for (name, expected) in [
            ("t.sh", r#""a'b "'$c'"#),
            ("t.yaml.j2", r#""a'b $c""#),
            ("compose.yaml", r#""a'b $$c""#),
            ("t.ps1", r"'a''b $c'"),
        ] {
            let filled = Template { name, text: source }.fill(&values).unwrap();
            assert_eq!(filled, format!(r#"{expected} "a'b $c" 5"#), "{name}");
        }
        assert!(Template { name: "t.exe", text: source }.fill(&values).is_err());
    }

    #[test]
    fn sec_56_a_template_has_no_files_no_environment_and_a_limit_of_steps() {
        for text in [
            "{{ missing }}",
            "{% for one in missing %}{% endfor %}",
            "{{ env('HOME') }}",
            "{{ environ.HOME }}",
            "{{ open('/etc/passwd') }}",
            "{{ lookup('file', '/etc/passwd') }}",
            "{{ get_url('http://localhost/') }}",
            "{% extends '/etc/passwd' %}",
            "{% import '/etc/passwd' as x %}",
            "{% from '/etc/passwd' import x %}",
            "{{ list }}",
            "{% include '/etc/passwd' %}",
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
        ] {
            let error = template(text).arguments(&[("list", Value::from(vec![1, 2]))]).unwrap_err();
            assert!(matches!(error, RenderError::Template { .. }), "{text}: {error:?}");
        }
    }
}
