//! Waiting, with a live line for each provision on standard error if that is a terminal.

use std::pin::pin;
use std::time::Duration;

use bunq_partner::{Error, Provision, Waiter};
use futures_util::TryStreamExt as _;
use indicatif::{MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};
use tokio::time::sleep;

use super::records;

/// How often the lines move, so that a wait is seen to go on.
const TICK: Duration = Duration::from_millis(120);

/// The live lines of a command. They are gone when it ends.
#[derive(Default)]
pub(super) struct LiveLines(MultiProgress);

impl LiveLines {
    /// Waits, and returns what the provision has become.
    pub(super) async fn wait(&self, waiter: Waiter) -> Result<Provision, Error> {
        let line = self.0.add(ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear));
        let style = ProgressStyle::with_template("{spinner} {msg}  {elapsed}");
        line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        line.set_message(waiter.id().to_string());
        let mut changes = pin!(waiter.changes());
        let mut last = None;
        loop {
            tokio::select! {
                change = changes.try_next() => match change? {
                    Some(seen) => {
                        line.set_message(records::change(&seen));
                        last = Some(seen);
                    }
                    // The stream ends with the provision that is waited for, or with an error.
                    None => return last.ok_or_else(|| Error::context("the wait ended without a provision")),
                },
                () = sleep(TICK) => line.tick(),
            }
        }
    }
}
