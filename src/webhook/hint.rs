//! What may be kept of a call, and acted on: which object it is about.

use serde::{Deserialize, Serialize};

use crate::types::{
    NotificationCategory, NotificationEventType, ProvisionId, Timestamp, UserId, UserInformationInquiryId,
    UserOnboardingId,
};

/// The greatest length of all names of a hint together, in bytes. All that the document knows fit.
const MAX_NAMES: usize = 84;

/// What of a call may be kept, and acted on. It is what the call claims: read the object before you believe it.
///
/// It has no key and nothing about a person, and its JSON has at most [`MAX_LEN`](Self::MAX_LEN) bytes. Names that the document does not
/// know are kept if they look like bunq's, and as far as there is room: first the category, then the kind of the object, then the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Encoded", try_from = "Encoded")]
#[non_exhaustive]
pub struct Hint {
    /// The kind of the event.
    pub category: Option<NotificationCategory>,
    /// The event.
    pub event_type: Option<NotificationEventType>,
    /// The object that the event is about. `None` if it has no id.
    pub object: Option<HintedObject>,
    /// The user that the object names, as the body claims. `None` for a provision. Of an inquiry it is the person or the company, while
    /// paths take the id of the `UserApiKey`. Of an onboarding bunq does not say which of the two it is.
    pub user_id: Option<UserId>,
    /// When the object was last changed, exact to the microsecond.
    pub updated: Option<Timestamp>,
    /// When the call arrived, exact to the millisecond.
    pub arrived: Timestamp,
}

/// The object that a call is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HintedObject {
    /// A provision.
    Provision(ProvisionId),
    /// The onboarding of a user.
    Onboarding(UserOnboardingId),
    /// An inquiry.
    Inquiry(UserInformationInquiryId),
    /// An object that no operation of the document reads.
    Other {
        /// bunq's name of its kind, as in `Payment`. `None` if it is not told: a failed delivery has the category and the id alone.
        kind: Option<String>,
        /// Its id.
        id: u64,
    },
}

impl HintedObject {
    /// The object of a kind, by bunq's name or by the one in an encoded hint. `None` if the id can be none of bunq's, or the kind
    /// does not look like one of bunq's.
    pub(in crate::webhook) fn of(kind: Option<&str>, id: u64) -> Option<Self> {
        match kind {
            Some("provision" | "PartnerUserProvision") => id.try_into().ok().map(Self::Provision),
            Some("onboarding" | "UserOnboarding") => id.try_into().ok().map(Self::Onboarding),
            Some("inquiry" | "UserInformationInquiry") => id.try_into().ok().map(Self::Inquiry),
            // The ids of all kinds have one rule.
            _ if ProvisionId::try_from(id).is_err() || !kind.is_none_or(is_kind) => None,
            _ => Some(Self::Other { kind: kind.map(str::to_owned), id }),
        }
    }

    pub(in crate::webhook) fn kind(&self) -> Option<&str> {
        match self {
            Self::Provision(_) => Some("provision"),
            Self::Onboarding(_) => Some("onboarding"),
            Self::Inquiry(_) => Some("inquiry"),
            Self::Other { kind, .. } => kind.as_deref(),
        }
    }

    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Provision(id) => id.get(),
            Self::Onboarding(id) => id.get(),
            Self::Inquiry(id) => id.get(),
            Self::Other { id, .. } => *id,
        }
    }
}

impl Hint {
    /// The greatest length of a hint as JSON, in bytes.
    pub const MAX_LEN: usize = 172;

    /// The same hint without the names that must not be kept, and with its times as they are kept.
    pub(in crate::webhook) fn bounded(mut self) -> Self {
        let mut room = MAX_NAMES;
        let mut fits = |name: &str| {
            let fits = name.len() <= room;
            room -= if fits { name.len() } else { 0 };
            fits
        };
        self.category = self.category.filter(|category| is_constant(category.as_str()) && fits(category.as_str()));
        self.object = self.object.filter(|object| object.kind().is_none_or(&mut fits));
        self.event_type = self.event_type.filter(|event| is_constant(event.as_str()) && fits(event.as_str()));
        self.updated = self.updated.and_then(|updated| microsecond(updated.as_jiff().as_microsecond()));
        self.arrived = millisecond(self.arrived.as_jiff().as_millisecond()).unwrap_or(self.arrived);
        self
    }
}

/// Whether a name looks like one of bunq's categories and events. bunq's keys do not.
fn is_constant(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

/// Whether a name looks like one of bunq's kinds of objects.
fn is_kind(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn millisecond(count: i64) -> Option<Timestamp> {
    jiff::Timestamp::from_millisecond(count).ok().map(Timestamp::from)
}

pub(super) fn microsecond(count: i64) -> Option<Timestamp> {
    jiff::Timestamp::from_microsecond(count).ok().map(Timestamp::from)
}

/// A hint as JSON: a list of category, event, kind, id, user, microseconds of `updated`, milliseconds of `arrived`.
type Encoded = (
    Option<NotificationCategory>,
    Option<NotificationEventType>,
    Option<String>,
    Option<u64>,
    Option<UserId>,
    Option<i64>,
    i64,
);

impl From<Hint> for Encoded {
    fn from(hint: Hint) -> Self {
        let Hint { category, event_type, object, user_id, updated, arrived } = hint.bounded();
        let kind = object.as_ref().and_then(HintedObject::kind).map(str::to_owned);
        let id = object.map(|object| object.id());
        let updated = updated.map(|updated| updated.as_jiff().as_microsecond());
        (category, event_type, kind, id, user_id, updated, arrived.as_jiff().as_millisecond())
    }
}

impl TryFrom<Encoded> for Hint {
    type Error = &'static str;

    fn try_from((category, event_type, kind, id, user_id, updated, arrived): Encoded) -> Result<Self, &'static str> {
        let object = id.map(|id| HintedObject::of(kind.as_deref(), id).ok_or("a hint has no such object"));
        let updated = updated.map(|count| microsecond(count).ok_or("a hint has no such `updated`"));
        let arrived = millisecond(arrived).ok_or("a hint has no such time of arrival")?;
        let hint =
            Self { category, event_type, object: object.transpose()?, user_id, updated: updated.transpose()?, arrived };
        Ok(hint.bounded())
    }
}
