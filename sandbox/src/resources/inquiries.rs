//! Inquiries: what bunq asks of users, and their answers.

use std::collections::BTreeMap;

use bunq_partner::Operation;
use bunq_partner::types::{InquiryEntryStatus, UpdateUserInformationInquiryEntryRequest};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::attachments;
use super::paging::{self, Window};
use super::plant::Plant;
use super::{Answer, Handler, RoutedCall};
use crate::bank::Bank;
use crate::clock::{after, in_bunqs_form};
use crate::input;
use crate::objects::inquiry::{Entry, Inquiry, SeedInquiry};
use crate::objects::table::Stored;
use crate::settings::{Pace, Review};
use crate::wire::response::{RawResponse, Refusal};

pub(super) const ANSWERS: &[Answer] = &[
    Answer { operation: &Operation::LIST_USER_INFORMATION_INQUIRIES, handler: Handler::SessionUser(list) },
    Answer { operation: &Operation::GET_USER_INFORMATION_INQUIRY, handler: Handler::SessionUser(get) },
    Answer { operation: &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY, handler: Handler::SessionUser(answer) },
];

fn list(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let (filters, query) = filters(request.call.query.as_deref().unwrap_or_default())?;
    let window = Window::of(Some(&query), "inquiries")?;
    catch_up(bank, user, bank.settings.pace, request.now);
    let all: Vec<_> = open(bank, request, user).filter(|inquiry| filters.admit(&inquiry.content)).collect();
    let path = Operation::LIST_USER_INFORMATION_INQUIRIES.path.replace("{user_id}", &user.to_string());
    let (page, links) = window.page(&all, &format!("{path}{}", filters.query()))?;
    let page: Vec<_> = page.into_iter().map(|inquiry| inquiry.id).collect();
    let items = page.into_iter().map(|id| show(bank, user, id)).collect::<Result<_, _>>()?;
    Ok(RawResponse::page(items, links))
}

fn get(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    find(bank, request, user, id)?;
    Ok(RawResponse::items(vec![show(bank, user, id)?]))
}

fn answer(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id, entry_id] = request.route.ids();
    let body: UpdateUserInformationInquiryEntryRequest = input::body(&request.call.body)?;
    let inquiry = find(bank, request, user, id)?;
    let entry = inquiry.content.entries.iter().find(|entry| entry.id == entry_id);
    let entry = entry.ok_or_else(|| Refusal::not_found(format!("The inquiry {id} has no entry {entry_id}.")))?;
    if entry.status != InquiryEntryStatus::Pending {
        return Err(Refusal::bad_request(format!("The entry {entry_id} is {}: it takes no answer.", entry.status)));
    }
    if body.all_attachment_id.is_empty() && body.answer.is_none() {
        return Err(Refusal::bad_request("An answer has attachments, a text, or both."));
    }
    body.all_attachment_id.iter().try_for_each(|id| attachments::check_named(bank, user, *id))?;
    let inquiry = bank.objects.inquiries.change(user, id, request.now)?;
    if let Some(entry) = inquiry.entries.iter_mut().find(|entry| entry.id == entry_id) {
        entry.answer(&body.all_attachment_id, body.answer.as_ref().map(|text| text.as_str()), request.now);
    }
    Ok(RawResponse::id(entry_id))
}

/// The inquiries of a user that are open by now, oldest first.
fn open<'a>(bank: &'a Bank, request: &RoutedCall<'_>, user: u64) -> impl Iterator<Item = &'a Stored<Inquiry>> {
    let now = request.now;
    bank.objects.inquiries.of(user).filter(move |inquiry| inquiry.content.opens <= now)
}

/// One of them, as it is by now.
fn find<'a>(bank: &'a mut Bank, request: &RoutedCall<'_>, user: u64, id: u64) -> Result<&'a Stored<Inquiry>, Refusal> {
    catch_up(bank, user, bank.settings.pace, request.now);
    let found = bank.objects.inquiries.get(user, id)?;
    if found.content.opens <= request.now {
        Ok(found)
    } else {
        Err(Refusal::not_found(format!("There is no inquiry {id}.")))
    }
}

/// Does in all inquiries of a user what is due by now at this pace.
fn catch_up(bank: &mut Bank, user: u64, pace: Pace, now: Timestamp) {
    let rejected = bank.settings.profile.rejected_entry;
    let due = |inquiry: &&Stored<Inquiry>| inquiry.content.clone().catch_up(pace, rejected, now);
    let due: Vec<_> = bank.objects.inquiries.of(user).filter(due).map(|inquiry| inquiry.id).collect();
    for id in due {
        if let Ok(inquiry) = bank.objects.inquiries.change(user, id, now) {
            inquiry.catch_up(pace, rejected, now);
        }
    }
}

/// The same without what only reads bring about.
pub(crate) fn catch_up_by_time(bank: &mut Bank, user: u64, now: Timestamp) {
    let pace = match bank.settings.pace {
        Pace::EachRead => Pace::Manual,
        other => other,
    };
    catch_up(bank, user, pace, now);
}

/// An inquiry in its envelope. bunq's next read shows what follows.
fn show(bank: &mut Bank, user: u64, id: u64) -> Result<Value, Refusal> {
    bank.objects.inquiries.note(user, id, Inquiry::note_shown)?;
    Ok(shown(bank.objects.inquiries.get(user, id)?))
}

