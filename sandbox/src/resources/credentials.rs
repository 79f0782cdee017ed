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
use crate::resources::provisions::provision::PlaceOfUse;
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
    user: u64,
    pub(crate) id: u64,
    api_key: Secret,
    status: &'static str,
    /// What a provisioned user's has beyond that; `None`: it is the partner's.
    of_user: Option<UserCredential>,
}

/// The API key of a provisioned user.
#[derive(Debug)]
struct UserCredential {
    created: Timestamp,
    expiry: Timestamp,
    first_use: Option<PlaceOfUse>,
}

impl Credential {
    pub(crate) fn is_partners(&self) -> bool {
        self.of_user.is_none()
    }

    fn first_use(&self) -> Option<PlaceOfUse> {
        self.of_user.as_ref()?.first_use
    }

    fn awaits_first_use(&self) -> bool {
        self.status == "PENDING_FIRST_USE"
    }

    /// Whether a device can be registered with it. The one of a user is for one device.
    pub(crate) fn registers_devices(&self) -> bool {
        self.is_partners() || self.awaits_first_use()
    }

    /// Whether a user's credential opens a session in this place.
    pub(crate) fn opens_session_in(&self, place: PlaceOfUse) -> bool {
        self.first_use().map_or(self.awaits_first_use(), |first| first == place)
    }
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
        if *api_key == self.settings.api_key {
            return Some(self.own_credential());
        }
        let provision = self.provisions.holder(api_key, now, &mut self.numbers)?;
        let user = provision.user(now, &mut self.numbers).api_key;
        let stored = provision.credential_in_force()?;
        let of_user = UserCredential { created: stored.created, expiry: stored.expiry, first_use: stored.first_use };
        let (id, api_key, status) = (stored.id, api_key.clone(), stored.status(now));
        Some(Credential { user, id, api_key, status, of_user: Some(of_user) })
    }

    /// The API key of the partner.
    pub(crate) fn own_credential(&self) -> Credential {
        let api_key = self.settings.api_key.clone();
        Credential { user: self.partner, id: PARTNERS, api_key, status: "ACTIVE", of_user: None }
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

    /// As bunq shows it. Its device is the one that was registered last, and under the partner's installation that of the partner.
    fn show_credential(&self, credential: &Credential) -> Value {
        let is_under_partner = credential.first_use() == Some(PlaceOfUse::Partner);
        let holder = if is_under_partner { &self.settings.api_key } else { &credential.api_key };
        let devices = || self.access.devices_with(holder);
        let (first, last) = (devices().min_by_key(|device| device.id), devices().max_by_key(|device| device.id));
        let time = |time: Option<Timestamp>| time.map(in_bunqs_form);
        let of_user = credential.of_user.as_ref();
        let created = of_user.map(|user| user.created).or(first.map(|device| device.created));
        let is_used = credential.status == "ACTIVE";
        json!({ "CredentialPasswordIp": {
            "id": credential.id,
            "created": time(created),
            "updated": time(last.map(|device| device.created).or(created)),
            "status": credential.status,
            "expiry_time": time(of_user.filter(|_| !is_used).map(|user| user.expiry)),
            "token_value": credential.awaits_first_use().then(|| credential.api_key.expose()),
            "permitted_device": last.filter(|_| is_used).map(|device| json!({
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
