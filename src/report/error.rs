//! Why a report cannot be written.

use crate::failure::{ErrorClass, Explain};

/// A report that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Our own template failed.
    #[error("the template `{name}` of the report failed: {reason}")]
    Template {
        /// Its file.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// A record of another bundle.
    #[error("the scan is of another bundle: it says {found}, this one is {expected}")]
    OtherBundle {
        /// What the record says.
        found: String,
        /// This bundle's id.
        expected: String,
    },
    /// Not a record of `scan`.
    #[error("the record of the scan cannot be read: {0}")]
    Record(String),
}

impl Explain for ReportError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Template { .. } => ErrorClass::Other,
            Self::OtherBundle { .. } | Self::Record(_) => ErrorClass::Input,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Template { .. } => None,
            Self::OtherBundle { .. } | Self::Record(_) => {
                Some("scan this bundle: `octobundle scan BUNDLE --with COMMAND -o FILE`".into())
            }
        }
    }
}
