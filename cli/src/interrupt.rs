//! Ctrl-C, the signals that end a process, and work that must not hold up the end.
//!
//! A signal that was ignored when the program started stays ignored: that of a terminal that is closed for `nohup`, and Ctrl-C for a
//! command in the background of a script. Only Linux tells which these are without `unsafe`; elsewhere on Unix all are listened to.

#[cfg(unix)]
use std::fs;
#[cfg(unix)]
use std::future::poll_fn;
use std::io;
#[cfg(unix)]
use std::sync::LazyLock;
#[cfg(unix)]
use std::task::Poll;

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
    // Read before the first handler is set.
    let ignored = *IGNORED;
    let ending = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let heard = ending.into_iter().filter(|kind| ignored >> (kind.as_raw_value() - 1) & 1 == 0);
    let mut signals = heard.map(signal).collect::<io::Result<Vec<_>>>().map_err(unheard)?;
    Ok(poll_fn(move |context| {
        let has_come = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if has_come { Poll::Ready(()) } else { Poll::Pending }
    }))
}

/// The signals that were ignored when the program started: that with the number 1 is the lowest bit.
#[cfg(unix)]
static IGNORED: LazyLock<u64> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "a file of the kernel, which is small and has an end")]
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
});

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
