//! Requests that may still arrive at bunq.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::error::{Error, ErrorKind, Sent};
use crate::text::duration;
use crate::transport::call_budget::CallBudget;

/// Earlier requests for the same thing that may have been carried out unnoticed, if there are any, and until when one of them
/// may still arrive.
///
/// In the process, that time counts from when they were sent. After a crash it counts from the start of the run, because a clock
/// that can be set does not tell how long ago the last one was sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InFlight(Option<Instant>);

impl InFlight {
    /// There was no request.
    pub(crate) const NONE: Self = Self(None);

    /// There was one, and none can arrive after this time.
    pub(crate) fn until(at: Instant) -> Self {
        Self(Some(at))
    }

    /// These requests, and those.
    pub(crate) fn and(self, others: Self) -> Self {
        Self(self.0.max(others.0))
    }

    /// The same requests, if there are any, with time to arrive until then at least.
    pub(crate) fn prolonged(self, at: Instant) -> Self {
        Self(self.0.map(|until| until.max(at)))
    }

    /// Whether there was a request.
    pub(crate) fn is_any(self) -> bool {
        self.0.is_some()
    }

    /// How long one may still arrive.
    pub(crate) fn left(self) -> Duration {
        self.0.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Waits until none can arrive any more.
    pub(crate) async fn over(self) {
        if let Some(until) = self.0 {
            sleep_until(until).await;
        }
    }

    /// Waits until none can arrive any more, if that is within the time of a call.
    pub(crate) async fn over_within(self, budget: CallBudget) -> Result<(), Error> {
        let left = self.left();
        if left > budget.left_to_send() {
            let problem = format_args!(
                "an earlier request may still arrive at bunq for {}, longer than this call may take: call again after that",
                duration(left)
            );
            return Err(Error::new(ErrorKind::Timeout, Sent::No, problem).with_retry_after(Some(left)));
        }
        self.over().await;
        Ok(())
    }
}

/// The requests of a verb that is in progress. Until it knows what became of them, one may still arrive: also if the verb is dropped.
pub(crate) struct Requests<'a> {
    in_flight: &'a mut InFlight,
    late_arrival: Duration,
    are_known: bool,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(in_flight: &'a mut InFlight, late_arrival: Duration) -> Self {
        Self { in_flight, late_arrival, are_known: false }
    }

    pub(crate) fn in_flight(&mut self) -> &mut InFlight {
        self.in_flight
    }

    /// Those that are in doubt have been added, or there are none.
    pub(crate) fn are_known(&mut self) {
        self.are_known = true;
    }
}

impl Drop for Requests<'_> {
    fn drop(&mut self) {
        if !self.are_known {
            *self.in_flight = self.in_flight.and(InFlight::until(Instant::now() + self.late_arrival));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_of_several_counts() {
        test_timeout::start();
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let (early, late) = (InFlight::until(start + second), InFlight::until(start + 3 * second));
        for (requests, left) in [
            (InFlight::NONE, 0),
            (InFlight::NONE.prolonged(start + second), 0),
            (early, 1),
            (early.and(InFlight::NONE), 1),
            (InFlight::NONE.and(early), 1),
            (early.and(late), 3),
            (late.and(early), 3),
            (early.prolonged(start + 2 * second), 2),
            (late.prolonged(start + 2 * second), 3),
        ] {
            assert_eq!((requests.is_any(), requests.left()), (left > 0, left * second), "{requests:?}");
        }
        advance(2 * second).await;
        assert_eq!((early.is_any(), early.left(), late.left()), (true, Duration::ZERO, second));
        late.over().await;
        assert_eq!(start.elapsed(), 3 * second);
    }
}
