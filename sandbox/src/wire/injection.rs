//! Injections: which fault is played at which calls.

use bunq_partner::Operation;

use crate::wire::fault::{Fault, When};

/// A [`Fault`], and the calls that it is played at: by default the next call, of any operation.
///
/// ```
/// use bunq_partner::Operation;
/// use bunq_partner_sandbox::{Fault, Injection};
///
/// // The second and the third closing get no response; only the closing itself is done.
/// let lost = Injection::new(Fault::Drop).on(&Operation::UPDATE_PROVISION).after(1).times(2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an injection does nothing until a sandbox has it"]
pub struct Injection {
    fault: Fault,
    /// The id of the operation; `None`: any.
    operation: Option<&'static str>,
    turns: Turns,
    carried_out: bool,
}

/// At which of the calls that an injection selects its fault is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turns {
    /// How many calls are still skipped.
    pub(crate) after: u32,
    /// How many times it is still played; `None`: always.
    pub(crate) times: Option<u32>,
}

impl Turns {
    pub(crate) const ONCE: Self = Self { after: 0, times: Some(1) };

    pub(crate) fn are_over(self) -> bool {
        self.times == Some(0)
    }

    /// Counts a call, and returns whether the fault is played at it. It is not if another one is.
    pub(crate) fn strike(&mut self, is_free: bool) -> bool {
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        if is_free {
            self.times = self.times.map(|times| times.saturating_sub(1));
        }
        is_free
    }
}

impl Injection {
    /// Plays `fault` once, at the next call.
    pub fn new(fault: Fault) -> Self {
        Self { fault, operation: None, turns: Turns::ONCE, carried_out: fault.entry().when == When::After }
    }

    /// Selects only calls of this operation. Without it every call is selected, even one of no known operation.
    pub fn on(mut self, operation: &Operation) -> Self {
        self.operation = Some(operation.id);
        self
    }

    /// Skips the first `calls` calls that are selected. A call counts even if another injection is played at it, but not if
    /// a rate limit refuses it.
    pub fn after(mut self, calls: u32) -> Self {
        self.turns.after = calls;
        self
    }

    /// Plays the fault at `calls` calls.
    pub fn times(mut self, calls: u32) -> Self {
        self.turns.times = Some(calls);
        self
    }

    /// Plays the fault at every call that is selected.
    pub fn always(mut self) -> Self {
        self.turns.times = None;
        self
    }

    /// Sets whether the call is carried out before the fault is played. The default is documented at each [`Fault`].
    ///
    /// A call that is not carried out changes nothing at all: not even its `X-Bunq-Client-Request-Id` is used up.
    pub fn carried_out(mut self, carried_out: bool) -> Self {
        self.carried_out = carried_out;
        self
    }

    fn concerns(&self, operation: Option<&Operation>) -> bool {
        self.operation.is_none_or(|id| operation.is_some_and(|operation| operation.id == id))
    }
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

/// The fault that strikes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Struck {
    pub(crate) fault: Fault,
    pub(crate) carried_out: bool,
}

/// The injections that are not used up, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Injections(Vec<Injection>);

impl Injections {
    pub(crate) fn push(&mut self, injection: Injection) {
        self.0.push(injection);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a call in all injections, and returns the fault to play at it.
    pub(crate) fn strike(&mut self, operation: Option<&Operation>) -> Option<Struck> {
        self.0.retain(|injection| !injection.turns.are_over());
        let mut struck = None;
        for injection in self.0.iter_mut().filter(|injection| injection.concerns(operation)) {
            if injection.turns.strike(struck.is_none()) {
                struck = Some(Struck { fault: injection.fault, carried_out: injection.carried_out });
            }
        }
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statuses that are played on calls of these operations.
    fn played<const N: usize>(injections: Vec<Injection>, calls: [Option<&Operation>; N]) -> [Option<u16>; N] {
        let mut injections = Injections(injections);
        calls.map(|operation| match injections.strike(operation)?.fault {
            Fault::Status(status) => Some(status),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn the_first_due_injection_is_played() {
        test_timeout::start();
        let (get, put) = (Some(&Operation::GET_PROVISION), Some(&Operation::UPDATE_PROVISION));
        let status = |status| Injection::new(Fault::Status(status));
        assert_eq!(played(vec![status(1), status(2)], [get, put, get]), [Some(1), Some(2), None]);
        assert_eq!(
            played(vec![status(1).on(&Operation::UPDATE_PROVISION).times(2)], [get, put, None, put, put]),
            [None, Some(1), None, Some(1), None]
        );
        assert_eq!(played(vec![status(1).always(), status(2)], [get, None]), [Some(1), Some(1)]);
        assert_eq!(played(vec![status(1).times(0), status(2)], [get, get]), [Some(2), None]);
    }

    #[test]
    fn passed_calls_are_counted() {
        test_timeout::start();
        let status = |status| Injection::new(Fault::Status(status));
        let injections = vec![status(1).on(&Operation::GET_PROVISION), status(2).after(1), status(3).after(1)];
        let get = Some(&Operation::GET_PROVISION);
        assert_eq!(played(injections, [get; 4]), [Some(1), Some(2), Some(3), None]);
    }
}
