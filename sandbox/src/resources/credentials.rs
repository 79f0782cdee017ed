//! API keys as credentials: whose they are, which device holds them, and from where they may be used.

use std::net::IpAddr;

use bunq_partner::types::{CreateCredentialIpRequest, RequestedCredentialIpStatus, UpdateCredentialIpRequest};
use bunq_partner::{Operation, Secret};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Answer, Handler, RoutedCall};
use crate::bank::Bank;
use crate::clock::in_bunqs_form;
use crate::input;
use crate::objects::credential_ip::CredentialIp;
use crate::objects::table::Stored;
use crate::wire::response::{RawResponse, Refusal};

pub(super) const ANSWERS: &[Answer] = &[
    Answer { operation: &Operation::LIST_CREDENTIALS, handler: Handler::SessionUser(list) },
    Answer { operation: &Operation::GET_CREDENTIAL, handler: Handler::SessionUser(get) },
    Answer { operation: &Operation::LIST_CREDENTIAL_IPS, handler: Handler::SessionUser(list_ips) },
    Answer { operation: &Operation::CREATE_CREDENTIAL_IP, handler: Handler::SessionUser(create_ip) },
    Answer { operation: &Operation::GET_CREDENTIAL_IP, handler: Handler::SessionUser(get_ip) },
    Answer { operation: &Operation::UPDATE_CREDENTIAL_IP, handler: Handler::SessionUser(update_ip) },
];

/// The id of the credential that the partner's own API key is. Objects that are made have ids above 1000.
const PARTNERS: u64 = 1000;

/// An API key, and whose it is.
#[derive(Debug)]
pub(crate) struct Credential {
    pub(crate) user: u64,
    id: u64,
    api_key: Secret,
    /// When it was made, if it is a provisioned user's, and until when it waits for its first use, if it does.
    created: Option<Timestamp>,
    expiry: Option<Timestamp>,
    pub(crate) registers_devices: bool,
    pub(crate) opens_sessions: bool,
}

fn list(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let credentials = bank.credential_of(user, request.now).into_iter();
    Ok(RawResponse::items(credentials.map(|credential| bank.show_credential(&credential)).collect()))
}

fn get(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let credential = bank.credential_in(request, user)?;
    Ok(RawResponse::items(vec![bank.show_credential(&credential)]))
}

fn list_ips(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let credential = bank.credential_in(request, user)?;
    let addresses = bank.objects.credential_ips.of(user).rev();
    let addresses = addresses.filter(|address| address.content.credential == credential.id);
    Ok(RawResponse::items(addresses.map(show_ip).collect()))
}

fn create_ip(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let credential = bank.credential_in(request, user)?;
    let from = request.call.from;
    if bank.permits(&credential, from) != Some(true) {
        return Err(Refusal::new(403, format!("The call came from {from}, where the API key may not be used.")));
    }
    let body: CreateCredentialIpRequest = input::body(&request.call.body)?;
    let ip = IpAddr::from(body.ip);
    let is_active = body.status != Some(RequestedCredentialIpStatus::Inactive);
    let addresses = &mut bank.objects.credential_ips;
    let id = match addresses.find(user, credential.id, ip).map(|address| address.id) {
        Some(id) => {
            addresses.change(user, id, request.now)?.is_active = is_active;
            id
        }
        None => {
            let content = CredentialIp { credential: credential.id, ip, is_active };
            addresses.add(user, content, request.now, &mut bank.numbers)
        }
    };
    Ok(RawResponse::id(id))
}

fn get_ip(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    Ok(RawResponse::items(vec![show_ip(bank.ip_in(request, user)?)]))
}

fn update_ip(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let id = bank.ip_in(request, user)?.id;
    let body: UpdateCredentialIpRequest = input::body(&request.call.body)?;
    let is_active = body.status == RequestedCredentialIpStatus::Active;
    bank.objects.credential_ips.change(user, id, request.now)?.is_active = is_active;
    Ok(RawResponse::id(id))
}

fn show_ip(address: &Stored<CredentialIp>) -> Value {
    let CredentialIp { ip, is_active, .. } = address.content;
    let status = if is_active { "ACTIVE" } else { "INACTIVE" };
    json!({ "PermittedIp": { "id": address.id, "ip": ip, "status": status } })
}

