//! The calls that bunq makes by itself: what has changed is told to the targets of notification filters.
//!
//! The watch finds what has changed, the calls are composed at that moment, and the queue says when each try is due. The worker makes
//! the tries. Calls are not part of the saved state, because their bodies hold live keys.

pub(crate) mod fault;
pub(crate) mod message;
pub(crate) mod queue;
pub(crate) mod sending;
pub(crate) mod sent_log;
pub(crate) mod target;
pub(crate) mod trigger;
mod watch;
pub(crate) mod worker;
