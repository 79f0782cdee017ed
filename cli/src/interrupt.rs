//! Ctrl-C, the signals that end a process, and work that must not hold up the end.
//!
//! A signal that was ignored when the program started stays ignored: that of a terminal that is closed for `nohup`, and Ctrl-C for a
//! command in the background of a script. Only Linux tells which these are without `unsafe`; elsewhere on Unix all are listened to.

#[cfg(unix)]
use std::fs;
#[cfg(unix)]
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
#[cfg(unix)]
use std::task::Poll;
use std::time::Duration;
use std::{io, process, thread};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::exit::{Failure, INTERRUPTED};

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

/// Listens for a signal; the future is ready when the process is to end. Each signal is for one listener, and one that comes while
/// nobody listens is for the next.
pub(super) fn listen() -> Result<impl Future<Output = ()>, Failure> {
    let signals = SIGNALS.as_ref().map_err(|error| Failure::local("signals cannot be listened to", error))?;
    Ok(signals.next())
}

/// Until the first listener, a signal ends the process by itself.
static SIGNALS: LazyLock<io::Result<Signals>> = LazyLock::new(hear);

/// The signals that have come. Clones are the same.
#[derive(Debug, Clone, Default)]
struct Signals(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    come: watch::Sender<u32>,
    heard: AtomicU32,
}

impl Signals {
    /// Counts one that has come; returns how many there were.
    fn add(&self) -> u32 {
        self.0.come.send_modify(|come| *come += 1);
        *self.0.come.borrow()
    }

    fn heard(&self) -> u32 {
        self.0.heard.load(Ordering::Relaxed)
    }

    /// Hears the next one.
    async fn next(&self) {
        let mut come = self.0.come.subscribe();
        loop {
            // The sender is not dropped.
            let _ = come.wait_for(|come| *come > self.heard()).await;
            let count = *self.0.come.borrow();
            let hear = |heard| (heard < count).then_some(heard + 1);
            if self.0.heard.fetch_update(Ordering::Relaxed, Ordering::Relaxed, hear).is_ok() {
                return;
            }
            // Another listener was first.
        }
    }
}

/// How long the responses to requests on the wire are waited for after an interruption.
pub(super) const LAST_RESPONSES: Duration = Duration::from_secs(5);

/// How long a signal may be unheard. Then the program is blocked, as by a pager that does not read what it writes.
const UNHEARD: Duration = Duration::from_secs(5);

/// Counts signals on a thread of its own, and ends a process that does not hear them.
fn hear() -> io::Result<Signals> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut ending = {
        let _inside = runtime.enter();
        Ending::new()?
    };
    let signals = Signals::default();
    let counted = signals.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                ending.next().await;
                let (count, signals) = (counted.add(), counted.clone());
                tokio::spawn(async move {
                    sleep(UNHEARD).await;
                    if signals.heard() < count {
                        // What is lost is what is lost when it is killed.
                        process::exit(INTERRUPTED.into());
                    }
                });
            }
        });
    })?;
    Ok(signals)
}

/// The signals that end a process.
#[cfg(unix)]
struct Ending(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Ending {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        // Read before the first handler is set.
        let ignored = *IGNORED;
        let ending = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let heard = ending.into_iter().filter(|kind| ignored >> (kind.as_raw_value() - 1) & 1 == 0);
        Ok(Self(heard.map(signal).collect::<io::Result<_>>()?))
    }

    async fn next(&mut self) {
        poll_fn(|context| {
            let has_come = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if has_come { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(windows)]
struct Ending(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Ending {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// The signals that were ignored when the program started: that with the number 1 is the lowest bit.
#[cfg(unix)]
static IGNORED: LazyLock<u64> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "a file of the kernel, which is small and has an end")]
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
});

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn each_signal_is_for_one_listener() {
        test_timeout::start();
        let signals = Signals::default();
        assert!(signals.next().now_or_never().is_none());
        // Between two listeners.
        assert_eq!((signals.add(), signals.heard()), (1, 0));
        let (inner, outer) = (signals.next(), signals.next());
        assert!(inner.now_or_never().is_some() && outer.now_or_never().is_none());
        assert_eq!((signals.add(), signals.add()), (2, 3));
        let both = [signals.next(), signals.next()].map(|next| next.now_or_never().is_some());
        assert_eq!((both, signals.heard()), ([true, true], 3));
    }
}