impl Bank {
    /// An API key; `None`: it is none of this bank's.
    pub(crate) fn credential(&mut self, api_key: &Secret, now: Timestamp) -> Option<Credential> {
        let (user, api_key) = (self.partner, api_key.clone());
        if api_key == self.settings.api_key {
            let (registers_devices, opens_sessions) = (true, true);
            let (created, expiry) = (None, None);
            return Some(Credential {
                user,
                id: PARTNERS,
                api_key,
                created,
                expiry,
                registers_devices,
                opens_sessions,
            });
        }
        let provision = self.provisions.holder(&api_key, now, &mut self.numbers)?;
        let user = provision.user(now, &mut self.numbers).api_key;
        let stored = provision.credential_in_force()?;
        Some(Credential {
            user,
            id: stored.id,
            api_key,
            created: Some(stored.created),
            expiry: (!stored.is_used).then_some(stored.expiry),
            registers_devices: stored.awaits_first_use(now),
            opens_sessions: stored.opens_sessions(now),
        })
    }

    /// The API key of a user; a provisioned user whose provision is closing or closed has none.
    fn credential_of(&mut self, user: u64, now: Timestamp) -> Option<Credential> {
        let api_key = match user == self.partner {
            true => self.settings.api_key.clone(),
            false => self.provisions.of_user(user)?.credential_in_force()?.token.clone(),
        };
        self.credential(&api_key, now)
    }

    /// The credential that a path names, if it is the user's.
    fn credential_in(&mut self, request: &RoutedCall<'_>, user: u64) -> Result<Credential, Refusal> {
        let [id] = request.route.ids();
        let credential = self.credential_of(user, request.now).filter(|credential| credential.id == id);
        credential.ok_or_else(|| Refusal::not_found(format!("There is no credential {id}.")))
    }

    /// The address that a path names, if it is that of its credential.
    fn ip_in(&mut self, request: &RoutedCall<'_>, user: u64) -> Result<&Stored<CredentialIp>, Refusal> {
        let [_, id] = request.route.ids();
        let credential = self.credential_in(request, user)?;
        let address = self.objects.credential_ips.get(user, id)?;
        if address.content.credential == credential.id {
            Ok(address)
        } else {
            Err(Refusal::not_found(format!("There is no address {id}.")))
        }
    }

    /// As bunq shows it. Its device is the one that was registered last.
    fn show_credential(&self, credential: &Credential) -> Value {
        let devices = || self.access.devices_with(&credential.api_key);
        let (first, last) = (devices().min_by_key(|device| device.id), devices().max_by_key(|device| device.id));
        let time = |time: Option<Timestamp>| time.map(in_bunqs_form);
        let created = credential.created.or(first.map(|device| device.created));
        let waits = credential.expiry.is_some();
        let status = match (waits, credential.opens_sessions) {
            (false, _) => "ACTIVE",
            (true, true) => "PENDING_FIRST_USE",
            (true, false) => "EXPIRED",
        };
        json!({ "CredentialPasswordIp": {
            "id": credential.id,
            "created": time(created),
            "updated": time(last.map(|device| device.created).or(created)),
            "status": status,
            "expiry_time": time(credential.expiry),
            "token_value": (status == "PENDING_FIRST_USE").then(|| credential.api_key.expose()),
            "permitted_device": last.filter(|_| !waits).map(|device| json!({
                "description": device.description,
                "ip": device.ip,
            })),
        }})
    }

    /// Whether a key may be used from an address; `None`: it is bound to none yet. What its credential says of an address goes before
    /// what it was registered with.
    pub(crate) fn permits(&self, credential: &Credential, from: IpAddr) -> Option<bool> {
        let of_credential = self.objects.credential_ips.find(credential.user, credential.id, from);
        let of_devices = || {
            let devices = self.access.devices_with(&credential.api_key).map(|device| device.permits(from));
            devices.reduce(|one, other| one || other)
        };
        of_credential.map(|address| address.content.is_active).or_else(of_devices)
    }

    /// Adds an address to a credential, unless the credential has it.
    pub(crate) fn permit(&mut self, credential: &Credential, ip: IpAddr, now: Timestamp) {
        let Credential { user, id, .. } = *credential;
        if self.objects.credential_ips.find(user, id, ip).is_none() {
            let content = CredentialIp { credential: id, ip, is_active: true };
            self.objects.credential_ips.add(user, content, now, &mut self.numbers);
        }
    }
}
