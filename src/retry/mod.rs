//! Retries: whether another attempt follows a failure, after which pause, and the loop over both.
//!
//! A [`Policy`] decides, as a pure function of the failure and its own state. The policy of calls is here; the others are
//! in the modules whose facts they need. Each has a table of cases beside it. [`Backoff`] says how pauses grow, and
//! [`repeat`] makes the attempts. The feed's rounds and the program's queue of sessions have loops of their own.

mod backoff;
mod call;

use std::ops::ControlFlow;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::backoff::{Backoff, Jitter};
pub(crate) use self::call::CallPolicy;
pub use self::call::RetryPolicy;
use crate::error::Error;

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision<S> {
    /// Another attempt after this pause.
    RetryAfter(Duration),
    /// No other attempt, for this reason.
    Stop(S),
}

impl Decision<()> {
    /// Decides by the failure alone: whether it is transient, and how long bunq asks to wait.
    pub(crate) fn of(error: &Error) -> Self {
        if error.is_retryable() { Self::RetryAfter(error.retry_after().unwrap_or_default()) } else { Self::Stop(()) }
    }
}

/// Decides what follows a failed attempt.
pub(crate) trait Policy {
    /// The failure of an attempt.
    type Failure;
    /// Why no other attempt follows.
    type Stop;

    /// Decides on the failure of an attempt that began at this time; `chance` is random from 0 to 1.
    fn after(&mut self, failure: &Self::Failure, began: Instant, chance: f64) -> Decision<Self::Stop>;
}

/// Attempts under a policy.
pub(crate) trait Attempts: Policy {
    type Done;

    fn attempt(&mut self) -> impl Future<Output = Result<Self::Done, Self::Failure>> + Send;

    /// Waits before the next attempt. Breaks with a result that came meanwhile, or with a reason to stop.
    fn pause(
        &mut self,
        failure: &Self::Failure,
        time: Duration,
    ) -> impl Future<Output = ControlFlow<Result<Self::Done, Self::Stop>>> + Send;
}

/// How attempts end: the error is the last failure and the reason to stop.
type Outcome<A> = Result<<A as Attempts>::Done, (<A as Policy>::Failure, <A as Policy>::Stop)>;

/// Makes attempts until one succeeds, or until the policy or a pause stops them.
///
/// The future is boxed: it would be compiled again in each place that awaits it.
pub(crate) fn repeat<'a, A>(attempts: &'a mut A) -> Pin<Box<dyn Future<Output = Outcome<A>> + Send + 'a>>
where
    A: Attempts<Done: Send, Failure: Send + Sync, Stop: Send> + Send,
{
    Box::pin(async move {
        loop {
            let began = Instant::now();
            let failure = match attempts.attempt().await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let ended = match attempts.after(&failure, began, fastrand::f64()) {
                Decision::RetryAfter(time) => attempts.pause(&failure, time).await,
                Decision::Stop(stop) => ControlFlow::Break(Err(stop)),
            };
            if let ControlFlow::Break(result) = ended {
                return result.map_err(|stop| (failure, stop));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, Sent};

    #[test]
    fn a_failure_says_whether_it_passes_and_when() {
        test_timeout::start();
        let (second, failure) = (Duration::from_secs(1), |kind| Error::new(kind, Sent::Responded, ""));
        for (error, decision) in [
            (failure(ErrorKind::Server), Decision::RetryAfter(Duration::ZERO)),
            (failure(ErrorKind::Maintenance).with_retry_after(Some(second)), Decision::RetryAfter(second)),
            (failure(ErrorKind::Forbidden).passing_after(second), Decision::RetryAfter(second)),
            (failure(ErrorKind::NotFound).with_retry_after(Some(second)), Decision::Stop(())),
        ] {
            assert_eq!(Decision::of(&error), decision, "{error:?}");
        }
    }

    type Pause = fn(u32) -> ControlFlow<Result<u32, &'static str>>;

    /// The fourth attempt succeeds.
    struct Case {
        allowed: u32,
        pause: Pause,
        made: u32,
        pauses: Vec<u64>,
    }

    impl Policy for Case {
        type Failure = u32;
        type Stop = &'static str;

        fn after(&mut self, failure: &u32, _: Instant, _: f64) -> Decision<&'static str> {
            let pause = Duration::from_secs((*failure).into());
            if *failure <= self.allowed { Decision::RetryAfter(pause) } else { Decision::Stop("policy") }
        }
    }

    impl Attempts for Case {
        type Done = u32;

        async fn attempt(&mut self) -> Result<u32, u32> {
            self.made += 1;
            if self.made > 3 { Ok(self.made) } else { Err(self.made) }
        }

        async fn pause(&mut self, failure: &u32, time: Duration) -> ControlFlow<Result<u32, &'static str>> {
            self.pauses.push(time.as_secs());
            (self.pause)(*failure)
        }
    }

    #[tokio::test]
    async fn attempts_end_with_a_success_the_policy_or_a_pause() {
        test_timeout::start();
        let go_on: Pause = |_| ControlFlow::Continue(());
        let done: Pause = |failure| ControlFlow::Break(Ok(failure * 10));
        let stop: Pause = |_| ControlFlow::Break(Err("pause"));
        for (allowed, pause, expected, pauses) in [
            (3, go_on, Ok(4), &[1, 2, 3][..]),
            (2, go_on, Err((3, "policy")), &[1, 2]),
            (3, done, Ok(10), &[1]),
            (3, stop, Err((1, "pause")), &[1]),
        ] {
            let mut case = Case { allowed, pause, made: 0, pauses: Vec::new() };
            assert_eq!(repeat(&mut case).await, expected);
            assert_eq!(case.pauses, pauses);
        }
    }
}
