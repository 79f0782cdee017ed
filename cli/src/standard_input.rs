//! Standard input, for commands that take values from there.

use std::io::{self, IsTerminal as _, Write as _};

use bunq_partner::{Secret, files};
use tokio::task::spawn_blocking;

const END: &str = if cfg!(windows) { "Ctrl-Z and Enter" } else { "Ctrl-D" };

/// Says to a person at a terminal what is waited for.
pub(super) fn announce(what: &str) {
    if io::stdin().is_terminal() {
        // If standard error is closed, the message is lost.
        let _ = writeln!(io::stderr(), "waiting for {what} on standard input; {END} ends it");
    }
}

/// Reads all of it, which is a text of at most `max_len` bytes. Dropping the future does not wait for the end.
pub(super) async fn read(what: &str, max_len: usize) -> io::Result<Secret> {
    announce(what);
    spawn_blocking(move || files::read_text(io::stdin(), max_len)).await.map_err(io::Error::from).flatten()
}
