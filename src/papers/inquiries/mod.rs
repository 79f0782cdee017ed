//! What bunq asks of a user: listed, answered, and waited for until bunq has looked at the answer.
//!
//! An answer is sent once. bunq takes one only while an entry waits for it, and shows afterwards that it does not: what became of a request
//! in doubt is looked up.

mod list;
mod reviewed;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

pub use self::list::InquiryList;
pub use self::reviewed::InquiryReview;
use self::reviewed::Reviewed;
use crate::api::Api;
use crate::custody::{Step, Steps};
use crate::error::{Error, ErrorKind, Sent};
use crate::feed::{Acceptance, Feed, Waiter};
use crate::operation::Operation;
use crate::provisions::WaitingFor;
use crate::reconcile::{InDoubt, InFlight, Reconcile, Reconciled, Requests, VerbConfig};
use crate::sync::lock;
use crate::text;
use crate::transport::call_budget::CallBudget;
use crate::types::{
    InquiryEntryStatus, InquiryStatus, UpdateUserInformationInquiryEntryRequest, UserInformationInquiry,
    UserInformationInquiryEntry, UserInformationInquiryEntryId, UserInformationInquiryId,
};

const ANSWER: &Operation = &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY;

/// Lists what bunq asks of a user, answers it, and waits until bunq has looked at the answers. Cheap to clone.
///
/// ```no_run
/// # async fn example(inquiries: bunq_partner::Inquiries) -> Result<(), bunq_partner::Error> {
/// use bunq_partner::types::{InquiryStatus, UpdateUserInformationInquiryEntryRequest};
/// use bunq_partner::{InquiryReview, WaitingFor};
///
/// for inquiry in inquiries.list().status([InquiryStatus::ExpectingReplyFromUser]).page().await?.items {
///     for entry in inquiry.entries().filter(|entry| entry.waiting_for() == WaitingFor::User) {
///         let mut answer = UpdateUserInformationInquiryEntryRequest::new();
///         answer.answer = Some("My income comes from employment.".parse()?);
///         let reviewed = inquiries.answer(inquiry.id, entry.id, &answer).await?.await?;
///         match reviewed.entry(entry.id).and_then(|entry| entry.review()) {
///             Some(InquiryReview::Approved | InquiryReview::AutoApproved) => println!("approved"),
///             other => println!("not approved: {other:?}"),
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Inquiries {
    api: Api,
    feed: Feed<UserInformationInquiry>,
    config: VerbConfig,
    steps: Steps,
    answers: InDoubtAnswers,
}

/// The answers to each entry that are being sent, or may still arrive: who holds the lock sends. All [`Inquiries`] of a user share them.
#[derive(Debug, Default, Clone)]
pub(crate) struct InDoubtAnswers(Arc<Mutex<HashMap<UserInformationInquiryEntryId, Arc<tokio::sync::Mutex<InFlight>>>>>);

impl InDoubtAnswers {
    fn of(&self, id: UserInformationInquiryEntryId) -> Arc<tokio::sync::Mutex<InFlight>> {
        let mut entries = lock(&self.0);
        entries.retain(|_, entry| {
            let is_in_use = Arc::strong_count(entry) > 1;
            is_in_use || entry.try_lock().is_ok_and(|in_flight| !in_flight.left().is_zero())
        });
        Arc::clone(entries.entry(id).or_default())
    }
}

/// One answer to an entry.
struct Reply<'a> {
    inquiry: UserInformationInquiryId,
    entry: UserInformationInquiryEntryId,
    request: &'a UpdateUserInformationInquiryEntryRequest,
}

/// An answer that bunq has.
struct Taken {
    before: UserInformationInquiryEntry,
    acceptance: Acceptance,
    response_id: Option<String>,
}

impl Inquiries {
    pub(crate) fn new(
        api: Api,
        feed: Feed<UserInformationInquiry>,
        config: VerbConfig,
        steps: Steps,
        answers: InDoubtAnswers,
    ) -> Self {
        Self { api, feed, config, steps, answers }
    }

    /// Sets the longest time of each operation, in place of [`ClientBuilder::operation_timeout`]. A [`Waiter`] has a timeout of its own.
    ///
    /// [`ClientBuilder::operation_timeout`]: crate::ClientBuilder::operation_timeout
    #[must_use]
    pub fn operation_timeout(self, timeout: Duration) -> Self {
        Self { api: self.api.operation_timeout(timeout), ..self }
    }

    /// Lists the inquiries about the user, newest first: by the page, or as a stream.
    pub fn list(&self) -> InquiryList {
        InquiryList::new(self.api.clone())
    }

    /// Reads an inquiry.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if the user has no such inquiry.
    pub async fn get(&self, id: UserInformationInquiryId) -> Result<UserInformationInquiry, Error> {
        self.feed.over(self.api.clone()).read(id).await
    }

