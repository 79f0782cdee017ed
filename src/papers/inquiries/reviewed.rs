//! Inquiries as a resource that can be waited for: whose turn it is, and what a review has come to.

use std::sync::Arc;

use crate::api::{Api, Response};
use crate::error::Error;
use crate::feed::{Condition, Evaluation, Readable, Resource};
use crate::operation::Operation;
use crate::provisions::WaitingFor;
use crate::types::{
    Cursor, InquiryEntryStatus as EntryStatus, InquiryStatus, ListUserInformationInquiriesQuery, Page, PageSize,
    UserInformationInquiry, UserInformationInquiryEntry, UserInformationInquiryEntryId, UserInformationInquiryId,
};

/// What a review of an answer has come to. The reason of a rejection is `reject_reason` of the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InquiryReview {
    /// bunq's people have approved the answer.
    Approved,
    /// bunq's computer has approved the answer.
    AutoApproved,
    /// bunq's people have rejected the answer.
    Rejected,
    /// bunq's computer has rejected the answer.
    AutoRejected,
    /// bunq has rejected the answer, and waits for another one.
    AskedAgain,
    /// bunq does not ask any more.
    Cancelled,
}

impl UserInformationInquiry {
    /// What is asked, piece by piece. It is empty in the thinner form of an inquiry.
    pub fn entries(&self) -> impl Iterator<Item = &UserInformationInquiryEntry> {
        self.all_entry.iter().filter_map(|item| item.user_information_inquiry_entry.as_ref())
    }

    /// Returns an entry, if the inquiry shows it.
    pub fn entry(&self, id: UserInformationInquiryEntryId) -> Option<&UserInformationInquiryEntry> {
        self.entries().find(|entry| entry.id == id)
    }

    /// Who has to act before the inquiry can go on.
    pub fn waiting_for(&self) -> WaitingFor {
        match &self.status {
            Some(InquiryStatus::ExpectingReplyFromUser | InquiryStatus::PendingUserReply) => WaitingFor::User,
            Some(InquiryStatus::ExpectingReplyFromBunq | InquiryStatus::PendingBunqReview) => WaitingFor::Bunq,
            Some(InquiryStatus::Finalized) => WaitingFor::Nobody,
            Some(InquiryStatus::Unknown(_)) => WaitingFor::Unknown,
            // bunq shows notifications without it.
            None => {
                let is_any = |who| self.entries().any(|entry| entry.waiting_for() == who);
                let first = [WaitingFor::User, WaitingFor::Bunq, WaitingFor::Unknown, WaitingFor::Nobody];
                first.into_iter().find(|who| is_any(*who)).unwrap_or(WaitingFor::Unknown)
            }
        }
    }
}

impl UserInformationInquiryEntry {
    /// Who has to act before the entry can go on.
    pub fn waiting_for(&self) -> WaitingFor {
        match self.status {
            EntryStatus::Pending => WaitingFor::User,
            EntryStatus::Submitted | EntryStatus::WaitingForReview => WaitingFor::Bunq,
            EntryStatus::AutoApproved
            | EntryStatus::AutoRejected
            | EntryStatus::Approved
            | EntryStatus::Rejected
            | EntryStatus::Cancelled => WaitingFor::Nobody,
            EntryStatus::Unknown(_) => WaitingFor::Unknown,
        }
    }

    /// What the review of the last answer has come to; `None` if there is no answer, or no review yet.
    pub fn review(&self) -> Option<InquiryReview> {
        match self.status {
            EntryStatus::Pending => self.reject_reason.as_ref().map(|_| InquiryReview::AskedAgain),
            EntryStatus::Submitted | EntryStatus::WaitingForReview | EntryStatus::Unknown(_) => None,
            EntryStatus::AutoApproved => Some(InquiryReview::AutoApproved),
            EntryStatus::AutoRejected => Some(InquiryReview::AutoRejected),
            EntryStatus::Approved => Some(InquiryReview::Approved),
            EntryStatus::Rejected => Some(InquiryReview::Rejected),
            EntryStatus::Cancelled => Some(InquiryReview::Cancelled),
        }
    }

