//! Faults of deliveries: what goes wrong on purpose with a call that bunq makes.

use std::time::Duration;

use bunq_partner::types::NotificationCategory;

use crate::wire::injection::Turns;

/// Something that goes wrong with one call to the target of a notification filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryFault {
    /// The call is made this long after the event, by the bank's clock. It tells what was so at the event.
    Late(Duration),
    /// The call is made twice, one after the other.
    Doubled,
    /// The call is made after the next one to the same target, or when a second try would be due, if there is none before.
    Reordered,
    /// The call is not made, and no failure is stored.
    Lost,
    /// In the first try the connection is closed in the middle of the body. The try counts as failed.
    Cut,
    /// In the first try the body is sent a byte at a time, each after this pause.
    Slow(Duration),
}

/// A [`DeliveryFault`], and the calls that it is played at: by default the next call, of any category.
///
/// ```
/// use bunq_partner::types::NotificationCategory;
/// use bunq_partner_sandbox::{DeliveryFault, DeliveryInjection};
///
/// // The second and the third call about a provision never come.
/// let lost = DeliveryInjection::new(DeliveryFault::Lost).on(NotificationCategory::PartnerUserProvision).after(1).times(2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an injection does nothing until a sandbox has it"]
pub struct DeliveryInjection {
    fault: DeliveryFault,
    /// `None`: any.
    category: Option<NotificationCategory>,
    turns: Turns,
}

impl DeliveryInjection {
    /// Plays `fault` once, at the next call.
    pub fn new(fault: DeliveryFault) -> Self {
        Self { fault, category: None, turns: Turns::ONCE }
    }

    /// Selects only calls of this category.
    pub fn on(mut self, category: NotificationCategory) -> Self {
        self.category = Some(category);
        self
    }

    /// Skips the first `calls` calls that are selected. Further tries of a call do not count.
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
}

impl From<DeliveryFault> for DeliveryInjection {
    fn from(fault: DeliveryFault) -> Self {
        Self::new(fault)
    }
}

/// The injections that are not used up, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeliveryInjections(Vec<DeliveryInjection>);

impl DeliveryInjections {
    pub(crate) fn push(&mut self, injection: DeliveryInjection) {
        self.0.push(injection);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a call in all injections, and returns the fault to play at it.
    pub(crate) fn strike(&mut self, category: &str) -> Option<DeliveryFault> {
        self.0.retain(|injection| !injection.turns.are_over());
        let mut struck = None;
        for injection in &mut self.0 {
            let is_selected = injection.category.as_ref().is_none_or(|one| one.as_str() == category);
            if is_selected && injection.turns.strike(struck.is_none()) {
                struck = Some(injection.fault);
            }
        }
        struck
    }
}
