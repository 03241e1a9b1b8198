//! Templates, filled in without I/O, without the environment and within a bound.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use crate::render::error::RenderError;

/// A template of ours takes some dozens of steps; a loop without end stops here.
const FUEL: u64 = 100_000;

/// A template that is part of the tool.
pub(super) struct Template {
    /// Its file's name, for errors.
    pub(super) name: &'static str,
    /// Its text.
    pub(super) text: &'static str,
}

impl Template {
    /// The arguments of a command: one a line, empty lines left out.
    ///
    /// No value may contain a line break or be empty: it would become two arguments, or none. Their types see to it.
    pub(super) fn arguments(&self, values: &[(&str, &str)]) -> Result<Vec<String>, RenderError> {
        let filled = self.fill(values)?;
        Ok(filled.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    fn fill(&self, values: &[(&str, &str)]) -> Result<String, RenderError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment
            .render_named_str(self.name, self.text, Value::from_pairs(values.iter().copied()))
            .map_err(|error| RenderError::Template { name: self.name, reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &'static str) -> Template {
        Template { name: "test.argv", text }
    }

    #[test]
    fn a_value_that_looks_like_a_template_is_not_read_again() {
        let values = [("value", "{{ value }}<&'\"")];
        assert_eq!(template("{{ value }}\n\nb").arguments(&values).unwrap(), ["{{ value }}<&'\"", "b"]);
    }

    #[test]
    fn a_template_that_asks_too_much_stops() {
        for text in [
            "{{ missing }}",
            "{{ env('HOME') }}",
            "{% include '/etc/passwd' %}",
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
        ] {
            let error = template(text).arguments(&[]).unwrap_err();
            assert!(matches!(error, RenderError::Template { .. }), "{text}: {error:?}");
        }
    }
}
