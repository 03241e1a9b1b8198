//! The reports of the bundles, written when somebody first asks for one.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::bundle::Bundle;
use crate::failure::{ErrorClass, Failure};
use crate::plan::Target;
use crate::serve::lock;
use crate::serve::source::Trouble;

/// Who writes a bundle's report.
pub(crate) type Writer = fn(&Bundle, &Target) -> Result<String, Failure>;

/// One report for each offered bundle.
#[derive(Clone)]
pub(crate) struct Papers {
    pages: Arc<[Mutex<Option<Bytes>>]>,
    write: Writer,
}

impl Papers {
    pub(crate) fn new(bundles: usize, write: Writer) -> Self {
        Self { pages: (0..bundles).map(|_| Mutex::default()).collect(), write }
    }

    /// The report of a bundle by its place. A bundle under the same name and id has the same report, so it is written
    /// once, however many ask. Blocks.
    pub(crate) fn page(&self, place: usize, bundle: &Bundle, target: &Target) -> Result<Bytes, Trouble> {
        let mut page = lock(&self.pages[place]);
        if let Some(written) = &*page {
            return Ok(written.clone());
        }
        let written = (self.write)(bundle, target).map_err(|failure| {
            tracing::error!("the report of `{}` cannot be written: {failure:#}", bundle.path().display());
            if failure.class() == ErrorClass::Integrity { Trouble::Damaged } else { Trouble::Away }
        })?;
        Ok(page.insert(written.into()).clone())
    }
}
