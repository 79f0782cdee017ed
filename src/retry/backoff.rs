//! Pauses that grow from attempt to attempt.

use std::time::Duration;

/// The pauses between attempts: each is twice as long as the one before, up to a maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) initial: Duration,
    pub(crate) max: Duration,
    pub(crate) jitter: Jitter,
}

/// Which part of a pause is random, so that calls that failed together are not repeated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jitter {
    None,
    Half,
    Full,
}

impl Backoff {
    /// The pause after so many failures; `chance` is random from 0 to 1.
    pub(crate) fn pause(self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let longest = self.initial.saturating_mul(1 << doublings).min(self.max);
        let chance = chance.clamp(0.0, 1.0);
        match self.jitter {
            Jitter::None => longest,
            Jitter::Half => longest.mul_f64(0.5 + chance / 2.0),
            Jitter::Full => longest.mul_f64(chance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_maximum() {
        test_timeout::start();
        let failures = [0, 1, 2, 3, 4, 5, 6, u32::MAX];
        for (jitter, chance, seconds) in [
            (Jitter::None, 0.5, [1.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]),
            (Jitter::Half, 0.0, [0.5, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]),
            (Jitter::Half, 0.5, [0.75, 0.75, 1.5, 3.0, 6.0, 7.5, 7.5, 7.5]),
            (Jitter::Half, 1.0, [1.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]),
            (Jitter::Full, 0.0, [0.0; 8]),
            (Jitter::Full, f64::NAN.max(0.0), [0.0; 8]),
            (Jitter::Full, 0.5, [0.5, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]),
            (Jitter::Full, 1.0, [1.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]),
        ] {
            let backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(10), jitter };
            let pauses = failures.map(|failures| backoff.pause(failures, chance));
            assert_eq!(pauses, seconds.map(Duration::from_secs_f64), "{jitter:?} {chance}");
        }
        let at_once = Backoff { initial: Duration::ZERO, max: Duration::MAX, jitter: Jitter::None };
        assert_eq!(failures.map(|failures| at_once.pause(failures, 1.0)), [Duration::ZERO; 8]);
        let longest = Backoff { initial: Duration::MAX, ..at_once };
        assert_eq!(longest.pause(9, 1.0), Duration::MAX);
    }
}