    /// Answers an entry, and returns the waiter for bunq's review of the answer.
    ///
    /// It reads the inquiry first, and sends the answer only if the entry waits for one. If the request fails, it reads the inquiry again
    /// before it sends the answer again, [for a while](crate::ClientBuilder::late_arrival) if the first may still arrive. So an answer is
    /// not sent twice unnoticed, also over a crash: the custody keeps a digest of the answer, and a call with the same one finds that bunq has it
    /// ([`Already`](Acceptance::Already)). Of concurrent calls for one entry, one sends its answer.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the answer has neither files nor a text, or more than 100 files, or the inquiry has no
    /// such entry.
    /// [`Unattainable`](ErrorKind::Unattainable) if the entry does not wait for an answer, the inquiry is over or has expired, or bunq has
    /// taken another answer meanwhile. Such errors have the inquiry: `error.last_seen::<UserInformationInquiry>()`.
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of the request is unknown. To call this again with the same answer does
    /// no harm.
    pub async fn answer(
        &self,
        inquiry: UserInformationInquiryId,
        entry: UserInformationInquiryEntryId,
        answer: &UpdateUserInformationInquiryEntryRequest,
    ) -> Result<Waiter<UserInformationInquiry>, Error> {
        // Refused by the bounds of the document, before anything is read or kept.
        self.api
            .preview_of(|api| async move { api.update_user_information_inquiry_entry(inquiry, entry, answer).await })?;
        let (budget, reply) = (self.api.budget(), Reply { inquiry, entry, request: answer });
        let of_entry = self.answers.of(entry);
        let problem = format!("another answer to the entry {entry} is being sent, and that takes too long");
        let mut in_flight = budget.lock(&of_entry, problem).await?;
        let step = self.steps.begin(ANSWER, &reply.key()).await?;
        if step != Step::New {
            // It may still arrive, or bunq may not show it yet. A clock that can be set does not tell how long ago that was.
            *in_flight = in_flight.and(InFlight::until(Instant::now() + self.config.late_arrival));
        }
        match self.reply(&reply, step, budget, &mut in_flight).await {
            Ok(Taken { before, acceptance, response_id }) => {
                self.steps.settled(ANSWER, &reply.key(), Some(entry.get())).await;
                let waiter = self.waiter(inquiry, Some(Arc::new(before)), acceptance);
                Ok(waiter.accepted_in(response_id))
            }
            Err(error) if error.is_doubtful() => Err(error),
            Err(error) => Err(self.steps.refused(ANSWER, &reply.key(), step, error).await),
        }
    }

    /// Waits until bunq has looked at all answers that there are: no entry waits for bunq any more.
    pub fn wait_until_reviewed(&self, id: UserInformationInquiryId) -> Waiter<UserInformationInquiry> {
        self.waiter(id, None, Acceptance::NotRequested)
    }

    fn waiter(
        &self,
        id: UserInformationInquiryId,
        answered: Option<Arc<UserInformationInquiryEntry>>,
        acceptance: Acceptance,
    ) -> Waiter<UserInformationInquiry> {
        Waiter::new(self.feed.clone(), id, Reviewed { answered }, acceptance, self.config.poll_interval)
    }

    /// Sends an answer, unless bunq has it.
    async fn reply(
        &self,
        reply: &Reply<'_>,
        step: Step,
        budget: CallBudget,
        in_flight: &mut InFlight,
    ) -> Result<Taken, Error> {
        let is_known = step != Step::New;
        let mut before = self.read(reply, budget).await.map_err(Error::before_sending)?;
        if in_flight.is_any() && before.1.waiting_for() == WaitingFor::User {
            let left = in_flight.left();
            if left > budget.left_to_send() {
                let problem = format_args!(
                    "bunq may get or show an earlier answer for another {}, longer than this call may take: call again after that",
                    text::duration(left)
                );
                return Err(Error::new(ErrorKind::Timeout, Sent::No, problem).with_retry_after(Some(left)));
            }
            in_flight.over().await;
            before = self.read(reply, budget).await.map_err(Error::before_sending)?;
        }
        let (inquiry, before) = before;
        let is_shown = reply.is_shown_in(&before);
        if is_answered(&before) && (is_shown == Some(true) || is_known && is_shown.is_none()) {
            return Ok(Taken { before, acceptance: Acceptance::Already, response_id: None });
        }
        check_waits(&inquiry, &before).map_err(|error| error.with_last_seen(Arc::new(inquiry)))?;
        if let Step::Done { .. } = step {
            // bunq asks again. Whoever goes on after a crash must not take the answer before for this one.
            self.steps.begin_again(ANSWER, &reply.key()).await?;
        }

        let api = self.api.until(budget);
        let send = |reuse| {
            let (api, before) = (api.over(reuse), &before);
            async move {
                let Reply { inquiry, entry, request } = *reply;
                let response = api.update_user_information_inquiry_entry(inquiry, entry, request).await?;
                Ok((response.response_id().map(str::to_owned), true, before.clone()))
            }
        };
        let check = || async {
            let (inquiry, entry) = self.read(reply, self.api.check_by(budget)).await?;
            if entry.still_waits_as(&before) {
                return Ok(None);
            }
            // One that waits again was answered, and its answer rejected, if it shows that.
            let waits_again = entry.status == InquiryEntryStatus::Pending && !entry.shows_no_answer_since(&before);
            let is_ours = is_answered(&entry) || waits_again;
            let is_shown = reply.is_shown_in(&entry);
            match is_ours && is_shown != Some(false) {
                true => Ok(Some((None, is_shown == Some(true) || is_known, entry))),
                false => Err(another(&entry).with_last_seen(Arc::new(inquiry))),
            }
        };
        let VerbConfig { poll_interval, late_arrival } = self.config;
        let (policy, in_doubt) = (self.api.transport().policy(ANSWER), InDoubt::RepeatAfterLateArrival);
        let mut requests = Requests::new(in_flight, late_arrival);
        let in_flight = requests.in_flight();
        let reconcile = Reconcile { policy, budget, poll_interval, late_arrival, in_doubt, in_flight };
        let outcome = reconcile.until_known(send, check).await;
        // It has added those that are in doubt.
        requests.are_known();
        let Reconciled { done: (response_id, is_ours, seen), acceptance, .. } = outcome?;
        // Nothing was in doubt: bunq has refused this one, and has an answer that it got meanwhile.
        if acceptance == Acceptance::Already && !is_ours {
            return Err(another(&seen).in_doubt(None));
        }
        Ok(Taken { before, acceptance, response_id })
    }

