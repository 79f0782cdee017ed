//! What bunq asks of users, and how far the answers are.

use std::time::Duration;

use bunq_partner::types::{
    AttachmentId, InquiryEntryStatus, InquiryEntryType, InquiryPurpose, InquiryStatus, InquiryType,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::table::Object;
use crate::clock::after;
use crate::settings::{Pace, RejectedEntry, Review};

/// An inquiry. Nobody sees it before it opens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Inquiry {
    /// The person or the company that is asked.
    pub(crate) person: u64,
    pub(crate) kind: InquiryType,
    pub(crate) purpose: InquiryPurpose,
    pub(crate) opens: Timestamp,
    pub(crate) expiry: Option<Timestamp>,
    pub(crate) entries: Vec<Entry>,
}

/// One thing that is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) kind: InquiryEntryType,
    pub(crate) status: InquiryEntryStatus,
    pub(crate) submitted: Vec<Value>,
    pub(crate) reject_reason: Option<String>,
    pub(crate) updated: Timestamp,
    /// What the reviews of its answers come to, in their order. Later ones approve.
    pub(crate) reviews: Vec<Review>,
    /// When it got its last answer, and whether that has been shown.
    pub(crate) answered: Option<Timestamp>,
    pub(crate) is_shown: bool,
}

impl Object for Inquiry {
    const NAME: &'static str = "inquiry";
}

impl Inquiry {
    pub(crate) fn status(&self) -> InquiryStatus {
        let is_any = |status: &InquiryEntryStatus| self.entries.iter().any(|entry| entry.status == *status);
        if is_any(&InquiryEntryStatus::Pending) {
            InquiryStatus::ExpectingReplyFromUser
        } else if is_any(&InquiryEntryStatus::Submitted) || is_any(&InquiryEntryStatus::WaitingForReview) {
            InquiryStatus::ExpectingReplyFromBunq
        } else {
            InquiryStatus::Finalized
        }
    }

    /// Does what is due by now: entries that nobody has answered in time are cancelled, and answers are reviewed. Returns whether
    /// anything has changed.
    pub(crate) fn catch_up(&mut self, pace: Pace, rejected: RejectedEntry, now: Timestamp) -> bool {
        let is_over = self.expiry.is_some_and(|expiry| expiry <= now);
        let mut is_changed = false;
        for entry in &mut self.entries {
            let is_due = match pace {
                Pace::EachRead => entry.is_shown,
                Pace::Manual => false,
                Pace::Every(step) => entry.answered.is_some_and(|answered| after(answered, step) <= now),
            };
            if entry.is_waiting() && is_due {
                entry.review(None, rejected, now);
                is_changed = true;
            }
            if is_over && entry.status == InquiryEntryStatus::Pending {
                (entry.status, entry.updated) = (InquiryEntryStatus::Cancelled, now);
                is_changed = true;
            }
        }
        is_changed
    }

    /// When something of it changes by itself.
    pub(crate) fn changes(&self, pace: Pace) -> Vec<Timestamp> {
        let reviews = self.entries.iter().filter(|entry| entry.is_waiting()).filter_map(|entry| match pace {
            Pace::Every(step) => Some(after(entry.answered?, step)),
            Pace::EachRead | Pace::Manual => None,
        });
        reviews.chain(self.expiry).chain([self.opens]).collect()
    }

    /// Notes that bunq has shown it: the next read moves on what waits. Returns whether anything has changed.
    pub(crate) fn note_shown(&mut self) -> bool {
        let waiting = self.entries.iter_mut().filter(|entry| entry.is_waiting() && !entry.is_shown);
        waiting.map(|entry| entry.is_shown = true).count() > 0
    }
}

impl Entry {
    fn is_waiting(&self) -> bool {
        self.status == InquiryEntryStatus::WaitingForReview
    }

    pub(crate) fn answer(&mut self, attachments: &[AttachmentId], text: Option<&str>, now: Timestamp) {
        let files = attachments.iter().map(|id| json!({ "type": "ATTACHMENT", "value": id }));
        self.submitted = files.chain(text.map(|text| json!({ "type": "FREE_TEXT", "value": text }))).collect();
        self.status = InquiryEntryStatus::WaitingForReview;
        (self.reject_reason, self.updated) = (None, now);
        (self.answered, self.is_shown) = (Some(now), false);
    }

