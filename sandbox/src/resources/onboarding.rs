//! The onboarding of users: what is missing, what they give, and how bunq checks them.

use std::collections::BTreeSet;
use std::time::Duration;

use bunq_partner::Operation;
use bunq_partner::types::{
    CreateAddressMainRequest, CreateAddressPostalRequest, CreateNationalityRequest, CreateTaxResidentRequest,
    CreateUserOnboardingRequest, FulfillmentType, UpdateUserOnboardingRequest, UpdateUserPersonRequest,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::paging::Window;
use super::plant::Plant;
use super::{Answer, Handler, RoutedCall};
use crate::bank::Bank;
use crate::clock::{after, in_bunqs_form};
use crate::input;
use crate::objects::identity::IdentitySession;
use crate::objects::onboarding::{
    ADDRESS_MAIN, ADDRESS_POSTAL, Asked, DATE_OF_BIRTH, DOCUMENT_IDENTIFICATION, Given, IDENTITY_VERIFICATION,
    NATIONALITY, Onboarding, TAX_RESIDENT, UserFacts,
};
use crate::objects::table::Stored;
use crate::profile::APPROVED;
use crate::wire::response::{RawResponse, Refusal};

pub(super) const ANSWERS: &[Answer] = &[
    Answer { operation: &Operation::LIST_USER_ONBOARDINGS, handler: Handler::SessionUser(list) },
    Answer { operation: &Operation::CREATE_USER_ONBOARDING, handler: Handler::SessionUser(create) },
    Answer { operation: &Operation::GET_USER_ONBOARDING, handler: Handler::SessionUser(get) },
    Answer { operation: &Operation::UPDATE_USER_ONBOARDING, handler: Handler::SessionUser(update) },
    Answer { operation: &Operation::CREATE_ADDRESS_MAIN, handler: Handler::SessionUser(set_address_main) },
    Answer { operation: &Operation::CREATE_ADDRESS_POSTAL, handler: Handler::SessionUser(set_address_postal) },
    Answer { operation: &Operation::UPDATE_USER_PERSON, handler: Handler::SessionUser(set_person) },
    Answer { operation: &Operation::CREATE_TAX_RESIDENT, handler: Handler::SessionUser(set_tax_resident) },
    Answer { operation: &Operation::CREATE_NATIONALITY, handler: Handler::SessionUser(set_nationality) },
];

/// How long a user has for what is not mandatory at once.
const GRACE: Duration = Duration::from_secs(90 * 24 * 3600);

const FULFILLED: &str = "FULFILLED";
const IN_PROGRESS: &str = "IN_PROGRESS";

fn list(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let window = Window::of(request.call.query.as_deref(), "onboardings")?;
    let all: Vec<_> = bank.objects.onboardings.of(user).collect();
    let path = Operation::LIST_USER_ONBOARDINGS.path.replace("{user_id}", &user.to_string());
    let (page, links) = window.page(&all, &path)?;
    Ok(RawResponse::page(page.into_iter().map(|onboarding| show(bank, onboarding, user)).collect(), links))
}

fn create(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let _: CreateUserOnboardingRequest = input::body(&request.call.body)?;
    Ok(RawResponse::id(bank.objects.onboardings.add(user, Onboarding::default(), request.now, &mut bank.numbers)))
}

fn get(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    Ok(RawResponse::items(vec![show(bank, bank.objects.onboardings.get(user, id)?, user)]))
}

fn update(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    let _: UpdateUserOnboardingRequest = input::body(&request.call.body)?;
    let taken = bank.objects.onboardings.get(user, id)?.content.taken;
    if let (Some(_), Some(status)) = (taken, bank.settings.profile.second_statuses) {
        return Err(Refusal::new(status, format!("The statuses of the onboarding {id} were asked for before.")));
    }
    let missing = missing(bank, user, request.now)?;
    if missing.iter().any(|one| one.mandatory.is_none_or(|mandatory| mandatory <= request.now)) {
        let all: Vec<_> = missing.iter().map(|one| one.show(user)).collect();
        let missing = json!({ "AdditionalFulfillmentParameter": { "all_fulfillment": all } });
        return Err(Refusal::bad_request("More is needed before the user can be verified.").with_additional(missing));
    }
    bank.objects.onboardings.change(user, id, request.now)?.taken = Some(request.now);
    bank.ask_after_onboarding(user, request.now);
    Ok(RawResponse::id(id))
}

// bunq shows no response to these calls, so each has another one.

fn set_address_main(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    give::<CreateAddressMainRequest>(bank, request, user, ADDRESS_MAIN)?;
    Ok(RawResponse::id(bank.numbers.next()))
}

fn set_address_postal(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    give::<CreateAddressPostalRequest>(bank, request, user, ADDRESS_POSTAL)?;
    Ok(RawResponse::items(Vec::new()))
}

fn set_person(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let person = give::<UpdateUserPersonRequest>(bank, request, user, DATE_OF_BIRTH)?;
    Ok(RawResponse::items(vec![json!({ "UserPerson": person })]))
}

fn set_tax_resident(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    check_not_empty(request, "tax_resident")?;
    let residents = give::<CreateTaxResidentRequest>(bank, request, user, TAX_RESIDENT)?;
    Ok(RawResponse::items(vec![json!({ "TaxResident": residents["tax_resident"] })]))
}

fn set_nationality(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    check_not_empty(request, "all_nationality")?;
    give::<CreateNationalityRequest>(bank, request, user, NATIONALITY)?;
    Ok(RawResponse::id(user))
}

/// Refuses a body in which this list has nothing.
fn check_not_empty(request: &RoutedCall<'_>, name: &str) -> Result<(), Refusal> {
    let body: Value = input::body(&request.call.body)?;
    match body[name].as_array() {
        Some(list) if list.is_empty() => Err(Refusal::bad_request(format!("{name} is empty: name at least one."))),
        _ => Ok(()),
    }
}

/// Stores what a body gives, in the place of what was given before of the same kind, and returns it as it was sent.
fn give<T: DeserializeOwned>(
    bank: &mut Bank,
    request: &RoutedCall<'_>,
    user: u64,
    kind: &str,
) -> Result<Value, Refusal> {
    let _: T = input::body(&request.call.body)?;
    let value: Value = input::body(&request.call.body)?;
    let given = Given { at: request.now, value: value.clone() };
    facts(bank, user, request.now)?.given.insert(kind.to_owned(), given);
    Ok(value)
}

/// What is known of a user, to change it.
fn facts(bank: &mut Bank, user: u64, now: Timestamp) -> Result<&mut UserFacts, Refusal> {
    let known = bank.objects.user_facts.of(user).next().map(|facts| facts.id);
    let id = match known {
        Some(id) => id,
        None => bank.objects.user_facts.add(user, UserFacts::default(), now, &mut bank.numbers),
    };
    bank.objects.user_facts.change(user, id, now)
}

/// A fulfilment that is missing.
struct Missing {
    kind: String,
    asked: Asked,
    status: Option<&'static str>,
    allowed: &'static [&'static str],
    /// From when on, if that is not at once.
    mandatory: Option<Timestamp>,
}

