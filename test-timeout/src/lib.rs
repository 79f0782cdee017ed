//! A timeout for every test: a test that hangs ends its process with a message, so that `cargo test` always ends.
//!
//! Each test begins with `test_timeout::start();`, also inside `proptest!`. `cargo xtask test-timeouts` finds those
//! that do not.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::panic::Location;
use std::process;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// It only ends tests that hang: no test takes this long on any machine.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The test that runs on this thread. Dropping it ends its timeout.
struct Running {
    place: &'static Location<'static>,
    _ended: Sender<()>,
}

thread_local! {
    /// The thread drops it, after the test's runtime. On a thread that runs several tests, the next test replaces it.
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// Starts the timeout of the calling test: 15 minutes of real time, whatever clock its runtime has. A test that calls
/// it several times, as in `proptest!`, has one timeout for all of them.
#[track_caller]
pub fn start() {
    start_of(TIMEOUT);
}

#[track_caller]
fn start_of(timeout: Duration) {
    let place = Location::caller();
    RUNNING.with_borrow_mut(|running| {
        if running.as_ref().is_none_or(|running| running.place != place) {
            *running = Some(Running { place, _ended: watch(place, timeout) });
        }
    });
}

/// Aborts the process after the timeout, unless the sender is dropped first.
fn watch(place: &'static Location<'static>, timeout: Duration) -> Sender<()> {
    let (sender, ended) = channel();
    let test = thread::current().name().unwrap_or("without a name").to_owned();
    thread::spawn(move || {
        if ended.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout) {
            // Not `eprintln!`, whose output would be captured with the test's.
            let _ = writeln!(io::stderr(), "\nthe test {test} ({place}) has not ended within {timeout:?}: it hangs");
            process::abort();
        }
    });
    sender
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::env;
    use std::process::Command;

    use super::*;
    use crate as test_timeout;

    /// Set in the process whose test hangs.
    const HANGS: &str = "TEST_TIMEOUT_HANGS";

    #[test]
    fn a_test_that_hangs_is_ended() {
        test_timeout::start();
        if env::var_os(HANGS).is_some() {
            start_of(Duration::from_millis(1));
            loop {
                thread::park();
            }
        }
        let mut process = Command::new(env::current_exe().unwrap());
        process.args(["--exact", "tests::a_test_that_hangs_is_ended", "--test-threads=2"]).env(HANGS, "");
        let output = process.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        let said = "the test tests::a_test_that_hangs_is_ended (test-timeout/src/lib.rs:";
        assert!(stderr.contains(said) && stderr.contains("has not ended within 1ms"), "{stderr}");
    }
}
