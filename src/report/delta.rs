//! What is told of a delta, wherever a bundle is told of.

use serde::Serialize;

use crate::images::{Base, BaseKind, Lock};
use crate::wording::{count, size};

/// What a delta builds on and leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeltaFacts {
    /// What it builds on: `release`, or `registry`.
    pub kind: &'static str,
    /// The base's name for people.
    pub name: String,
    /// Exactly which.
    pub id: String,
    /// Layers that are left out.
    pub left_out_layers: usize,
    /// Their bytes.
    pub left_out_bytes: u64,
}

impl DeltaFacts {
    /// Describes a delta of `lock` on `base`.
    pub fn new(base: &Base, lock: &Lock) -> Self {
        let layers = lock.layers();
        Self {
            kind: match base.kind {
                BaseKind::Release => "release",
                BaseKind::Registry => "registry",
            },
            name: base.name.clone(),
            id: base.id.to_string(),
            left_out_layers: base.left_out.len(),
            left_out_bytes: base.left_out.iter().filter_map(|left| layers.get(&left.digest)).map(|l| l.size).sum(),
        }
    }

    /// The same as one line for people.
    pub fn line(&self) -> String {
        let Self { name, left_out_layers, left_out_bytes, .. } = self;
        format!("a delta on {name}: {}, {}, left out", count(*left_out_layers as u64, "layer"), size(*left_out_bytes))
    }
}