/// What is missing of a user, which is remembered as asked for.
fn missing(bank: &mut Bank, user: u64, now: Timestamp) -> Result<Vec<Missing>, Refusal> {
    let (check, kinds) = (bank.settings.profile.onboarding_check, bank.settings.profile.fulfillments.clone());
    let mut missing = Vec::new();
    for kind in kinds {
        let next = bank.numbers.next();
        let (identity, document) = (identity(bank, user, now), bank.objects.documents.of(user).next().is_some());
        let facts = facts(bank, user, now)?;
        let asked = *facts.asked.entry(kind.clone()).or_insert(Asked { id: next, since: now });
        let given = facts.given.get(&kind).map(|given| given.at);
        let checked = |at| if now < after(at, check) { IN_PROGRESS } else { FULFILLED };
        let (status, allowed): (_, &[_]) = match kind.as_str() {
            ADDRESS_MAIN | ADDRESS_POSTAL => (given.map(checked), &[FULFILLED, IN_PROGRESS]),
            DATE_OF_BIRTH | NATIONALITY | TAX_RESIDENT => (given.map(checked), &[FULFILLED]),
            IDENTITY_VERIFICATION => (identity, &[FULFILLED]),
            DOCUMENT_IDENTIFICATION => (document.then_some(FULFILLED), &[FULFILLED]),
            // The user does it, when the partner has told about it.
            _ => (Some(checked(given.unwrap_or(asked.since))), &[FULFILLED]),
        };
        let is_due_later = kind == NATIONALITY || kind == TAX_RESIDENT;
        let mandatory = is_due_later.then(|| after(asked.since, GRACE));
        if status.is_none_or(|status| !allowed.contains(&status)) {
            missing.push(Missing { kind, asked, status, allowed, mandatory });
        }
    }
    Ok(missing)
}

/// Whether a user has proven who it is.
fn identity(bank: &Bank, user: u64, now: Timestamp) -> Option<&'static str> {
    let sessions = || bank.objects.identity_sessions.of(user).map(|session| &session.content);
    let is_approved = |session: &IdentitySession| session.status(now) == "PROCESSED" && session.result == APPROVED;
    if sessions().any(is_approved) {
        return Some(FULFILLED);
    }
    sessions().any(|session| session.status(now) == "SUBMITTED").then_some(IN_PROGRESS)
}

impl Missing {
    fn show(&self, user: u64) -> Value {
        let reason = format!("We need {} of the user.", self.kind);
        json!({
            "id": self.asked.id,
            "created_timestamp": in_bunqs_form(self.asked.since),
            "updated_timestamp": null,
            "user_id": user,
            "type": self.kind,
            "status": self.status,
            "all_status_allowed": self.allowed,
            "reason": reason,
            "reason_translated": reason,
            "time_mandatory": self.mandatory.map(in_bunqs_form),
        })
    }
}