    /// The inquiry and the entry, as they are now.
    async fn read(
        &self,
        reply: &Reply<'_>,
        budget: CallBudget,
    ) -> Result<(UserInformationInquiry, UserInformationInquiryEntry), Error> {
        let inquiry = self.feed.over(self.api.until(budget)).read(reply.inquiry).await?;
        match inquiry.entry(reply.entry).cloned() {
            Some(entry) => Ok((inquiry, entry)),
            None => {
                let shown: Vec<_> = inquiry.entries().map(|entry| entry.id.to_string()).collect();
                let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
                let problem = format_args!("the inquiry {} has no entry {}: it shows {shown}", inquiry.id, reply.entry);
                Err(Error::invalid_input("entry", problem).with_last_seen(Arc::new(inquiry)))
            }
        }
    }
}

impl Reply<'_> {
    /// What the custody keeps a digest of.
    fn key(&self) -> impl Serialize {
        (self.inquiry, self.entry, self.request)
    }

    /// Whether the text of this answer is what bunq shows; `None` if that does not tell.
    fn is_shown_in(&self, entry: &UserInformationInquiryEntry) -> Option<bool> {
        let text = self.request.answer.as_ref()?.as_str();
        let shown: Vec<Value> = serde_json::from_str(entry.all_data_submitted.as_ref()?.as_json()).ok()?;
        let texts = shown.iter().filter(|one| one["type"] == "FREE_TEXT");
        let mut texts = texts.filter_map(|one| one["value"].as_str()).peekable();
        texts.peek()?;
        let is_same = texts.any(|shown| shown.trim() == text.trim());
        // The text does not tell which files came with it.
        (!is_same || self.request.all_attachment_id.is_empty()).then_some(is_same)
    }
}

/// Whether bunq has an answer to an entry.
fn is_answered(entry: &UserInformationInquiryEntry) -> bool {
    match entry.status {
        InquiryEntryStatus::Submitted
        | InquiryEntryStatus::WaitingForReview
        | InquiryEntryStatus::AutoApproved
        | InquiryEntryStatus::AutoRejected
        | InquiryEntryStatus::Approved
        | InquiryEntryStatus::Rejected => true,
        InquiryEntryStatus::Pending | InquiryEntryStatus::Cancelled | InquiryEntryStatus::Unknown(_) => false,
    }
}

/// Refuses an answer to what does not wait for one.
fn check_waits(inquiry: &UserInformationInquiry, entry: &UserInformationInquiryEntry) -> Result<(), Error> {
    let (id, expiry) = (inquiry.id, inquiry.time_expiry.filter(|expiry| expiry.as_jiff() <= Timestamp::now()));
    let problem = if inquiry.status == Some(InquiryStatus::Finalized) {
        format!("the inquiry {id} is over")
    } else if let Some(expiry) = expiry {
        format!("the inquiry {id} has expired at {expiry}")
    } else if entry.status != InquiryEntryStatus::Pending {
        format!("the entry {} is {}, and only one that is PENDING takes an answer", entry.id, entry.status)
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Unattainable,
        Sent::No,
        format_args!("{problem}: list the inquiries that wait for the user"),
    ))
}

/// The error of an entry that has another answer, or takes none any more.
fn another(entry: &UserInformationInquiryEntry) -> Error {
    let problem = format_args!(
        "the entry {} is {} by now, and this answer is not what bunq has: read the inquiry before you answer it again",
        entry.id, entry.status
    );
    Error::new(ErrorKind::Unattainable, Sent::Responded, problem)
}
