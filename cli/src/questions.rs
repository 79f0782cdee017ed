//! What a person types at the terminal: a line, or a secret that is not shown.

use std::io::{self, IsTerminal as _, Write as _};

use bunq_partner::Secret;

use super::exit::Failure;
use super::interrupt::{blocking, until_interrupted};
use super::screen;

/// Whether there is a person to ask.
pub(super) fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a line; `None` at the end of the input. Dropping the future does not wait for it.
pub(super) async fn line(prompt: String) -> Result<Option<String>, Failure> {
    let line = blocking(move || {
        write!(io::stderr(), "{prompt}").and_then(|()| io::stderr().flush())?;
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|length| (length > 0).then_some(line))
    });
    let line = until_interrupted(None, async { Ok(line.await) }).await.inspect_err(|_| screen::say("\n"))?;
    line.map_err(|error| Failure::local("the question cannot be asked", &error))
}

/// Asks for a line that is not shown. `what` names it in messages.
pub(super) async fn hidden(prompt: String, what: &str) -> Result<Secret, Failure> {
    // A signal leaves the terminal as the prompt has made it: without an echo.
    #[cfg(unix)]
    let terminal = rustix::termios::tcgetattr(io::stdin());
    let ask = || rpassword::prompt_password(prompt).map(|text| Secret::new(text.trim()));
    let text = until_interrupted(None, async { Ok(blocking(ask).await) }).await.inspect_err(|_| screen::say("\n"));
    #[cfg(unix)]
    if let Ok(terminal) = terminal {
        // If it is gone, nobody types there.
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &terminal);
    }
    text?.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Failure::interrupted(None),
        _ => Failure::local(format_args!("{what} cannot be asked for"), &error),
    })
}