/// Who has to act in an onboarding.
pub(crate) fn action_required(bank: &Bank, onboarding: &Onboarding) -> &'static str {
    match end_of_check(bank, onboarding) {
        None => "USER",
        Some(end) if bank.clock.now() < end => "SYSTEM",
        Some(_) => "NONE",
    }
}

/// When bunq has checked the user, if its statuses were asked for.
pub(crate) fn end_of_check(bank: &Bank, onboarding: &Onboarding) -> Option<Timestamp> {
    onboarding.taken.map(|taken| after(taken, bank.settings.profile.onboarding_check))
}

pub(crate) fn show(bank: &Bank, onboarding: &Stored<Onboarding>, user: u64) -> Value {
    let (now, profile) = (bank.clock.now(), &bank.settings.profile);
    let check = profile.onboarding_check;
    let taken = onboarding.content.taken;
    let (status, waiting) = match taken {
        None => ("ELECTRONIC_MONEY", None),
        Some(taken) if now < after(taken, check / 2) => ("ELECTRONIC_MONEY", Some("AUTOMATED")),
        Some(taken) if now < after(taken, check) => ("ELECTRONIC_MONEY", Some("MANUAL")),
        Some(_) => (onboarding.content.result.as_ref().unwrap_or(&profile.onboarding_result).as_str(), None),
    };
    let message = waiting.map(|_| "A few moments");
    // What the check has come to is news, though nobody has called.
    let mut steps = taken.into_iter().flat_map(|taken| [after(taken, check), after(taken, check / 2)]);
    let last_step = steps.find(|step| *step <= now);
    let members = [
        ("user_id", user.into()),
        ("type", "PARTNER_USER".into()),
        ("user_status_desired", taken.map(|_| "ACTIVE").into()),
        ("user_verification_status_desired", taken.map(|_| "VERIFIED").into()),
        ("action_required", action_required(bank, &onboarding.content).into()),
        ("status", status.into()),
        ("waiting_type", waiting.into()),
        ("waiting_time_message", message.into()),
        ("waiting_time_message_translated", message.into()),
    ];
    let updated = last_step.map(|step| ("updated", in_bunqs_form(step).into()));
    onboarding.item("UserOnboarding", members.into_iter().chain(updated))
}

/// An onboarding that a user of a seed has.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SeedOnboarding {
    /// Whether its statuses were asked for and taken when the sandbox began, so that bunq checks the user.
    #[serde(default)]
    pub is_taken: bool,
    /// What the check comes to, such as `VERIFIED`, `DENIED` or `BLOCKED`. Without it, the profile decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Whether that check is over.
    #[serde(default)]
    pub is_over: bool,
    /// The kinds of fulfilments that bunq has of the user, such as `ADDRESS_MAIN`: of what the profile asks for, and of what a call
    /// answers, with an empty body. A proven identity is one of the user's sessions, and a document is one of its documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<String>,
}

impl Plant for SeedOnboarding {
    fn plant(&self, bank: &mut Bank, user: u64, now: Timestamp) -> Result<(), String> {
        let profile = &bank.settings.profile;
        let check = profile.onboarding_check;
        let known = FulfillmentType::KNOWN.iter().map(|kind| kind.as_str().to_owned());
        let mut kinds: BTreeSet<_> = profile.fulfillments.iter().cloned().chain(known).collect();
        for (kind, objects) in [(IDENTITY_VERIFICATION, "identity_sessions"), (DOCUMENT_IDENTIFICATION, "documents")] {
            kinds.remove(kind);
            if self.given.iter().any(|given| given == kind) {
                return Err(format!("{kind} is given by the {objects} of the user: give those"));
            }
        }
        for kind in &self.given {
            if !kinds.contains(kind) {
                let kinds: Vec<_> = kinds.into_iter().collect();
                return Err(format!("bunq asks for no {kind}: give some of {}", kinds.join(", ")));
            }
            let given = Given { at: now, value: json!({}) };
            facts(bank, user, now).map_err(|refusal| refusal.message)?.given.insert(kind.clone(), given);
        }
        let taken = match self.is_over {
            true => Some(now.checked_sub(check).unwrap_or(Timestamp::MIN)),
            false => self.is_taken.then_some(now),
        };
        let onboarding = Onboarding { taken, result: self.result.clone() };
        bank.objects.onboardings.add(user, onboarding, now, &mut bank.numbers);
        Ok(())
    }
}

impl Bank {
    /// What the user of a provision has given, by the kind of fulfilment.
    pub(crate) fn given(&mut self, provision: u64) -> Option<Value> {
        let now = self.clock.now();
        let user = self.provisions.get(provision, now, &mut self.numbers)?.user(now, &mut self.numbers).api_key;
        let given = self.objects.user_facts.of(user).flat_map(|facts| &facts.content.given);
        Some(given.map(|(kind, given)| (kind.clone(), given.value.clone())).collect())
    }
}
