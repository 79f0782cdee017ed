//! What is read once, such as a key, a body, a seed or a file that is sent: a regular file, or a pipe, as `<(…)` is one and `/dev/stdin` may be.

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

/// Opens and reads a file of at most `max_len` bytes, which is not empty. Dropping the future waits for neither.
pub(super) async fn bytes<R: Read>(
    max_len: usize,
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<Vec<u8>> {
    let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
    blocking(move || {
        let mut bytes = Vec::new();
        open()?.take(max_len as u64 + 1).read_to_end(&mut bytes)?;
        match bytes.len() {
            0 => Err(invalid("it is empty".into())),
            length if length > max_len => Err(invalid(format!("it is larger than {max_len} bytes"))),
            _ => Ok(bytes),
        }
    })
    .await
}
