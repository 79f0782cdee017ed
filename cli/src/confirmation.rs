//! The questions that a person is asked before something happens.

#[cfg(unix)]
use std::io;

use super::closing::Closing;
use super::exit::Failure;
use super::invocation::Invocation;
use super::questions::{self, is_attended};
use super::words::revealed;

/// Asks before a change, if changes are asked about, and before tokens are shown. Of a closing, shows first what would be closed.
pub(super) async fn confirm(
    invocation: &Invocation,
    change: Option<&str>,
    closing: Option<Closing>,
) -> Result<(), Failure> {
    check_attended(invocation, change)?;
    if let Some(change) = change.filter(|_| invocation.asks) {
        if let Some(closing) = closing {
            let shown = closing.show(invocation).await;
            shown.map_err(|failure| failure.or_hint(Some("nothing was closed".to_owned())))?;
        }
        ask(&format!("{change} in production?")).await?;
    }
    if invocation.shows_secrets() {
        ask("Tokens will be shown. Whoever sees them can act for the user. Show them?").await?;
    }
    Ok(())
}

/// Refuses what [`confirm`] asks about if there is nobody to ask.
pub(super) fn check_attended(invocation: &Invocation, change: Option<&str>) -> Result<(), Failure> {
    match change.filter(|_| invocation.asks) {
        _ if is_attended() => Ok(()),
        Some(change) => Err(Failure::usage(format!("{change} in production: confirm it with --yes"))),
        None if invocation.shows_secrets() => {
            Err(Failure::usage("--show-secrets is for a person at a terminal: there is none to ask"))
        }
        None => Ok(()),
    }
}

/// Asks a person. Dropping the future does not wait for the answer.
async fn ask(question: &str) -> Result<(), Failure> {
    // What was typed before is no answer to what is shown now.
    #[cfg(unix)]
    let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
    let answer = questions::line(format!("{} [y/N] ", revealed(question))).await?.unwrap_or_default();
    if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        Ok(())
    } else {
        Err(Failure::negative("nothing was done"))
    }
}
