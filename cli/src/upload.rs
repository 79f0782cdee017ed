//! A file that is sent: read once, from a path, a pipe or standard input, before anything is sent.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bunq_partner::{ClientBuilder, files};
use bytes::Bytes;

use super::connection::MAX_UPLOAD;
use super::reading;
use super::standard_input::announce;

/// How long an attempt may take that sends or receives a file: one of 16 MiB at 1.2 Mbit/s.
const FILE_TIME: Duration = Duration::from_secs(120);

/// Gives calls the time that files take.
pub(super) fn with_time_for_files(builder: ClientBuilder) -> ClientBuilder {
    builder.attempt_timeout(FILE_TIME).operation_timeout(2 * FILE_TIME)
}

/// Reads a file; without a path, standard input. It may wait; dropping the future does not wait for it.
pub(super) async fn read(path: Option<PathBuf>) -> io::Result<Bytes> {
    let read = match path {
        None => {
            announce("a file");
            reading::bytes(MAX_UPLOAD, || Ok(io::stdin())).await
        }
        Some(path) => reading::bytes(MAX_UPLOAD, move || files::open_plain(path)).await,
    };
    read.map(Bytes::from)
}
