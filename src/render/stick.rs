//! What goes beside a bundle onto a medium, for whoever finds it there without octobundle.

use minijinja::Value;

use crate::render::error::RenderError;
use crate::render::template::{Template, text};
use crate::wording::line;

/// A bundle on a medium, by names that are plain there: letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone)]
pub struct Stick<'a> {
    /// The release in words.
    pub title: &'a str,
    /// The release's name.
    pub release: &'a str,
    /// What the bundle is called, without the volumes' numbers.
    pub bundle: &'a str,
    /// The files it lies in, in order: itself, or its volumes.
    pub files: &'a [String],
    /// Its signature files.
    pub signatures: &'a [String],
    /// The images in it.
    pub images: &'a [String],
    /// What it builds on, if it is a delta.
    pub delta: Option<StickDelta<'a>>,
    /// Whether the program is there too.
    pub with_tool: bool,
}

/// What engines cannot do with a delta.
#[derive(Debug, Clone, Copy)]
pub struct StickDelta<'a> {
    /// The name of what it builds on.
    pub base: &'a str,
    /// The images that need it.
    pub cut: &'a [String],
    /// Whether there are others, which an engine can load.
    pub loads: bool,
}

impl Stick<'_> {
    /// `README.txt`, `verify.sh`, `verify.ps1` and `load.sh`, each with its text.
    pub fn files(&self) -> Result<Vec<(&'static str, String)>, RenderError> {
        let check = Template { name: "verify.sh", text: include_str!("../../templates/stick/verify.sh") };
        let check = check.fill(&[])?;
        let load = Template { name: "load.sh", text: include_str!("../../templates/stick/load.sh") };
        let load = load.fill(&[
            ("volumes", Value::from(self.files.len() > 1)),
            ("files", self.list()),
            ("base", self.base()),
            ("cut", Value::from(self.delta.map(|delta| delta.cut.to_vec()).unwrap_or_default())),
            ("loads", Value::from(self.delta.is_none_or(|delta| delta.loads))),
        ])?;
        let windows = Template { name: "verify.ps1", text: include_str!("../../templates/stick/verify.ps1") };
        let readme = Template { name: "README.txt", text: include_str!("../../templates/stick/README.txt") };
        let readme = readme.fill(&[
            ("title", text(&line(self.title))),
            ("release", text(&line(self.release))),
            ("bundle", text(self.bundle)),
            ("files", self.list()),
            ("volumes", Value::from(self.files.len() > 1)),
            ("signatures", Value::from(self.signatures.to_vec())),
            ("images", Value::from(self.images.to_vec())),
            ("base", self.base()),
            ("with_tool", Value::from(self.with_tool)),
        ])?;
        // What loads checks first, by the same lines.
        let load = format!("{check}\n{}", load.trim_start_matches("#!/bin/sh\n"));
        Ok(vec![("README.txt", readme), ("verify.sh", check), ("verify.ps1", windows.fill(&[])?), ("load.sh", load)])
    }

    /// The name of what a delta builds on; empty for a complete bundle.
    fn base(&self) -> Value {
        self.delta.map_or_else(|| Value::from(""), |delta| text(delta.base))
    }

    fn list(&self) -> Value {
        Value::from(self.files.to_vec())
    }
}
