//! The state of one window: the calls that count in it, and what bunq has said about it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::store::{Claim, Refusal, Settlement};
use super::throttled::{MAX_UNPROVEN_PAUSE, Throttled};
use crate::operation::RateLimit;

#[derive(Debug)]
pub(super) struct Usage {
    /// All of them apply.
    limits: Vec<RateLimit>,
    /// The last limit that bunq named in a signed 429. It applies too.
    named: Option<RateLimit>,
    in_flight: usize,
    /// When the calls that still count got their responses, oldest first.
    responded: VecDeque<Instant>,
    /// No call is sent before this: bunq has refused one.
    closed_until: Option<Instant>,
    /// What unsigned refusals ask for, until bunq accepts a call.
    claim: Option<TimedClaim>,
    /// The number of calls that bunq has refused since it last accepted one.
    pub(super) refusals: u32,
}

#[derive(Debug, Clone, Copy)]
struct TimedClaim {
    closed_until: Instant,
    limit: Option<RateLimit>,
    /// When it expires.
    ends: Instant,
}

impl Usage {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self {
            limits: vec![limit],
            named: None,
            in_flight: 0,
            responded: VecDeque::new(),
            closed_until: None,
            claim: None,
            refusals: 0,
        }
    }

    /// Adds a limit.
    pub(super) fn add_limit(&mut self, limit: RateLimit) {
        if !self.limits.contains(&limit) {
            self.limits.push(limit);
        }
    }

    /// The limits without the claim.
    pub(super) fn limits(&self) -> impl Iterator<Item = &RateLimit> {
        self.limits.iter().chain(&self.named)
    }

    /// The longest period of the limits without the claim.
    fn longest(&self) -> Duration {
        self.limits().map(|limit| limit.per).max().unwrap_or_default()
    }

    pub(super) fn prune(&mut self, now: Instant) {
        let claimed = self.claim.and_then(|claim| claim.limit);
        let longest = self.longest().max(claimed.map_or(Duration::ZERO, |limit| limit.per));
        while self.responded.front().is_some_and(|responded| *responded + longest <= now) {
            self.responded.pop_front();
        }
        self.closed_until = self.closed_until.filter(|until| *until > now);
        self.claim = self.claim.filter(|claim| claim.ends > now);
    }

    /// Whether it can be forgotten, after [`prune`](Self::prune): no call counts, and bunq's refusals ask for nothing more.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.responded.is_empty() && self.closed_until.is_none() && self.claim.is_none()
    }

    /// When a call with `ahead` others before it can be sent, of which none is sent before a time. If that is at once, the time is not
    /// after `now`.
    pub(super) fn turn(&self, now: Instant, ahead: usize, not_before: Instant) -> Instant {
        let claimed = self.claim.map(|claim| claim.closed_until);
        let open = self.closed_until.max(claimed).unwrap_or(now).max(not_before);
        let under = |limit: &RateLimit| {
            let (calls, per) = (limit.calls.max(1) as usize, limit.per);
            // When each permit is free again: for calls in flight, at the earliest one window from now.
            let counted = self.responded.iter().map(|responded| *responded + per).filter(|free| *free > now);
            let mut free: Vec<Instant> = counted.chain(std::iter::repeat_n(now + per, self.in_flight)).collect();
            free.sort_unstable();
            let rounds = u32::try_from(ahead / calls).unwrap_or(u32::MAX);
            let last_to_go = (free.len() + ahead % calls).checked_sub(calls);
            let permit = last_to_go.and_then(|index| free.get(index)).copied().unwrap_or(now).max(open);
            permit.checked_add(per.saturating_mul(rounds)).unwrap_or(permit)
        };
        let claimed = self.claim.and_then(|claim| Some(under(&claim.limit?).min(claim.ends)));
        self.limits().map(under).chain(claimed).max().unwrap_or(open)
    }

    /// Whether bunq has refused a call and accepted none since.
    pub(super) fn is_refused(&self) -> bool {
        self.refusals > 0
    }

    /// Whether a call must wait for the response to another: after a refusal, calls are sent one at a time.
    pub(super) fn awaits_a_response(&self) -> bool {
        self.is_refused() && self.in_flight > 0
    }

    /// Lets no call be sent before this time.
    fn close_until(&mut self, until: Instant) {
        self.closed_until = self.closed_until.max(Some(until));
    }

    /// How many calls have a permit, and no outcome yet.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Records that a call has its permit.
    pub(super) fn begin(&mut self) {
        self.in_flight += 1;
    }

    /// Evaluates a 429: what it means for the window, and how long no further call is sent. `jitter` is random from 0 to 1.
    pub(super) fn refusal(&self, throttled: Throttled, jitter: f64) -> (Refusal, Duration) {
        let pause = |throttled: Throttled| throttled.pause(self.longest(), self.refusals, jitter);
        let (asked, limit) = (pause(throttled), throttled.limit);
        let refusal = if throttled.is_signed {
            Refusal { pause: asked, limit, claim: None }
        } else {
            // The pause that follows any 429 is not a claim.
            let blind = pause(Throttled::default());
            Refusal { pause: asked.min(blind), limit: None, claim: Some(Claim { pause: asked, limit }) }
        };
        (refusal, asked)
    }

    /// Records the end of a call that had a permit.
    pub(super) fn settle(&mut self, settlement: &Settlement, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.responded.push_back(now);
        match settlement {
            Settlement::Refused(Refusal { pause, limit, claim }) => {
                let after = |pause: Duration| now.checked_add(pause).unwrap_or(now);
                self.refusals = self.refusals.saturating_add(1);
                self.close_until(after(*pause));
                self.named = limit.or(self.named);
                if let Some(claim) = claim {
                    let (until, earlier) = (after(claim.pause), self.claim);
                    self.claim = Some(TimedClaim {
                        closed_until: earlier.map_or(until, |claim| claim.closed_until.max(until)),
                        limit: claim.limit.or(earlier.and_then(|claim| claim.limit)),
                        ends: now + MAX_UNPROVEN_PAUSE,
                    });
                }
            }
            Settlement::Admitted => (self.refusals, self.claim) = (0, None),
            Settlement::Unknown => {}
        }
    }
}
