//! What a call tells: an event, and the object that it is about, with its live keys.

use bunq_partner::types::InquiryStatus;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::bank::Bank;
use crate::objects::inquiry::Inquiry;
use crate::objects::notifications::{Failure, Filter};
use crate::objects::table::Stored;
use crate::resources::provisions::table::item;
use crate::resources::{inquiries, onboarding};
use crate::settings::NotificationBody;

pub(crate) const PROVISION: &str = "PARTNER_USER_PROVISION";
pub(crate) const ONBOARDING: &str = "USER_ONBOARDING";
pub(crate) const INQUIRY: &str = "USER_INFORMATION_INQUIRY";
const SUPPORT: &str = "SUPPORT";

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) category: String,
    pub(crate) event_type: String,
    /// The user that it is about, as paths have it.
    pub(crate) user: u64,
    pub(crate) object_id: u64,
}

/// A call about an event to one target. Its body holds live keys, so it has no `Debug`.
pub(crate) struct Call {
    pub(crate) event: Event,
    /// The user whose filter it is.
    pub(crate) owner: u64,
    pub(crate) target: String,
    pub(crate) asks_for_certificate: bool,
    pub(crate) body: Bytes,
}

impl Event {
    pub(crate) fn of_provision(user: u64, object_id: u64) -> Self {
        let event_type = "PARTNER_USER_PROVISION_PROCESS_UPDATED".to_owned();
        Self { category: PROVISION.to_owned(), event_type, user, object_id }
    }

    pub(crate) fn of_onboarding(user: u64, object_id: u64) -> Self {
        let event_type = "USER_ONBOARDING_UPDATED".to_owned();
        Self { category: ONBOARDING.to_owned(), event_type, user, object_id }
    }

    pub(crate) fn of_inquiry(user: u64, object_id: u64, status: &InquiryStatus) -> Self {
        Self { category: INQUIRY.to_owned(), event_type: format!("{INQUIRY}_{status}"), user, object_id }
    }

    /// An event of this category about a provision, or the newest object that its user has; `None`: there is none.
    pub(crate) fn now(bank: &mut Bank, category: &str, provision: u64) -> Option<Self> {
        let now = bank.clock.now();
        let user = bank.provisions.get(provision, now, &mut bank.numbers)?.user(now, &mut bank.numbers).api_key;
        Some(match category {
            PROVISION => Self::of_provision(user, provision),
            ONBOARDING => Self::of_onboarding(user, bank.objects.onboardings.of(user).next_back()?.id),
            INQUIRY => {
                let is_open = |inquiry: &&Stored<Inquiry>| inquiry.content.opens <= now;
                let inquiry = bank.objects.inquiries.of(user).rfind(is_open)?;
                Self::of_inquiry(user, inquiry.id, &inquiry.content.status())
            }
            _ => {
                let event_type = match category {
                    SUPPORT => "SUPPORT_MESSAGE_USER_TEXT_RECEIVED".to_owned(),
                    _ => format!("{category}_UPDATED"),
                };
                Self { category: category.to_owned(), event_type, user, object_id: user }
            }
        })
    }

    fn of_failure(failure: &Failure) -> Self {
        let Failure { user, category, event_type, object_id, .. } = failure;
        Self { category: category.clone(), event_type: event_type.clone(), user: *user, object_id: *object_id }
    }

    /// The user whose filters report it: provisions are reported to the partner, everything else to the user.
    fn owner(&self, bank: &Bank) -> u64 {
        if self.category == PROVISION { bank.partner } else { self.user }
    }

    /// The calls about it, one for each target that has asked for its category.
    pub(crate) fn calls(&self, bank: &mut Bank) -> Vec<Call> {
        let targets: Vec<_> = filters(bank, self.owner(bank), &self.category).map(target).collect();
        targets.into_iter().filter_map(|(target, asks)| self.call(bank, target, asks)).collect()
    }

    /// The call of a failed delivery, with the object as it is now; `None`: there is no such object any more.
    pub(crate) fn call_again(bank: &mut Bank, failure: Failure) -> Option<Call> {
        let event = Self::of_failure(&failure);
        let is_one = |(target, asks)| asks && target == failure.target;
        let asks = filters(bank, event.owner(bank), &event.category).map(target).any(is_one);
        event.call(bank, failure.target, asks)
    }

    fn call(&self, bank: &mut Bank, target: String, asks_for_certificate: bool) -> Option<Call> {
        let now = bank.clock.now();
        let body = json!({
            "NotificationUrl": {
                "target_url": target,
                "category": self.category,
                "event_type": self.event_type,
                "object": self.object(bank, now)?,
            },
        });
        let (owner, body) = (self.owner(bank), body.to_string().into());
        Some(Call { event: self.clone(), owner, target, asks_for_certificate, body })
    }

    fn object(&self, bank: &mut Bank, now: Timestamp) -> Option<Value> {
        let is_thin = bank.settings.profile.notification_body == NotificationBody::Thin;
        Some(match self.category.as_str() {
            PROVISION => {
                let whole = bank.provisions.get(self.object_id, now, &mut bank.numbers)?.show(now);
                item(if is_thin { thin_provision(&whole) } else { whole })
            }
            ONBOARDING => {
                let stored = bank.objects.onboardings.get(self.user, self.object_id).ok()?;
                onboarding::show(bank, stored, self.user)
            }
            INQUIRY => {
                let stored = bank.objects.inquiries.get(self.user, self.object_id).ok()?;
                if is_thin { thin_inquiry(stored) } else { inquiries::shown(stored) }
            }
            // Of other categories the sandbox has no objects.
            _ => json!({}),
        })
    }
}

/// The filters of a user for a category.
fn filters<'a>(bank: &'a Bank, owner: u64, category: &str) -> impl Iterator<Item = &'a Filter> {
    let all = bank.objects.notification_filters.of(owner).map(|filter| &filter.content);
    all.filter(move |filter| filter.0.get("category").is_some_and(|name| name == category))
}

/// The target of a filter, and whether it asks for a client certificate.
fn target(filter: &Filter) -> (String, bool) {
    let members: &Map<_, _> = &filter.0;
    let text = |name| members.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let verifications = members.get("all_verification_type").and_then(Value::as_array);
    let asks = verifications.is_some_and(|all| all.iter().any(|one| one == "BUNQ_CERTIFICATE"));
    (text("notification_target"), asks)
}

/// The form of one of bunq's sources, without user, products and credential.
fn thin_provision(whole: &Value) -> Value {
    let members = ["id", "external_uuid", "status", "sub_status", "action_required"];
    members.into_iter().map(|name| (name.to_owned(), whole[name].clone())).collect()
}

/// The form of one of bunq's sources, with other names and statuses.
fn thin_inquiry(inquiry: &Stored<Inquiry>) -> Value {
    let status = inquiry.content.status();
    let status = match &status {
        InquiryStatus::ExpectingReplyFromUser => "PENDING_USER_REPLY",
        InquiryStatus::ExpectingReplyFromBunq => "PENDING_BUNQ_REVIEW",
        other => other.as_str(),
    };
    json!({
        "UserInformationInquiry": {
            "id": inquiry.id,
            "user_id": inquiry.content.person,
            "inquiry_type": "COMPLIANCE_CHECK",
            "message": "Please provide additional documentation",
            "status": status,
        },
    })
}
