//! A file that bunq sends, such as a document of a person: it goes to a file of its owner alone, or to standard output.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use bunq_partner::files;
use serde_json::json;

use super::exit::Failure;
use super::folders::try_to_store_file;
use super::invocation::Invocation;
use super::output::{write_out, write_value};

/// Refuses a place where a file could not go, before anything is sent. Without a path it goes to standard output. `what` names the file in
/// messages.
pub(super) fn check(invocation: &Invocation, what: &str, path: Option<&Path>) -> Result<(), Failure> {
    match path {
        Some(path) if path == Path::new("-") => {
            let problem = "it is no path: standard output gets the response without --output-file";
            Err(Failure::usage(format!("-: {problem}")))
        }
        Some(path) => check_file(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display()))),
        None if invocation.format().is_json() => {
            let hint = "--output-file FILE keeps it, and standard output has JSON about it";
            Err(Failure::usage(format!("{what} is a file, not JSON")).with_hint(hint))
        }
        None if io::stdout().is_terminal() => {
            let hint = "--output-file FILE keeps it for you alone; a pipe or `>FILE` gets it as it is";
            Err(Failure::usage(format!("{what} is a file, which is not written to a terminal")).with_hint(hint))
        }
        None => Ok(()),
    }
}

/// Fails unless a file can be made there.
pub(super) fn check_file(path: &Path) -> io::Result<()> {
    if path == Path::new("-") {
        return Err(io::Error::other("it is no path: give that of a new file"));
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(_) => {
            let problem = "it exists, and is not replaced: give another path";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
        }
    }
    let is_of_file = |name: &OsStr| path.as_os_str().as_encoded_bytes().ends_with(name.as_encoded_bytes());
    if !path.file_name().is_some_and(is_of_file) {
        return Err(io::Error::other("it is the path of a folder: give that of a file"));
    }
    try_to_store_file(path)
}

/// Writes a file to its place. It is not interrupted: a file that was received is kept.
pub(super) fn deliver(invocation: &Invocation, path: Option<&Path>, body: &[u8]) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(write_out(io::stdout(), body)?) };
    files::create_whole(path, body).map_err(|error| Failure::local(path.display(), &error))?;
    let stored = json!({ "file": path.display().to_string(), "size": body.len() });
    Ok(write_value(invocation.format(), &stored)?)
}
