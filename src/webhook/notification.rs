//! The message of a call.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::hint::{Hint, HintedObject};
use crate::types::{
    self, NotificationCategory, NotificationEventType, NotificationObject, NotifiedInquiry, NotifiedOnboarding,
    NotifiedProvision, OpenValue, Timestamp,
};

/// What bunq says when it calls the target of a notification filter. Nobody has signed it: it is a hint that an object may have changed.
///
/// It holds live keys, such as `credential.token_value` of a provision: keep its [`hint`](Self::hint), not itself and not the body.
/// `Debug` shows no key and nothing about a person. It serializes as bunq has sent it, without the URL of the target, and with
/// `"[redacted]"` in place of each secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Notification {
    /// The kind of the event.
    pub category: NotificationCategory,
    /// The event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<NotificationEventType>,
    /// What the event is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<NotifiedObject>,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum NotifiedObject {
    /// A provision, of which any member may lack.
    #[serde(rename = "PartnerUserProvision")]
    Provision(Box<NotifiedProvision>),
    /// The onboarding of a user, of which any member may lack.
    #[serde(rename = "UserOnboarding")]
    Onboarding(Box<NotifiedOnboarding>),
    /// An inquiry, of which any member may lack.
    #[serde(rename = "UserInformationInquiry")]
    Inquiry(Box<NotifiedInquiry>),
    /// Anything else, whole. It serializes with `"[redacted]"` in place of each member that has the name of a secret.
    #[serde(untagged)]
    Other(OpenValue),
}

/// Why a body is no notification. It repeats nothing of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidNotification {
    /// It has more than [`Notification::MAX_LEN`] bytes.
    TooLong,
    /// It has more than [`Notification::MAX_DEPTH`] objects and lists inside each other.
    TooDeep,
    /// It has more than [`Notification::MAX_MEMBERS`] members and items.
    TooManyMembers,
    /// It is not JSON.
    NotJson,
    /// It is not an object `NotificationUrl` with a category.
    NotNotification,
}

impl fmt::Display for InvalidNotification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body is no notification of bunq's: ")?;
        match self {
            Self::TooLong => write!(f, "it is longer than {} bytes", Notification::MAX_LEN),
            Self::TooDeep => write!(f, "it is deeper than {} objects and lists", Notification::MAX_DEPTH),
            Self::TooManyMembers => write!(f, "it has more than {} members and items", Notification::MAX_MEMBERS),
            Self::NotJson => f.write_str("it is not JSON"),
            Self::NotNotification => f.write_str("it has no `NotificationUrl` with a `category`"),
        }
    }
}

impl std::error::Error for InvalidNotification {}

impl Notification {
    /// The greatest length of a body, in bytes: thirty times that of those that bunq documents.
    pub const MAX_LEN: usize = 64 * 1024;

    /// How many objects and lists a body may have inside each other.
    pub const MAX_DEPTH: usize = 32;

    /// How many members and items a body may have.
    pub const MAX_MEMBERS: usize = 4096;

    /// Reads the body of a call.
    ///
    /// Whatever lacks, and whatever category, event or object this version does not know, is no failure: what is not read as a provision,
    /// an onboarding or an inquiry is kept whole. An odd value of a member reads as absent.
    ///
    /// # Errors
    ///
    /// If the body is no notification, or larger than one may be.
    pub fn from_bytes(body: &[u8]) -> Result<Self, InvalidNotification> {
        check_bounds(body)?;
        let Call { event } = types::from_json(body).map_err(|error| {
            if error.is_data() { InvalidNotification::NotNotification } else { InvalidNotification::NotJson }
        })?;
        let object = event.object.map(NotifiedObject::read).transpose()?;
        let event_type = event.event_type.and_then(|event| serde_json::from_str(event.get()).ok());
        Ok(Self { category: event.category, event_type, object })
    }

    /// What of it may be kept, and acted on.
    pub fn hint(&self, arrived: Timestamp) -> Hint {
        let (object, user_id, updated) = match &self.object {
            Some(NotifiedObject::Provision(provision)) => {
                (provision.id.map(HintedObject::Provision), None, provision.updated)
            }
            Some(NotifiedObject::Onboarding(onboarding)) => {
                (onboarding.id.map(HintedObject::Onboarding), onboarding.user_id, onboarding.updated)
            }
            Some(NotifiedObject::Inquiry(inquiry)) => {
                (inquiry.id.map(HintedObject::Inquiry), inquiry.user_id, inquiry.updated)
            }
            Some(NotifiedObject::Other(object)) => (object_of(object), None, None),
            None => (None, None, None),
        };
        let (category, event_type) = (Some(self.category.clone()), self.event_type.clone());
        Hint { category, event_type, object, user_id, updated, arrived }.bounded()
    }
}

impl NotifiedObject {
    fn read(object: &RawValue) -> Result<Self, InvalidNotification> {
        let known = types::from_json::<NotificationObject>(object.get().as_bytes()).unwrap_or_default();
        Ok(match (known.partner_user_provision, known.user_onboarding, known.user_information_inquiry) {
            (Some(provision), None, None) => Self::Provision(provision.into()),
            (None, Some(onboarding), None) => Self::Onboarding(onboarding.into()),
            (None, None, Some(inquiry)) => Self::Inquiry(inquiry.into()),
            _ => Self::Other(OpenValue::of_any_length(object).map_err(|_| InvalidNotification::NotJson)?),
        })
    }
}

/// Which object it is, if it is one under the name of its kind, with an id.
fn object_of(object: &OpenValue) -> Option<HintedObject> {
    #[derive(Deserialize)]
    struct Identified {
        id: u64,
    }
    let members: BTreeMap<String, Identified> = serde_json::from_str(object.as_json()).ok()?;
    let [(kind, object)] = &members.iter().collect::<Vec<_>>()[..] else { return None };
    HintedObject::of(Some(kind), object.id)
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow, rename = "NotificationUrl", deserialize_with = "types::object")]
    event: Event<'a>,
}

#[derive(Deserialize)]
struct Event<'a> {
    category: NotificationCategory,
    #[serde(borrow, default)]
    event_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
}

/// Counts before anything is read, so that neither memory nor stack depends on more than these bounds.
fn check_bounds(body: &[u8]) -> Result<(), InvalidNotification> {
    if body.len() > Notification::MAX_LEN {
        return Err(InvalidNotification::TooLong);
    }
    let (mut depth, mut members, mut is_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in body {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' | b'[' => {
                depth += 1;
                members += 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => members += 1,
            _ => {}
        }
        if depth > Notification::MAX_DEPTH {
            return Err(InvalidNotification::TooDeep);
        }
        if members > Notification::MAX_MEMBERS {
            return Err(InvalidNotification::TooManyMembers);
        }
    }
    Ok(())
}