    /// Whether the entry waits for an answer, and is as it was before.
    pub(super) fn still_waits_as(&self, before: &Self) -> bool {
        self.shows_no_answer_since(before) && self.updated == before.updated
    }

    /// Whether the entry waits for an answer, and shows of none that it has come since. bunq may have touched it nevertheless.
    pub(super) fn shows_no_answer_since(&self, before: &Self) -> bool {
        self.status == EntryStatus::Pending
            && self.reject_reason == before.reject_reason
            && self.all_data_submitted == before.all_data_submitted
    }
}

impl Resource for UserInformationInquiry {
    type Condition = Reviewed;

    fn is_terminal(&self) -> bool {
        self.status == Some(InquiryStatus::Finalized)
    }

    fn progress(&self) -> String {
        /// How many entries a message names.
        const NAMED: usize = 5;
        let status = self.status.as_ref().map_or("no status", InquiryStatus::as_str);
        let named = self.entries().take(NAMED).map(|entry| format!(", entry {} {}", entry.id, entry.status));
        let more = if self.entries().nth(NAMED).is_some() { ", and more" } else { "" };
        format!("{status}{}{more}", named.collect::<String>())
    }
}

impl Readable for UserInformationInquiry {
    type Id = UserInformationInquiryId;
    type State = InquiryStatus;

    const NAME: &'static str = "inquiry";
    const LIST: Option<&'static Operation> = Some(&Operation::LIST_USER_INFORMATION_INQUIRIES);
    const GET: &'static Operation = &Operation::GET_USER_INFORMATION_INQUIRY;

    fn id(&self) -> UserInformationInquiryId {
        self.id
    }

    #[cfg(feature = "webhook")]
    fn updated(&self) -> Option<crate::types::Timestamp> {
        self.updated
    }

    fn state(&self) -> Option<InquiryStatus> {
        self.status.clone().filter(|status| Self::states().contains(status))
    }

    fn states() -> Vec<InquiryStatus> {
        use InquiryStatus::{ExpectingReplyFromBunq, ExpectingReplyFromUser, Finalized};
        vec![ExpectingReplyFromUser, ExpectingReplyFromBunq, Finalized]
    }

    async fn read(api: &Api, id: UserInformationInquiryId) -> Result<Self, Error> {
        api.get_user_information_inquiry(id).await.map(Response::into_inner)
    }

    async fn read_page(api: &Api, states: &[InquiryStatus], cursor: Option<Cursor>) -> Result<Page<Self>, Error> {
        let query = ListUserInformationInquiriesQuery { cursor, ..Default::default() }.status(states.to_vec());
        api.list_user_information_inquiries(query.count(PageSize::MAX)).await.map(Response::into_inner)
    }
}

/// bunq has looked at what was answered.
#[derive(Debug, Clone)]
pub struct Reviewed {
    /// The entry that is waited for, as it was before its answer; `None`: all that have an answer.
    pub(super) answered: Option<Arc<UserInformationInquiryEntry>>,
}

impl Condition<UserInformationInquiry> for Reviewed {
    fn name(&self) -> &'static str {
        "reviewed"
    }

    fn pending(&self) -> Vec<InquiryStatus> {
        vec![InquiryStatus::ExpectingReplyFromBunq, InquiryStatus::ExpectingReplyFromUser]
    }

    fn ends(&self) -> Vec<InquiryStatus> {
        vec![InquiryStatus::Finalized]
    }

    fn evaluate(&self, seen: &UserInformationInquiry) -> Evaluation {
        let Some(before) = &self.answered else {
            let is_reviewed = |who| matches!(who, WaitingFor::User | WaitingFor::Nobody);
            let are_reviewed = seen.entries().all(|entry| is_reviewed(entry.waiting_for()));
            return match is_reviewed(seen.waiting_for()) && are_reviewed {
                true => Evaluation::Met,
                false if seen.is_terminal() => NOT_REVIEWED,
                false => Evaluation::Pending,
            };
        };
        match seen.entry(before.id) {
            None if seen.is_terminal() => NOT_REVIEWED,
            // The thinner form has no entries.
            None => Evaluation::Pending,
            // bunq may show it as it was for a while, or touch it before it shows the answer.
            Some(entry)
                if !seen.is_terminal()
                    && entry.shows_no_answer_since(before)
                    && (entry.updated == before.updated || entry.reject_reason.is_none()) =>
            {
                Evaluation::Pending
            }
            Some(entry) => match entry.waiting_for() {
                WaitingFor::User | WaitingFor::Nobody => Evaluation::Met,
                WaitingFor::Bunq | WaitingFor::Unknown if seen.is_terminal() => NOT_REVIEWED,
                WaitingFor::Bunq | WaitingFor::Unknown => Evaluation::Pending,
            },
        }
    }
}

