//! Standard input, for commands that read values from it.

use std::io::{self, IsTerminal as _};

use bunq_partner::{Secret, files};

use super::interrupt::blocking;
use super::screen;

const END: &str = if cfg!(windows) { "Ctrl-Z and Enter" } else { "Ctrl-D" };

/// Tells a person at a terminal what the program waits for.
pub(super) fn announce(what: &str) {
    if io::stdin().is_terminal() {
        screen::say(&format!("waiting for {what} on standard input; {END} ends it\n"));
    }
}

/// Reads all of it: text of at most `max_len` bytes. Dropping the future does not wait for the end.
pub(super) async fn read(what: &str, max_len: usize) -> io::Result<Secret> {
    announce(what);
    blocking(move || files::read_text(io::stdin(), max_len)).await
}
