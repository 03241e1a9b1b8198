//! Locks that are held for a moment.

use std::sync::{Mutex, MutexGuard};

/// Takes a lock that nobody holds across a wait or a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds this lock")
}