const NOT_REVIEWED: Evaluation = Evaluation::Unattainable("it is over, and bunq does not show what came of the answer");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_state_matches_no_known_state() {
        test_timeout::start();
        let of_inquiry = |members: &str| -> UserInformationInquiry {
            serde_json::from_str(&format!(r#"{{"id": 7{members}}}"#)).unwrap()
        };
        for (members, waiting_for) in [
            ("", WaitingFor::Unknown),
            (r#", "status": "PAUSED""#, WaitingFor::Unknown),
            (r#", "status": "PENDING_USER_REPLY""#, WaitingFor::User),
            (r#", "status": "PENDING_BUNQ_REVIEW""#, WaitingFor::Bunq),
            (r#", "status": "FINALIZED""#, WaitingFor::Nobody),
            (r#", "all_entry": [{"UserInformationInquiryEntry": {"id": 1, "status": "PENDING"}}]"#, WaitingFor::User),
            (r#", "all_entry": [{"UserInformationInquiryEntry": {"id": 1, "status": "LOST"}}]"#, WaitingFor::Unknown),
        ] {
            assert_eq!(of_inquiry(members).waiting_for(), waiting_for, "{members}");
        }
        for (status, waiting_for, review) in [
            ("PENDING", WaitingFor::User, None),
            ("SUBMITTED", WaitingFor::Bunq, None),
            ("AUTO_REJECTED", WaitingFor::Nobody, Some(InquiryReview::AutoRejected)),
            ("CANCELLED", WaitingFor::Nobody, Some(InquiryReview::Cancelled)),
            ("LOST", WaitingFor::Unknown, None),
        ] {
            let entry = format!(r#"{{"id": 1, "status": "{status}"}}"#);
            let entry: UserInformationInquiryEntry = serde_json::from_str(&entry).unwrap();
            assert_eq!((entry.waiting_for(), entry.review()), (waiting_for, review), "{status}");
        }
    }

    #[test]
    fn an_entry_that_waits_again_is_reviewed_if_it_shows_that() {
        test_timeout::start();
        let inquiry = |members: &str| -> UserInformationInquiry {
            let entry = format!(r#"{{"UserInformationInquiryEntry": {{"id": 1{members}}}}}"#);
            serde_json::from_str(&format!(r#"{{"id": 7, "all_entry": [{entry}]}}"#)).unwrap()
        };
        let (first, later) = (r#", "updated": "2026-11-30 10:00:00""#, r#", "updated": "2026-11-30 11:00:00""#);
        let (pending, reason) = (r#", "status": "PENDING""#, r#", "reject_reason": "blurred""#);
        let data = r#", "all_data_submitted": [{"type": "FREE_TEXT", "value": "x"}]"#;
        for (before, seen, is_met) in [
            ([first, ""], [first, ""], false),
            ([first, ""], [later, ""], false),
            ([first, ""], [later, reason], true),
            ([first, ""], [later, data], true),
            ([first, reason], [first, reason], false),
            ([first, reason], [later, reason], true),
        ] {
            let before = inquiry(&[pending, before[0], before[1]].concat()).entries().next().cloned();
            let reviewed = Reviewed { answered: before.map(Arc::new) };
            let evaluation = reviewed.evaluate(&inquiry(&[pending, seen[0], seen[1]].concat()));
            assert_eq!(matches!(evaluation, Evaluation::Met), is_met, "{seen:?}");
        }
    }
}