/// An inquiry in its envelope.
pub(crate) fn shown(inquiry: &Stored<Inquiry>) -> Value {
    let Inquiry { person, kind, purpose, expiry, entries, .. } = &inquiry.content;
    let entries: Vec<_> = entries.iter().map(|entry| shown_entry(inquiry, entry)).collect();
    inquiry.item(
        "UserInformationInquiry",
        [
            ("user_id", (*person).into()),
            ("title", "We need some information from you".into()),
            ("subtitle", "Please provide the requested details".into()),
            ("purpose", purpose.as_str().into()),
            ("status", inquiry.content.status().as_str().into()),
            ("all_entry", entries.into()),
            ("assistant_conversation", Value::Null),
            ("finn_conversation", Value::Null),
            ("time_expiry", expiry.map(in_bunqs_form).into()),
            ("external_model_name", kind.as_str().into()),
            ("external_model_id", (*person).into()),
        ],
    )
}

/// bunq shows an empty context as an object, and as a list.
fn shown_entry(inquiry: &Stored<Inquiry>, entry: &Entry) -> Value {
    let context = if entry.submitted.is_empty() { json!({}) } else { json!([]) };
    let members = [
        ("type", entry.kind.as_str().into()),
        ("status", entry.status.as_str().into()),
        ("all_data_submitted", entry.submitted.clone().into()),
        ("assistant_conversation", Value::Null),
        ("context", context),
        ("reject_reason", entry.reject_reason.clone().into()),
        ("entry_description", entry.kind.as_str().into()),
    ];
    inquiry.part(entry.id, entry.updated, "UserInformationInquiryEntry", members)
}

/// The filters of a listing: the values of each parameter.
#[derive(Default)]
struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    fn admit(&self, inquiry: &Inquiry) -> bool {
        let is_one = |name: &str, value: &str| match name {
            "status" => inquiry.status().as_str() == value,
            "type" => inquiry.kind.as_str() == value,
            "purpose" => inquiry.purpose.as_str() == value,
            _ => inquiry.entries.iter().any(|entry| entry.kind.as_str() == value),
        };
        self.0.iter().all(|(name, values)| values.iter().any(|value| is_one(name, value)))
    }

    /// The filters as a query, with its question mark; nothing if there are none.
    fn query(&self) -> String {
        let pairs: Vec<_> = self.0.iter().map(|(name, values)| format!("{name}={}", values.join(","))).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }
}

/// The filters of a query, and the rest of it.
fn filters(query: &str) -> Result<(Filters, String), Refusal> {
    let (mut filters, mut rest) = (Filters::default(), form_urlencoded::Serializer::new(String::new()));
    for (name, value) in input::query_parameters(query) {
        if !["status", "type", "purpose", "fulfillment_type"].contains(&name.as_str()) {
            rest.append_pair(&name, &value);
            continue;
        }
        let values: Vec<_> = value.split(',').map(str::to_owned).collect();
        if values.iter().any(String::is_empty) {
            return Err(paging::invalid(&name, &value, "a name, or several with commas between"));
        }
        if filters.0.insert(name.clone(), values).is_some() {
            return Err(Refusal::bad_request(format!(
                "The parameter {name} is there twice. Several values go into one, with commas."
            )));
        }
    }
    Ok((filters, rest.finish()))
}

impl Plant for SeedInquiry {
    fn plant(&self, bank: &mut Bank, user: u64, now: Timestamp) -> Result<(), String> {
        if let Some(problem) = self.problem() {
            return Err(problem);
        }
        bank.open_inquiry(user, self.clone(), now, now);
        Ok(())
    }
}

impl Bank {
    /// Asks a user by itself, when bunq has checked what it was given for the onboarding.
    pub(super) fn ask_after_onboarding(&mut self, user: u64, now: Timestamp) {
        let profile = &self.settings.profile;
        let (kinds, opens) = (profile.inquiry_after_onboarding.clone(), after(now, profile.onboarding_check));
        if !kinds.is_empty() {
            self.open_inquiry(user, SeedInquiry::new(kinds), now, opens);
        }
    }

    /// `from`: when it opens, if it says nothing else.
    fn open_inquiry(&mut self, user: u64, inquiry: SeedInquiry, now: Timestamp, from: Timestamp) -> u64 {
        let provision = self.provisions.of_user(user);
        let person = provision.map(|provision| provision.user(now, &mut self.numbers).person);
        let inquiry = inquiry.open(person.unwrap_or(user), from, || self.numbers.next());
        self.objects.inquiries.add(user, inquiry, now, &mut self.numbers)
    }
}

/// Interventions of a test.
impl Bank {
    /// Opens an inquiry about the user of a provision; returns its id. `None`: there is no such provision, or no such inquiry.
    pub(crate) fn inquire(&mut self, provision: u64, inquiry: SeedInquiry) -> Option<u64> {
        if inquiry.problem().is_some() {
            return None;
        }
        let now = self.clock.now();
        let user = self.provisions.get(provision, now, &mut self.numbers)?.user(now, &mut self.numbers);
        Some(self.open_inquiry(user.api_key, inquiry, now, now))
    }

    /// Reviews the answer to an entry; returns whether there is one that waits for it.
    pub(crate) fn review(&mut self, entry_id: u64, review: Review) -> bool {
        let (now, rejected) = (self.clock.now(), self.settings.profile.rejected_entry);
        let found = self.objects.inquiries.search(|inquiry| inquiry.entries.iter().any(|entry| entry.id == entry_id));
        let Some((user, id)) = found else { return false };
        let Ok(inquiry) = self.objects.inquiries.change(user, id, now) else { return false };
        let entry = inquiry.entries.iter_mut().find(|entry| entry.id == entry_id);
        entry.is_some_and(|entry| entry.review(Some(review), rejected, now))
    }
}
