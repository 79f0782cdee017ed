//! Environment variables.

use std::ffi::OsString;

/// Returns the value of an environment variable of the process. An empty variable is not set: whoever cannot unset one,
/// as in a file for containers, leaves it empty.
///
/// This crate reads all its variables in this way, those for proxies and certificates included.
pub fn environment_variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