    /// Reviews its answer with this result, or with the next one of its own. Returns whether there is an answer.
    pub(crate) fn review(&mut self, review: Option<Review>, rejected: RejectedEntry, now: Timestamp) -> bool {
        if !self.is_waiting() {
            return false;
        }
        let own = if self.reviews.is_empty() { Review::Approved } else { self.reviews.remove(0) };
        let review = review.unwrap_or(own);
        self.updated = now;
        self.status = match review {
            Review::Approved => InquiryEntryStatus::Approved,
            Review::AutoApproved => InquiryEntryStatus::AutoApproved,
            Review::AutoRejected => InquiryEntryStatus::AutoRejected,
            Review::Rejected => InquiryEntryStatus::Rejected,
        };
        if matches!(review, Review::Rejected | Review::AutoRejected) {
            self.reject_reason = Some("The answer does not say what was asked.".to_owned());
            if rejected == RejectedEntry::AskedAgain {
                self.status = InquiryEntryStatus::Pending;
            }
        }
        true
    }
}

/// An inquiry that bunq opens: see [`Sandbox::inquire`](crate::Sandbox::inquire).
///
/// ```
/// use bunq_partner_sandbox::SeedInquiry;
///
/// let inquiry: SeedInquiry = serde_json::from_str(
///     r#"{"entries": [{"type": "USER_PERSON_SOURCE_OF_FUND", "reviews": ["REJECTED"]}], "expires_in_seconds": 3600}"#,
/// )?;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SeedInquiry {
    /// What bunq asks. An inquiry has at least one entry.
    pub entries: Vec<SeedInquiryEntry>,
    /// What it is about; without it `USER_PERSON`.
    #[serde(default = "person", rename = "type")]
    pub kind: InquiryType,
    /// Why bunq asks; without it `ONBOARDING`.
    #[serde(default = "onboarding")]
    pub purpose: InquiryPurpose,
    /// How many seconds later it opens. Nobody sees it before.
    #[serde(default)]
    pub opens_in_seconds: u64,
    /// How many seconds after that it expires; without it it does not. What is not answered by then is `CANCELLED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// One thing that bunq asks in a [`SeedInquiry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SeedInquiryEntry {
    /// What is asked for.
    #[serde(rename = "type")]
    pub kind: InquiryEntryType,
    /// How far it is; without it `PENDING`.
    #[serde(default = "pending")]
    pub status: InquiryEntryStatus,
    /// What the reviews of its answers come to, in their order. Later ones approve.
    #[serde(default)]
    pub reviews: Vec<Review>,
}

fn person() -> InquiryType {
    InquiryType::UserPerson
}

fn pending() -> InquiryEntryStatus {
    InquiryEntryStatus::Pending
}

fn onboarding() -> InquiryPurpose {
    InquiryPurpose::Onboarding
}

impl SeedInquiry {
    /// An inquiry with an entry for each of these things, whose answers are approved.
    pub fn new(kinds: impl IntoIterator<Item = InquiryEntryType>) -> Self {
        let entry = |kind| SeedInquiryEntry { kind, status: pending(), reviews: Vec::new() };
        let entries = kinds.into_iter().map(entry).collect();
        let (kind, purpose) = (person(), onboarding());
        Self { entries, kind, purpose, opens_in_seconds: 0, expires_in_seconds: None }
    }

    /// Reviews the answers to each entry with these results, in their order.
    #[must_use]
    pub fn reviews(mut self, reviews: impl IntoIterator<Item = Review>) -> Self {
        let reviews: Vec<_> = reviews.into_iter().collect();
        for entry in &mut self.entries {
            entry.reviews.clone_from(&reviews);
        }
        self
    }

    /// Why there can be no such inquiry, if so.
    pub(crate) fn problem(&self) -> Option<String> {
        let unknown = self.entries.iter().find(|entry| !InquiryEntryStatus::KNOWN.contains(&entry.status));
        match unknown {
            Some(entry) => Some(format!("an entry has no status {}", entry.status)),
            None => self.entries.is_empty().then(|| "an inquiry has at least one entry".to_owned()),
        }
    }

    /// The inquiry of this person, which opens at this time or later.
    pub(crate) fn open(self, person: u64, now: Timestamp, id: impl FnMut() -> u64) -> Inquiry {
        let opens = after(now, Duration::from_secs(self.opens_in_seconds));
        let expiry = self.expires_in_seconds.map(|seconds| after(opens, Duration::from_secs(seconds)));
        let entry = |(SeedInquiryEntry { kind, status, reviews }, id)| {
            let answered = (status == InquiryEntryStatus::WaitingForReview).then_some(now);
            let (submitted, reject_reason, is_shown) = (Vec::new(), None, false);
            Entry { id, kind, status, submitted, reject_reason, updated: opens, reviews, answered, is_shown }
        };
        let entries = self.entries.into_iter().zip(std::iter::repeat_with(id)).map(entry).collect();
        Inquiry { person, kind: self.kind, purpose: self.purpose, opens, expiry, entries }
    }
}
