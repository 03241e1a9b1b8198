//! Exit codes: a stable interface for scripts, listed in `octobundle --help` and `docs/exit-codes.md`.

use octobundle::failure::ErrorClass;

/// How a command that could do its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All as asked.
    Done,
    /// It looked and found something wrong, or did part of the work; the report says what.
    Ended(ErrorClass),
    /// It compared, and what it compared is not the same.
    Differs,
    /// A signal stopped it; the exit code is 128 and the signal's number.
    Stopped(u8),
}

/// The exit code of a comparison that found differences.
pub(crate) const DIFFERS: u8 = 13;

/// The exit code of a failure's class.
pub(crate) fn exit_code(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::Other => 1,
        ErrorClass::Usage => 2,
        ErrorClass::Input => 3,
        ErrorClass::Access => 4,
        ErrorClass::Network => 5,
        ErrorClass::NotFound => 6,
        ErrorClass::Integrity => 7,
        ErrorClass::Trust => 8,
        ErrorClass::Disk => 9,
        ErrorClass::Partial => 10,
        ErrorClass::Locked => 11,
        ErrorClass::RateLimited => 12,
        ErrorClass::Interrupted => 130,
    }
}

/// The class's name in JSON.
pub(crate) fn class_name(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Other => "other",
        ErrorClass::Usage => "usage",
        ErrorClass::Input => "input",
        ErrorClass::Access => "access",
        ErrorClass::Network => "network",
        ErrorClass::NotFound => "not-found",
        ErrorClass::Integrity => "integrity",
        ErrorClass::Trust => "trust",
        ErrorClass::Disk => "disk",
        ErrorClass::Partial => "partial",
        ErrorClass::Locked => "locked",
        ErrorClass::RateLimited => "rate-limited",
        ErrorClass::Interrupted => "interrupted",
    }
}
