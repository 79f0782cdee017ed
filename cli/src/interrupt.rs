//! Ctrl-C, the signals that end a process, and work that must not hold up the end.

use std::io;

use tokio::task::spawn_blocking;

use super::exit::Failure;

/// Runs a command unless it is interrupted; `hint` says what continues at bunq then.
pub(super) async fn until_interrupted<T>(
    hint: Option<String>,
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let interrupted = listen()?;
    tokio::select! {
        biased;
        done = command => done,
        () = interrupted => Err(Failure::interrupted(hint)),
    }
}

/// Runs work that blocks on a thread of its own. Dropping the future does not wait for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::from).flatten()
}

/// Listens from now on; the future is ready when the process is to end.
#[cfg(unix)]
pub(super) fn listen() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let signal = |kind| signal(kind).map_err(unheard);
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
pub(super) fn listen() -> Result<impl Future<Output = ()>, Failure> {
    let mut interrupt = tokio::signal::windows::ctrl_c().map_err(unheard)?;
    Ok(async move {
        interrupt.recv().await;
    })
}

fn unheard(error: io::Error) -> Failure {
    Failure::local("signals cannot be listened to", &error)
}
