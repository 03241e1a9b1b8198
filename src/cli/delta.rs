//! What is told of a delta, wherever a bundle is told of.

use octobundle::images::{Base, BaseKind, Lock};
use octobundle::wording::size;
use serde::Serialize;

/// What a delta builds on and leaves out.
#[derive(Serialize)]
pub(crate) struct DeltaReport {
    kind: &'static str,
    name: String,
    id: String,
    left_out_layers: usize,
    left_out_bytes: u64,
}

impl DeltaReport {
    /// Describes a delta of `lock` on `base`.
    pub(crate) fn new(base: &Base, lock: &Lock) -> Self {
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
    pub(crate) fn line(&self) -> String {
        let Self { name, left_out_layers, left_out_bytes, .. } = self;
        format!("a delta on {name}: {left_out_layers} layers, {}, are left out", size(*left_out_bytes))
    }
}
