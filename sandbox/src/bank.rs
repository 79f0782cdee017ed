//! The bank: all state of the sandbox, and what every call does to it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::Value;

use super::access_control::{AccessControl, ActingUser, LiveSession, RegisteredDevice};
use super::call::ReceivedCall;
use super::clock::{Clock, Numbers};
use super::creation::Creation;
use super::input;
use super::journal::ReceivedSignature;
use super::life_cycle::Event;
use super::listing::Listing;
use super::profile::Profile;
use super::provisions::{ProvisionTable, item};
use super::response::{REQUEST_ID, RawResponse, Refusal};
use super::routes::Route;
use super::seed::SeedProvision;
use super::settings::{CreationResponse, Pace};
use bunq_partner::types::{RequestedStatus, Secret, UpdateProvisionRequest};
use bunq_partner::{Auth, Operation};

/// How the bank is set up.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) pace: Pace,
    pub(super) api_key: Secret,
    pub(super) profile: Profile,
    /// The addresses that the API key may be used from; `None`: all.
    pub(super) allowed_addresses: Option<Vec<IpAddr>>,
    pub(super) public_key_pem: String,
}

/// The bank. The module of the handshake uses its fields too.
#[derive(Debug)]
pub(super) struct Bank {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) numbers: Numbers,
    pub(super) access: AccessControl,
    pub(super) provisions: ProvisionTable,
    /// The partner's company.
    pub(super) partner: u64,
}

impl Bank {
    pub(super) fn new(settings: Settings) -> Self {
        let mut numbers = Numbers::new();
        let partner = numbers.next();
        let access = AccessControl::new(settings.profile.dead_token);
        let provisions = ProvisionTable::new(settings.pace, settings.profile.duplicate);
        Self { settings, clock: Clock::new(), numbers, access, provisions, partner }
    }

    /// What the signature of a call is worth.
    pub(super) fn judge(&self, call: &ReceivedCall) -> ReceivedSignature {
        self.access.judge(call.header("X-Bunq-Client-Signature"), call.token(), &call.body)
    }

    /// Carries out a call that has a signature of this worth.
    pub(super) fn perform(
        &mut self,
        route: &Route,
        call: &ReceivedCall,
        signature: ReceivedSignature,
    ) -> Result<RawResponse, Refusal> {
        check_headers(call)?;
        let request_id = call.header(REQUEST_ID);
        let now = self.clock.now();
        match route.operation.auth {
            Auth::None => self.install(&call.body, now),
            Auth::Installation => {
                let installation = self.access.installation(call.token())?;
                self.vet(installation, request_id, signature)?;
                if route.operation == &Operation::CREATE_DEVICE_SERVER {
                    self.check_signed(call, signature)?;
                    return self.register_device(installation, call, now);
                }
                if signature == ReceivedSignature::None {
                    self.settings.profile.unsigned_session.map_or(Ok(()), |status| Err(unsigned(status)))?;
                }
                self.open_session(installation, call, now)
            }
            Auth::Session => {
                let session = self.access.session(call.token(), now)?;
                self.vet(session.installation, request_id, signature)?;
                self.check_signed(call, signature)?;
                self.in_session(route, session, call, now)
            }
            _ => Err(Refusal::not_implemented(route.operation.id)),
        }
    }

    /// Checks what every call with a token needs: a request id, if there is one, is new; a signature, if there is one, is
    /// valid.
    fn vet(
        &mut self,
        installation: u64,
        request_id: Option<&str>,
        signature: ReceivedSignature,
    ) -> Result<(), Refusal> {
        if let Some(id) = request_id
            && !self.access.note_request_id(installation, id)
            && let Some(status) = self.settings.profile.repeated_request_id
        {
            return Err(Refusal::used_request_id(status, id));
        }
        match signature {
            ReceivedSignature::Invalid => {
                Err(Refusal::unauthorized("The signature is not the installation's over this body."))
            }
            ReceivedSignature::None | ReceivedSignature::Valid | ReceivedSignature::Unchecked => Ok(()),
        }
    }

    /// Checks that a body is signed, where bunq is that strict.
    fn check_signed(&self, call: &ReceivedCall, signature: ReceivedSignature) -> Result<(), Refusal> {
        let is_unsigned = signature == ReceivedSignature::None && !call.body.is_empty();
        if self.settings.profile.require_signatures && is_unsigned { Err(unsigned(466)) } else { Ok(()) }
    }

