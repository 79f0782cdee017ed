//! A lock that survives a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex even if a panic has poisoned it: each critical section leaves its data consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
