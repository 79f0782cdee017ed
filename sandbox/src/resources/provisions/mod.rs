//! Provisions: from their creation to their closing.

pub(crate) mod creation;
pub(crate) mod life_cycle;
pub(crate) mod listing;
pub(crate) mod provision;
pub(crate) mod seed;
pub(crate) mod table;

use bunq_partner::Operation;
use bunq_partner::types::{RequestedStatus, UpdateProvisionRequest};
use serde_json::Value;

use self::creation::Creation;
use self::life_cycle::LifeCycleEvent;
use self::listing::Listing;
use self::seed::SeedProvision;
use self::table::item;
use super::{Answer, Handler, RoutedCall};
use crate::access_control::LiveSession;
use crate::bank::Bank;
use crate::input;
use crate::settings::CreationResponse;
use crate::wire::response::{RawResponse, Refusal};

pub(super) const ANSWERS: &[Answer] = &[
    Answer { operation: &Operation::CREATE_PROVISION, handler: Handler::Session(create) },
    Answer { operation: &Operation::LIST_PROVISIONS, handler: Handler::Session(list) },
    Answer { operation: &Operation::GET_PROVISION, handler: Handler::Session(get) },
    Answer { operation: &Operation::UPDATE_PROVISION, handler: Handler::Session(update) },
];

fn create(bank: &mut Bank, request: &RoutedCall<'_>, _: LiveSession) -> Result<RawResponse, Refusal> {
    let creation = Creation::from_body(&request.call.body)?;
    bank.check_oauth_client()?;
    let created = bank.provisions.create(creation, request.now, &mut bank.numbers)?;
    Ok(match bank.settings.profile.creation_response {
        CreationResponse::Id => RawResponse::id(created.id),
        CreationResponse::Provision => RawResponse::items(vec![item(created.show(request.now))]),
    })
}

fn list(bank: &mut Bank, request: &RoutedCall<'_>, _: LiveSession) -> Result<RawResponse, Refusal> {
    let listing = Listing::from_query(request.call.query.as_deref())?;
    let (items, pagination) = bank.provisions.list(&listing, request.now, &mut bank.numbers)?;
    Ok(RawResponse::page(items, pagination))
}

fn get(bank: &mut Bank, request: &RoutedCall<'_>, _: LiveSession) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    let item = bank.provisions.read(id, request.now, &mut bank.numbers).ok_or_else(|| no_provision(id))?;
    Ok(RawResponse::items(vec![item]))
}

fn update(bank: &mut Bank, request: &RoutedCall<'_>, _: LiveSession) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    let body: UpdateProvisionRequest = input::body(&request.call.body)?;
    let event = match body.status {
        RequestedStatus::Cancelled => LifeCycleEvent::Close,
        RequestedStatus::TokenResetRequested => LifeCycleEvent::Reset,
        other => return Err(Refusal::not_implemented(format_args!("the status {other}"))),
    };
    bank.provisions.wish(id, event, request.now, &mut bank.numbers).ok_or_else(|| no_provision(id))??;
    Ok(RawResponse::id(id))
}

fn no_provision(id: u64) -> Refusal {
    Refusal::not_found(format!("There is no provision {id}."))
}

/// Interventions of a test.
impl Bank {
    pub(crate) fn seed(&mut self, seed: &[SeedProvision]) -> Result<(), String> {
        for (index, wanted) in seed.iter().enumerate() {
            self.seed_one(wanted).map_err(|problem| format!("provision {} of the seed: {problem}", index + 1))?;
        }
        Ok(())
    }

    fn seed_one(&mut self, wanted: &SeedProvision) -> Result<(), String> {
        let now = self.clock.now();
        let provision = wanted.make(self.provisions.terms(), now, &mut self.numbers)?;
        let provision = self.provisions.add(provision)?;
        if wanted.user.is_empty() {
            return Ok(());
        }
        if !provision.has_user() {
            return Err("it has no user yet".to_owned());
        }
        let user = provision.user(now, &mut self.numbers).api_key;
        wanted.user.plant(self, user, now)
    }

    pub(crate) fn populate(&mut self, count: usize) -> Vec<u64> {
        self.provisions.populate(count, self.clock.now(), &mut self.numbers)
    }

    /// Applies an event to a provision for a test; returns whether it was possible.
    pub(crate) fn intervene(&mut self, id: u64, event: LifeCycleEvent) -> bool {
        self.provisions.on(id, event, self.clock.now(), &mut self.numbers)
    }

    /// Makes an unused credential expire; returns whether there was one.
    pub(crate) fn expire_credential(&mut self, id: u64) -> bool {
        let now = self.clock.now();
        let provision = self.provisions.get(id, now, &mut self.numbers);
        provision.is_some_and(|provision| provision.expire_credential(now))
    }

    /// Ends the sessions of a provision's user; returns how many were alive.
    pub(crate) fn end_sessions_of(&mut self, id: u64) -> usize {
        let now = self.clock.now();
        let provision = self.provisions.get(id, now, &mut self.numbers);
        let credential = provision.and_then(|provision| provision.credential_id());
        credential.map_or(0, |credential| self.access.end_sessions_of(credential, now))
    }

    /// Returns the provision as a client would read it, without counting as a read.
    pub(crate) fn peek(&mut self, id: u64) -> Option<Value> {
        let now = self.clock.now();
        Some(self.provisions.get(id, now, &mut self.numbers)?.show(now))
    }
}