    fn in_session(
        &mut self,
        route: &Route,
        session: LiveSession,
        call: &ReceivedCall,
        now: Timestamp,
    ) -> Result<RawResponse, Refusal> {
        let is_about_provisions = route.operation.path.starts_with(Operation::CREATE_PROVISION.path);
        if is_about_provisions && session.user != ActingUser::Partner {
            return Err(Refusal::new(403, "The session is a provisioned user's: provisions are the partner's."));
        }
        let id = route.id();
        match route.operation.id {
            "get_installation" => Ok(RawResponse::id(session.installation)),
            "list_device_servers" => {
                let devices = self.access.devices(session.installation).iter();
                Ok(RawResponse::items(devices.map(RegisteredDevice::show).collect()))
            }
            "get_device_server" => {
                let device = self.access.devices(session.installation).iter().find(|device| device.id == id);
                let device = device.ok_or_else(|| Refusal::not_found(format!("There is no device {id}.")))?;
                Ok(RawResponse::items(vec![device.show()]))
            }
            "delete_session" => self.end_session(session, id),
            "create_provision" => self.create(&call.body, now),
            "list_provisions" => {
                let listing = Listing::from_query(call.query.as_deref())?;
                let (items, pagination) = self.provisions.list(&listing, now, &mut self.numbers)?;
                Ok(RawResponse::page(items, pagination))
            }
            "get_provision" => {
                let item = self.provisions.read(id, now, &mut self.numbers).ok_or_else(|| no_provision(id))?;
                Ok(RawResponse::items(vec![item]))
            }
            "update_provision" => self.update(id, &call.body, now),
            // The document may have operations that the sandbox does not implement.
            other => Err(Refusal::not_implemented(other)),
        }
    }

    fn create(&mut self, body: &[u8], now: Timestamp) -> Result<RawResponse, Refusal> {
        let creation = Creation::from_body(body)?;
        let created = self.provisions.create(creation, now, &mut self.numbers)?;
        Ok(match self.settings.profile.creation_response {
            CreationResponse::Id => RawResponse::id(created.id),
            CreationResponse::Provision => RawResponse::items(vec![item(created.show(now))]),
        })
    }

    fn update(&mut self, id: u64, body: &[u8], now: Timestamp) -> Result<RawResponse, Refusal> {
        let request: UpdateProvisionRequest = input::body(body)?;
        let event = match request.status {
            RequestedStatus::Cancelled => Event::Close,
            RequestedStatus::TokenResetRequested => Event::Reset,
            other => return Err(Refusal::not_implemented(format_args!("the status {other}"))),
        };
        let provision = self.provisions.get(id, now, &mut self.numbers).ok_or_else(|| no_provision(id))?;
        provision.wish(event, now, &mut self.numbers)?;
        Ok(RawResponse::id(id))
    }

    /// Makes the provisions of a seed.
    pub(super) fn seed(&mut self, seed: &[SeedProvision]) -> Result<(), String> {
        self.provisions.seed(seed, self.clock.now(), &mut self.numbers)
    }

    /// Makes provisions that are active, and returns their ids.
    pub(super) fn populate(&mut self, count: usize) -> Vec<u64> {
        self.provisions.populate(count, self.clock.now(), &mut self.numbers)
    }

    /// Applies an event to a provision for a test; returns whether it was possible.
    pub(super) fn intervene(&mut self, id: u64, event: Event) -> bool {
        self.provisions.on(id, event, self.clock.now(), &mut self.numbers)
    }

    /// Makes an unused credential expire; returns whether there was one.
    pub(super) fn expire_credential(&mut self, id: u64) -> bool {
        let now = self.clock.now();
        let provision = self.provisions.get(id, now, &mut self.numbers);
        provision.is_some_and(|provision| provision.expire_credential(now))
    }

    /// Returns the provision as a client would read it, without counting as a read.
    pub(super) fn peek(&mut self, id: u64) -> Option<Value> {
        let now = self.clock.now();
        Some(self.provisions.get(id, now, &mut self.numbers)?.show(now))
    }
}

/// Checks the headers that every call must have, or must have right.
fn check_headers(call: &ReceivedCall) -> Result<(), Refusal> {
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

fn unsigned(status: u16) -> Refusal {
    Refusal::new(status, "The request must be signed: X-Bunq-Client-Signature is missing.")
}

fn no_provision(id: u64) -> Refusal {
    Refusal::not_found(format!("There is no provision {id}."))
}
