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
    let mut asked = Asked::default();
    let line = until_interrupted(None, async { Ok(line.await) }).await?;
    asked.is_answered = matches!(line, Ok(Some(_)));
    line.map_err(|error| Failure::local("the question cannot be asked", &error))
}

/// Asks for a line that is not shown. `what` names it in messages.
pub(super) async fn hidden(prompt: String, what: &str) -> Result<Secret, Failure> {
    let mut asked = Asked::default();
    let ask = || rpassword::prompt_password(prompt).map(|text| Secret::new(text.trim()));
    let text = until_interrupted(None, async { Ok(blocking(ask).await) }).await?;
    asked.is_answered = text.is_ok();
    text.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Failure::interrupted(None),
        _ => Failure::local(format_args!("{what} cannot be asked for"), &error),
    })
}

/// A question at the terminal. What follows one that is not answered begins on a line of its own, and what is typed then is shown again: a
/// signal leaves the terminal as the prompt for a secret has made it.
struct Asked {
    is_answered: bool,
    #[cfg(unix)]
    terminal: Option<rustix::termios::Termios>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            is_answered: false,
            #[cfg(unix)]
            terminal: rustix::termios::tcgetattr(io::stdin()).ok(),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        #[cfg(unix)]
        if let Some(terminal) = &self.terminal {
            // If it is gone, nobody types there.
            let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, terminal);
        }
        screen::say("\n");
    }
}
