//! Ctrl-C, and the signal that ends a process.

use super::exit::Failure;

/// Runs a command unless it is interrupted; `hint` says what goes on at bunq then.
pub(super) async fn until_interrupted(
    hint: Option<String>,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::select! {
        done = command => done,
        () = interrupted() => Err(Failure::interrupted(hint)),
    }
}

/// Waits for Ctrl-C, or for the signal that ends a process.
pub(super) async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
}
