//! Waiting, with a live line for each provision on standard error if that is a terminal.

use std::pin::pin;
use std::time::Duration;

use bunq_partner::{Error, Provision, Waiter};
use futures_util::TryStreamExt as _;
use indicatif::ProgressBar;
use tokio::time::sleep;

use super::line_clock::LineClock;
use super::{records, screen};

/// How often the lines move, so that a wait is seen to go on.
const TICK: Duration = Duration::from_millis(120);

/// Waits, and returns what the provision has become.
pub(super) async fn wait(waiter: Waiter) -> Result<Provision, Error> {
    let line = screen::live_line(ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}");
    line.set_message(waiter.id().to_string());
    let mut clock = LineClock::new(true);
    let mut changes = pin!(waiter.changes());
    let mut last = None;
    loop {
        tokio::select! {
            change = changes.try_next() => match change? {
                Some(seen) => {
                    line.set_message(records::change(&clock.now().1, &seen));
                    last = Some(seen);
                }
                // The stream ends with the provision that is waited for, or with an error.
                None => return last.ok_or_else(|| Error::context("the wait ended without a provision")),
            },
            () = sleep(TICK) => line.tick(),
        }
    }
}
