//! Secrets in files of their owner's alone: an API key, or the URL of a database.

use std::io;
use std::path::Path;

use bunq_partner::{Secret, files};

use super::exit::Failure;
use super::interrupt::blocking;
use super::reading;

/// No key is longer, in bytes, and no URL.
pub(super) const MAX_LEN: usize = 4096;

/// Reads a secret from a file of its owner's alone. `said` says where its name is from.
pub(super) async fn read(path: &Path, said: impl Fn(String) -> String) -> Result<(Secret, Option<String>), Failure> {
    let failed = |error: io::Error| Failure::usage(said(error.to_string()));
    let to_open = path.to_owned();
    let (file, warning) = blocking(move || files::open_secret(to_open)).await.map_err(failed)?;
    let key = reading::text(MAX_LEN, || Ok(file)).await.map_err(failed)?;
    Ok((key.expose().trim().into(), warning.map(said)))
}
