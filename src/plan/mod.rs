//! Decisions: what to pull, what to push, what each image will be called. No I/O.

mod copy_list;
mod difference;
mod left_out;
mod mirror_map;
mod pull;
mod push;
mod upgrade;

pub use copy_list::{BlobCopy, CopyList, DocumentCopy, ImageCopy};
pub use difference::{Amount, Difference, Moved};
pub use left_out::{Lacking, LeftOutNeeds};
pub use mirror_map::{MapError, MirrorMap, SourceHost, Target, TargetError};
pub use pull::PullPlan;
pub use push::{Presence, PushPlan};
pub use upgrade::{UpgradeError, UpgradeStep, upgrade_path};
