//! Waiting, with a live line for each object on standard error if that is a terminal.

use std::pin::pin;
use std::time::Duration;

use bunq_partner::{Error, Resource, Waiter};
use futures_util::TryStreamExt as _;
use indicatif::ProgressBar;
use tokio::time::sleep;

use super::line_clock::LineClock;
use super::screen;

/// How often the lines move, so that a wait is seen to go on.
const TICK: Duration = Duration::from_millis(120);

/// Waits, and returns what the object has become. The line of a change has its time.
pub(super) async fn wait<R: Resource>(waiter: Waiter<R>, shown: impl Fn(&str, &R) -> String) -> Result<R, Error> {
    let line = screen::live_line(ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}");
    line.set_message(waiter.id().to_string());
    let mut clock = LineClock::new(true);
    let mut changes = pin!(waiter.changes());
    let mut last = None;
    loop {
        tokio::select! {
            change = changes.try_next() => match change? {
                Some(seen) => {
                    line.set_message(shown(&clock.now().1, &seen));
                    last = Some(seen);
                }
                // The stream ends with the object that is waited for, or with an error.
                None => return last.ok_or_else(|| Error::context("the wait ended without an object")),
            },
            () = sleep(TICK) => line.tick(),
        }
    }
}
