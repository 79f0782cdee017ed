//! Ctrl-C, and the signals that end a process.

use std::io;

use super::exit::Failure;

/// Runs a command unless it is interrupted; `hint` says what continues at bunq then.
pub(super) async fn until_interrupted<T>(
    hint: Option<String>,
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let interrupted = listen().map_err(|error| Failure::local("signals cannot be listened to", &error))?;
    tokio::select! {
        biased;
        done = command => done,
        () = interrupted => Err(Failure::interrupted(hint)),
    }
}

/// Listens from now on; the future is ready when the process is to end.
#[cfg(unix)]
pub(super) fn listen() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Listens from now on; the future is ready when the process is to end.
#[cfg(windows)]
pub(super) fn listen() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
