//! Servers that mean harm.

mod content;
mod leaks;
mod limits;
mod parties;
