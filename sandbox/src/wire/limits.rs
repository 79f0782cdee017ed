//! bunq's rate limits: so many calls of an operation within any stretch of time.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bunq_partner::{Operation, RateLimit};
use tokio::time::Instant;

/// What has a window of its own for each operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    Address(IpAddr),
    /// A session by its id.
    Session(u64),
}

/// The limits that are kept, and the calls that count towards them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerRateLimits {
    /// Whether operations without a limit of their own have bunq's.
    pub(crate) are_enforced: bool,
    /// Whether a call that is refused counts too.
    pub(crate) refused_count: bool,
    /// By the ids of the operations.
    own: HashMap<&'static str, RateLimit>,
    taken: HashMap<(&'static str, Counted), VecDeque<Instant>>,
}

impl ServerRateLimits {
    /// Gives an operation a limit of its own, which is kept in any case.
    pub(crate) fn set(&mut self, operation: &Operation, calls: u32, per: Duration) {
        self.own.insert(operation.id, RateLimit::new(calls, per));
    }

    /// The limits that are kept and that a client can keep too.
    pub(crate) fn enforced(&self) -> Vec<(&'static Operation, RateLimit)> {
        let enforced =
            Operation::ALL.iter().filter(|operation| self.are_enforced || self.own.contains_key(operation.id));
        let limits = enforced.map(|operation| (operation, self.limit(operation)));
        limits.filter(|(_, limit)| limit.calls > 0 && !limit.per.is_zero()).collect()
    }

    /// The operation's limit, kept or not.
    pub(crate) fn limit(&self, operation: &Operation) -> RateLimit {
        self.own.get(operation.id).copied().unwrap_or(operation.rate_limit)
    }

    /// Admits a call, or returns the limit that it would exceed.
    pub(crate) fn admit(&mut self, operation: &Operation, by: Counted, arrived: Instant) -> Result<(), RateLimit> {
        if !self.are_enforced && !self.own.contains_key(operation.id) {
            return Ok(());
        }
        let limit = self.limit(operation);
        let taken = self.taken.entry((operation.id, by)).or_default();
        while taken.front().is_some_and(|first| arrived.saturating_duration_since(*first) >= limit.per) {
            taken.pop_front();
        }
        let is_admitted = u32::try_from(taken.len()).is_ok_and(|taken| taken < limit.calls);
        if is_admitted || self.refused_count {
            taken.push_back(arrived);
        }
        if is_admitted { Ok(()) } else { Err(limit) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Which calls are admitted that arrive so many milliseconds after the first.
    fn admitted<const N: usize>(limits: &mut ServerRateLimits, operation: &Operation, arrivals: [u64; N]) -> [bool; N] {
        let start = Instant::now();
        let by = Counted::Address(Ipv4Addr::LOCALHOST.into());
        arrivals.map(|arrival| limits.admit(operation, by, start + Duration::from_millis(arrival)).is_ok())
    }

    #[test]
    fn windows_roll_and_refused_calls_do_not_count() {
        test_timeout::start();
        let mut limits = ServerRateLimits { are_enforced: true, ..ServerRateLimits::default() };
        assert_eq!(
            admitted(&mut limits, &Operation::GET_PROVISION, [0, 1000, 2000, 2999, 3000, 3999, 4000, 4001, 5000]),
            [true, true, true, false, true, false, true, false, true]
        );
        assert_eq!(admitted(&mut limits, &Operation::UPDATE_PROVISION, [0, 0, 0]), [true, true, false]);
        assert_eq!(admitted(&mut limits, &Operation::CREATE_SESSION, [0, 29_999, 30_000]), [true, false, true]);
    }

    #[test]
    fn refused_calls_can_count_too() {
        test_timeout::start();
        let mut limits = ServerRateLimits { are_enforced: true, refused_count: true, ..ServerRateLimits::default() };
        assert_eq!(
            admitted(&mut limits, &Operation::UPDATE_PROVISION, [0, 0, 1000, 3000, 4000, 6001]),
            [true, true, false, true, true, true]
        );
        assert_eq!(admitted(&mut limits, &Operation::CREATE_SESSION, [0, 29_999, 30_000]), [true, false, false]);
    }

    #[test]
    fn an_operation_can_have_its_own_limit() {
        test_timeout::start();
        let mut limits = ServerRateLimits::default();
        limits.set(&Operation::GET_PROVISION, 1, Duration::from_millis(10));
        limits.set(&Operation::CREATE_PROVISION, 0, Duration::from_secs(1));
        assert_eq!(admitted(&mut limits, &Operation::GET_PROVISION, [0, 9, 10]), [true, false, true]);
        assert_eq!(admitted(&mut limits, &Operation::CREATE_PROVISION, [0, 9000]), [false, false]);
        assert_eq!(admitted(&mut limits, &Operation::LIST_PROVISIONS, [0; 9]), [true; 9]);
    }
}
