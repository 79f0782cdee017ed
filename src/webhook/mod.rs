//! What bunq sends to the target of a notification filter.
//!
//! bunq does not sign its calls, and their bodies hold live keys. So a call is a hint: it says that an object may have changed, and the
//! object is read over the API. [`Notification`] is the message of a call, and [`Hint`] what of it may be kept: which object it is
//! about, without keys and without anything about a person.
//!
//! With the feature `webhook`, a `HintJournal` keeps hints until they are done, over crashes too (`FileHintJournal` does so in a file), and a
//! `Receiver` takes bunq's calls and answers when the journal has them.
//!
//! ```
//! use bunq_partner::Timestamp;
//! use bunq_partner::webhook::{HintedObject, Notification};
//!
//! let body = br#"{"NotificationUrl": {
//!     "category": "PARTNER_USER_PROVISION",
//!     "event_type": "PARTNER_USER_PROVISION_PROCESS_UPDATED",
//!     "object": {"PartnerUserProvision": {"id": 123, "credential": {"token_value": "example_user_key"}}}
//! }}"#;
//! let notification = Notification::from_bytes(body)?;
//! assert!(!format!("{notification:?}").contains("example_user_key"));
//!
//! let arrived = "2025-08-13 14:45:25".parse::<Timestamp>()?;
//! let Some(HintedObject::Provision(id)) = notification.hint(arrived).object else { panic!("it is about a provision") };
//! // Read the provision: `client.provisions().get(id)`.
//! # assert_eq!(id.get(), 123);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "webhook")]
mod changes;
mod hint;
#[cfg(feature = "webhook")]
mod journal;
#[cfg(feature = "webhook")]
mod mark;
mod notification;
#[cfg(feature = "webhook")]
mod receiver;

#[cfg(feature = "webhook")]
pub(crate) use self::changes::Bank;
#[cfg(feature = "webhook")]
pub use self::changes::{Change, ChangedObject, Changes, ChangesBuilder, ChangesNumbers};
pub use self::hint::{Hint, HintedObject};
#[cfg(feature = "webhook")]
pub use self::journal::{Appended, EntryId, FileHintJournal, HintJournal, HintJournalBounds, MemoryHintJournal};
#[cfg(feature = "webhook")]
pub use self::mark::{Mark, MarkedObject};
pub use self::notification::{InvalidNotification, Notification, NotifiedObject};
#[cfg(feature = "webhook")]
pub use self::receiver::{Peer, Receiver, ReceiverBuilder, ReceiverNumbers};
