//! Values with the place they come from: flag before environment before file before default.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use octobundle::failure::{ErrorClass, Failure};
use serde::Serialize;

use crate::cli::config_file::Placed;
use crate::cli::settings::Variable;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Origin {
    /// This flag.
    Flag { name: &'static str },
    /// This variable.
    Environment { name: String },
    /// This file; the line counts from 1.
    File {
        path: PathBuf,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
    },
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag { name } => f.write_str(name),
            Self::Environment { name } => f.write_str(name),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

impl<T> Sourced<T> {
    pub(crate) fn flag(name: &'static str, value: T) -> Self {
        Self { value, origin: Origin::Flag { name } }
    }

    pub(crate) fn environment(name: &str, value: T) -> Self {
        Self { value, origin: Origin::Environment { name: name.to_owned() } }
    }

    pub(crate) fn default(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }

    pub(crate) fn map<U>(self, turn: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced { value: turn(self.value), origin: self.origin }
    }
}

/// The first of flag, variable and file that says something; `path` is the file's.
pub(crate) fn first<T>(
    flag: (&'static str, Option<T>),
    variable: Option<&Variable>,
    file: Option<Placed<T>>,
    path: Option<&PathBuf>,
) -> Result<Option<Sourced<T>>, Failure>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    if let (name, Some(value)) = flag {
        return Ok(Some(Sourced::flag(name, value)));
    }
    if let Some(variable) = variable {
        let value = variable.value.parse().map_err(|error| {
            Failure::new(ErrorClass::Input, format!("the variable {} cannot be used: {error}", variable.name))
                .with_help(format!("correct it, or leave it out: `unset {}`", variable.name))
        })?;
        return Ok(Some(Sourced::environment(&variable.name, value)));
    }
    Ok(file.zip(path).map(|(placed, path)| Sourced {
        value: placed.value,
        origin: Origin::File { path: path.clone(), line: Some(placed.line) },
    }))
}
