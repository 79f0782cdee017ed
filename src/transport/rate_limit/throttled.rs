//! What a 429 asks for, and how long no call is sent after it.

use std::time::Duration;

use crate::operation::RateLimit;

/// The widest limit that is accepted from the message of a 429.
const MOST_CALLS: u32 = 10_000;
const LONGEST_SECONDS: u32 = 3600;

/// The pause after a 429 is random, between the first two of these fractions of the window. The upper one grows with each
/// further 429, up to the last. Shorter pauses lead to more 429s; longer ones leave permits unused (`benches/limits.rs`).
/// If bunq counts refused calls, clients that all came back within a window would get each other refused for ever.
pub(super) const SHORTEST_PAUSE: f64 = 0.1;
const LONGEST_PAUSE: f64 = 0.5;
const PAUSE_GROWTH: f64 = 1.5;
const MAX_PAUSE: f64 = 3.0;

/// The longest pause that bunq has not asked for in a signed response.
pub(crate) const MAX_UNPROVEN_PAUSE: Duration = Duration::from_secs(60);

/// What bunq says in a 429.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Throttled {
    pub(crate) retry_after: Option<Duration>,
    pub(crate) limit: Option<RateLimit>,
    /// Whether it has a valid signature.
    pub(crate) is_signed: bool,
}

impl Throttled {
    /// How long to send no call of an operation with a window of `per`, after `refusals` others in a row. `jitter` is
    /// random from 0 to 1, so that clients that share an address do not come back together.
    pub(crate) fn pause(&self, per: Duration, refusals: u32, jitter: f64) -> Duration {
        let per = self.limit.map_or(per, |limit| limit.per);
        let longest = (LONGEST_PAUSE * PAUSE_GROWTH.powi(refusals.min(10).cast_signed())).min(MAX_PAUSE);
        let spread = SHORTEST_PAUSE + (longest - SHORTEST_PAUSE) * jitter.clamp(0.0, 1.0);
        let pause = match self.retry_after {
            // The window is open then; only the jitter is added.
            Some(after) => after.saturating_add(per.mul_f64(spread - SHORTEST_PAUSE).min(MAX_UNPROVEN_PAUSE)),
            None => per.mul_f64(spread).min(MAX_UNPROVEN_PAUSE),
        };
        if self.is_signed { pause } else { pause.min(MAX_UNPROVEN_PAUSE) }
    }
}

/// The limit that bunq names in the message of a 429: "… maximum of 3 calls per 3 seconds …".
pub(crate) fn named_limit(message: &str) -> Option<RateLimit> {
    let number = |text: &str| text.split_whitespace().next()?.parse::<u32>().ok();
    let after = message.split_once("maximum of ")?.1;
    let calls = number(after)?;
    let seconds = number(after.split_once(" per ")?.1)?;
    // An implausible limit is not bunq's.
    let sane = (1..=MOST_CALLS).contains(&calls) && (1..=LONGEST_SECONDS).contains(&seconds);
    sane.then(|| RateLimit { calls, per: Duration::from_secs(seconds.into()) })
}
