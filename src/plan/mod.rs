//! Decisions: what to pull, what to push, what each image will be called. No I/O.

mod copy_list;
mod mirror_map;
mod pull;
mod push;
mod upgrade;

pub use copy_list::{BlobCopy, CopyList, DocumentCopy, ImageCopy};
pub use mirror_map::{MapError, MirrorMap, SourceHost, Target, TargetError};
pub use pull::PullPlan;
pub use push::{Presence, PushPlan};
pub use upgrade::{UpgradeError, UpgradeStep, upgrade_path};
