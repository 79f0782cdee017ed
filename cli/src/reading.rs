//! What is read once, such as a key, a body or a seed: a regular file, or a pipe, as `<(…)` is one and `/dev/stdin` may be.

use std::io::{self, Read};

use bunq_partner::{Secret, files};

use super::interrupt::blocking;

/// Opens and reads a text of at most `max_len` bytes, which is not empty. Dropping the future waits for neither.
pub(super) async fn text<R: Read>(
    max_len: usize,
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<Secret> {
    let text = blocking(move || files::read_text(open()?, max_len)).await?;
    if text.expose().trim().is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(text)
}
