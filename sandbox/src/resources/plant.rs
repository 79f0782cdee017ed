//! How what a user of a seed has gets into the bank.

use jiff::Timestamp;

use crate::bank::Bank;

/// An object of one kind that a user of a seed has.
pub(crate) trait Plant {
    /// Gives it to the user, whose id is that of paths. An error says why there can be no such object.
    fn plant(&self, bank: &mut Bank, user: u64, now: Timestamp) -> Result<(), String>;
}
