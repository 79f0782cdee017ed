//! What is kept of provisioned users, so that a program can act for them after a restart.
//!
//! A [`Custody`] keeps one text for each user, which [`record`] makes: the token of its credential, which bunq shows only once,
//! the context of its session, and the requests that must not be sent twice unnoticed. [`Kept`] is one user's place in a custody;
//! everything above this layer goes through it. It caches nothing: what nobody uses costs nothing, and several processes may
//! share a custody that allows it.

mod file_custody;
mod head;
mod index;
mod interface;
mod kept;
mod memory;
mod record;
mod step_list;
mod steps;
mod turns;
mod user_folder;

pub use self::file_custody::FileCustody;
pub(crate) use self::index::Granted;
pub use self::interface::{Custody, CustodyEntry, CustodyFilter};
pub(crate) use self::kept::{Kept, NewToken, Records};
pub use self::memory::MemoryCustody;
pub(crate) use self::record::{CLOCK_TOLERANCE, REMEDY, UserRecord};
pub(crate) use self::step_list::Step;
pub(crate) use self::steps::Steps;

#[cfg(test)]
mod tests;
