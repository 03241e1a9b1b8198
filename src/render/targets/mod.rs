//! One file a target: answers and images to files.

pub(super) mod run;
