//! The data types of the API.
//!
//! Most are generated from `openapi/bunq-partner.yaml`. A few are written by hand, because they need care when they are
//! read or written: secrets, timestamps, pages, values of an open shape, and the meaning of a provision's
//! statuses. Types of responses are `#[non_exhaustive]`, and their enums have a variant `Unknown` for values that bunq
//! may add. Types of requests accept only what the document allows. This module sends nothing.
//!
//! # Ids
//!
//! Each kind of id is a type, from the document: a positive integer of at most 63 bits. An id comes from a response or is parsed, and
//! is given to a call without conversion.
//!
//! ```
//! use bunq_partner::ProvisionId;
//!
//! let id: ProvisionId = "123".parse()?;
//! assert_eq!(id.get(), 123);
//! assert!(ProvisionId::try_from(-5_i64).is_err());
//! # Ok::<(), bunq_partner::Error>(())
//! ```
//!
//! A call with an id of another kind does not compile:
//!
//! ```compile_fail,E0308
//! # async fn example(api: bunq_partner::Api, device: bunq_partner::types::DeviceServerId) {
//! api.get_provision(device).await;
//! # }
//! ```

mod decoding;
mod drift;
mod id;
mod invalid_value;
mod open_value;
mod page;
mod permitted_ip;
mod provision_status;
mod secret;
mod text_rule;
mod timestamp;
mod unknown_members;

#[allow(dead_code, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/types.rs"));
}

#[allow(unused_imports, reason = "the document may have no list that may be null")]
pub(crate) use self::decoding::list_or_null;
pub(crate) use self::decoding::{
    Object, Plain, from_json, lenient, lenient_list, list, not_null, object, object_or_null,
};
pub(crate) use self::drift::{UnknownValue, collect_unknown, note_unknown};
pub use self::generated::*;
pub(crate) use self::id::{id, id_text};
pub use self::invalid_value::InvalidValue;
pub use self::open_value::OpenValue;
pub(crate) use self::open_value::lenient_open_value;
pub use self::page::{Cursor, Page, PageSize};
pub use self::permitted_ip::{PermittedIp, PermittedIps};
pub(crate) use self::provision_status::Phase;
pub(crate) use self::secret::{REDACTED, SECRET_MEMBERS, redact, redact_members, redacted_as_none};
pub use self::secret::{RequestSecret, Secret, exposed};
pub(crate) use self::text_rule::{Pattern, TextRule, checked_text};
pub use self::timestamp::Timestamp;
#[allow(unused_imports, reason = "the document may have no body that is read and sent again by itself")]
pub(crate) use self::unknown_members::AsSent;
pub(crate) use self::unknown_members::{Keeps, Sent, UnknownMembers, keeping, sent};

/// An item without known members. Its content is discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct EmptyItem {}

#[cfg(test)]
mod tests;
