//! The bank: all state of the sandbox, and what every call does to it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::access::{Access, LiveSession, User};
use super::answer::{Answer, REQUEST_ID, Refusal};
use super::clock::{Clock, Numbers};
use super::creation::Creation;
use super::exchange::Call;
use super::input::Fields;
use super::journal::ReceivedSignature;
use super::life_cycle::Event;
use super::listing::Listing;
use super::provisions::{Provisions, item};
use super::routes::{Handshake, Route, SessionCall};
use super::{CreationAnswer, Pace};
use crate::Secret;

/// How the bank is set up.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) pace: Pace,
    pub(super) api_key: Secret,
    pub(super) session_timeout: Duration,
    pub(super) creation_answer: CreationAnswer,
    pub(super) deduplicate: bool,
    pub(super) public_key_pem: String,
}

/// The bank. Its fields are shared with the room of the handshake.
#[derive(Debug)]
pub(super) struct Bank {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) numbers: Numbers,
    pub(super) access: Access,
    pub(super) provisions: Provisions,
    /// The partner's company.
    pub(super) partner: u64,
}

impl Bank {
    pub(super) fn new(settings: Settings) -> Self {
        let mut numbers = Numbers::new();
        let partner = numbers.next();
        let provisions = Provisions::new(settings.pace, settings.deduplicate);
        Self { settings, clock: Clock::new(), numbers, access: Access::default(), provisions, partner }
    }

    /// What the signature of a call is worth.
    pub(super) fn judge(&self, call: &Call) -> ReceivedSignature {
        self.access.judge(call.header("X-Bunq-Client-Signature"), call.token(), &call.body)
    }

    /// Does what a call asks for, with a signature worth this much.
    pub(super) fn perform(
        &mut self,
        route: Route,
        call: &Call,
        signature: ReceivedSignature,
    ) -> Result<Answer, Refusal> {
        check_headers(call)?;
        let request_id = call.header(REQUEST_ID);
        let now = self.clock.now();
        match route {
            Route::Install => self.install(&call.body, now),
            Route::Handshake(step) => {
                let installation = self.access.installation(call.token())?;
                self.vet(installation, request_id, signature)?;
                match step {
                    Handshake::RegisterDevice => self.register_device(installation, &call.body, now),
                    Handshake::OpenSession if signature == ReceivedSignature::None => {
                        Err(Refusal::new(466, "The request must be signed: X-Bunq-Client-Signature is missing."))
                    }
                    Handshake::OpenSession => self.open_session(installation, &call.body, now),
                }
            }
            Route::Session(operation) => {
                let session = self.access.session(call.token(), now)?;
                self.vet(session.installation, request_id, signature)?;
                self.in_session(operation, session, call, now)
            }
        }
    }

    /// What holds for every call with a token: if it has an id, a fresh one, and if it is signed, then well.
    fn vet(
        &mut self,
        installation: u64,
        request_id: Option<&str>,
        signature: ReceivedSignature,
    ) -> Result<(), Refusal> {
        if let Some(id) = request_id
            && !self.access.note_request_id(installation, id)
        {
            return Err(Refusal::used_request_id(id));
        }
        match signature {
            ReceivedSignature::Invalid => {
                Err(Refusal::unauthorized("The signature is not the installation's over this body."))
            }
            ReceivedSignature::None | ReceivedSignature::Valid | ReceivedSignature::Unchecked => Ok(()),
        }
    }

    fn in_session(
        &mut self,
        operation: SessionCall,
        session: LiveSession,
        call: &Call,
        now: Timestamp,
    ) -> Result<Answer, Refusal> {
        if let SessionCall::End(id) = operation {
            return self.end_session(session, id);
        }
        if session.user != User::Partner {
            return Err(Refusal::new(403, "The session is a provisioned user's: provisions are the partner's."));
        }
        match operation {
            SessionCall::End(id) => self.end_session(session, id),
            SessionCall::Create => self.create(&call.body, now),
            SessionCall::List => {
                let listing = Listing::from_query(call.query.as_deref())?;
                let (items, pagination) = self.provisions.list(&listing, now, &mut self.numbers);
                Ok(Answer::page(items, pagination))
            }
            SessionCall::Read(id) => {
                let item = self.provisions.read(id, now, &mut self.numbers).ok_or_else(|| no_provision(id))?;
                Ok(Answer::items(vec![item]))
            }
            SessionCall::Change(id) => self.change(id, &call.body, now),
        }
    }

    fn create(&mut self, body: &[u8], now: Timestamp) -> Result<Answer, Refusal> {
        let creation = Creation::from_body(body)?;
        let created = self.provisions.create(creation, now, &mut self.numbers)?;
        Ok(match self.settings.creation_answer {
            CreationAnswer::Id => Answer::id(created.id),
            CreationAnswer::Provision => Answer::items(vec![item(created.show(now))]),
        })
    }

    fn change(&mut self, id: u64, body: &[u8], now: Timestamp) -> Result<Answer, Refusal> {
        let fields = Fields::from_body(body)?;
        let event = match fields.text("status")? {
            "CANCELLED" => Event::Close,
            "TOKEN_RESET_REQUESTED" => Event::Reset,
            other => return Err(fields.invalid("status", &other.into(), "CANCELLED or TOKEN_RESET_REQUESTED")),
        };
        let provision = self.provisions.get(id, now, &mut self.numbers).ok_or_else(|| no_provision(id))?;
        provision.wish(event, now, &mut self.numbers)?;
        Ok(Answer::id(id))
    }

    /// Makes provisions that are at rest, and gives their ids.
    pub(super) fn populate(&mut self, count: usize) -> Vec<u64> {
        self.provisions.populate(count, self.clock.now(), &mut self.numbers)
    }

    /// Lets something happen to a provision by hand; says whether it could.
    pub(super) fn intervene(&mut self, id: u64, event: Event) -> bool {
        self.provisions.on(id, event, self.clock.now(), &mut self.numbers)
    }

    /// Makes a waiting credential expire; says whether there was one.
    pub(super) fn expire_credential(&mut self, id: u64) -> bool {
        let now = self.clock.now();
        let provision = self.provisions.get(id, now, &mut self.numbers);
        provision.is_some_and(|provision| provision.expire_credential(now))
    }

    /// The provision as a client would see it, without being seen.
    pub(super) fn peek(&mut self, id: u64) -> Option<Value> {
        let now = self.clock.now();
        Some(self.provisions.get(id, now, &mut self.numbers)?.show(now))
    }
}

/// Checks the headers that every call must have, or must have right.
fn check_headers(call: &Call) -> Result<(), Refusal> {
    let missing = |name: &str| Refusal::bad_request(format!("The header {name} is missing or empty."));
    let cache_control = call.header("Cache-Control").ok_or_else(|| missing("Cache-Control"))?;
    if !cache_control.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-cache")) {
        return Err(Refusal::bad_request("The header Cache-Control must be no-cache."));
    }
    call.header("User-Agent").ok_or_else(|| missing("User-Agent"))?;
    if !call.header_is_any_of("X-Bunq-Language", &["en_US", "nl_NL"]) {
        return Err(Refusal::bad_request("The header X-Bunq-Language must be en_US or nl_NL."));
    }
    Ok(())
}

fn no_provision(id: u64) -> Refusal {
    Refusal::not_found(format!("There is no provision {id}."))
}
