//! From nothing to a session and back: installation, device, session, end.

use std::fmt::Display;
use std::net::IpAddr;

use bunq_partner::Operation;
use bunq_partner::types::{DeviceServerRequest, InstallationRequest, Secret, SessionServerRequest};
use bunq_partner::wire::{PermittedIp, VerifyingKey};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::credentials::Credential;
use super::provisions::provision::PlaceOfUse;
use super::{Answer, Handler, RoutedCall};
use crate::access_control::{self, ActingUser, LiveSession, ProvisionedUser, RegisteredDevice};
use crate::bank::Bank;
use crate::clock::{after, in_bunqs_form};
use crate::input;
use crate::settings::AcceptedInstallation;
use crate::wire::call_log::ReceivedSignature;
use crate::wire::response::{RawResponse, Refusal};

pub(super) const ANSWERS: &[Answer] = &[
    Answer { operation: &Operation::CREATE_INSTALLATION, handler: Handler::Anonymous(Bank::install) },
    Answer { operation: &Operation::GET_INSTALLATION, handler: Handler::Session(Bank::get_installation) },
    Answer { operation: &Operation::GET_INSTALLATION_BY_ID, handler: Handler::Session(Bank::get_installation_by_id) },
    Answer { operation: &Operation::GET_SERVER_PUBLIC_KEY, handler: Handler::Session(Bank::get_server_public_key) },
    Answer { operation: &Operation::CREATE_DEVICE_SERVER, handler: Handler::Installation(Bank::register_device) },
    Answer { operation: &Operation::LIST_DEVICE_SERVERS, handler: Handler::Session(Bank::list_devices) },
    Answer { operation: &Operation::GET_DEVICE_SERVER, handler: Handler::Session(Bank::get_device) },
    Answer { operation: &Operation::CREATE_SESSION, handler: Handler::Installation(Bank::open_session) },
    Answer { operation: &Operation::DELETE_SESSION, handler: Handler::Session(Bank::end_session) },
];

/// What bunq says to every key that it does not accept.
const INCORRECT: &str = "User credentials are incorrect. Incorrect API key or IP address.";

impl Bank {
    fn install(&mut self, request: &RoutedCall<'_>) -> Result<RawResponse, Refusal> {
        let now = request.now;
        let request: InstallationRequest = input::body(&request.call.body)?;
        let refused =
            |problem: &dyn Display| Refusal::bad_request(format!("client_public_key cannot be used: {problem}."));
        let pem = &request.client_public_key;
        let key = VerifyingKey::from_pem(pem).map_err(|problem| refused(&problem))?;
        // The client reads PKCS#1 too; whether bunq does is not known.
        if !pem.contains("BEGIN PUBLIC KEY") {
            return Err(refused(&"it is not in the form SubjectPublicKeyInfo"));
        }
        let id = self.numbers.next();
        let token = self.access.install(id, key);
        Ok(RawResponse::items(vec![id_item(id), self.token_item(token, now), self.show_public_key()]))
    }

    fn register_device(&mut self, request: &RoutedCall<'_>, installation: u64) -> Result<RawResponse, Refusal> {
        self.check_signed(request.call, request.signature)?;
        let &RoutedCall { call, now, .. } = request;
        let request: DeviceServerRequest = input::body(&call.body)?;
        let api_key = Secret::from(request.secret);
        let credential = self.credential(&api_key, now).filter(|credential| {
            credential.registers_devices() && (credential.is_partners() || self.takes_users_device(installation))
        });
        let credential = credential.ok_or_else(|| self.wrong_key())?;
        let lists_caller = request.permitted_ips.is_empty() || access_control::lists(&request.permitted_ips, call.from);
        if !self.allows(call.from) || !lists_caller || self.permits(&credential, call.from) == Some(false) {
            return Err(self.wrong_key());
        }
        self.permit(&credential, call.from, now);
        for permitted in &request.permitted_ips {
            if let PermittedIp::Only(ip) = *permitted {
                self.permit(&credential, ip.into(), now);
            }
        }
        let device = RegisteredDevice {
            id: self.numbers.next(),
            api_key,
            description: request.description.into(),
            created: now,
            ip: call.from,
            permitted_ips: request.permitted_ips,
        };
        let id = device.id;
        self.access.register_device(installation, device);
        Ok(RawResponse::id(id))
    }

    fn open_session(&mut self, request: &RoutedCall<'_>, installation: u64) -> Result<RawResponse, Refusal> {
        if let (ReceivedSignature::None, Some(status)) = (request.signature, self.settings.profile.unsigned_session) {
            return Err(Refusal::unsigned(status));
        }
        let &RoutedCall { call, now, .. } = request;
        let request: SessionServerRequest = input::body(&call.body)?;
        let api_key = Secret::from(request.secret);
        let credential = self.credential(&api_key, now).ok_or_else(|| self.wrong_key())?;
        let place = self.place_of_use(&api_key, installation).ok_or_else(|| self.wrong_key())?;
        let is_taken = credential.is_partners() || credential.opens_session_in(place);
        if !is_taken || !self.allows(call.from) || !self.permits_in(place, &credential, call.from) {
            return Err(self.wrong_key());
        }
        if place == PlaceOfUse::Partner && !credential.is_partners() {
            self.permit(&credential, call.from, now);
        }
        let partner = self.show_partner();
        let (user, user_item) = match self.provisions.holder(&api_key, now, &mut self.numbers) {
            None => (ActingUser::Partner, json!({ "UserCompany": partner })),
            Some(provision) => {
                provision.use_credential(place, now);
                let user = provision.user(now, &mut self.numbers);
                let shown = provision.show_user(user, &partner, self.settings.profile.session_timeout);
                let user = ProvisionedUser { id: user.api_key, provision: provision.id, credential: credential.id };
                (ActingUser::Provisioned(user), json!({ "UserApiKey": shown }))
            }
        };
        let id = self.numbers.next();
        let token = self.access.open_session(id, installation, user, after(now, self.settings.profile.session_timeout));
        Ok(RawResponse::items(vec![id_item(id), self.token_item(token, now), user_item]))
    }

    /// Ends a session of the caller's. The id 0 means the session of the call.
    fn end_session(&mut self, request: &RoutedCall<'_>, own: LiveSession) -> Result<RawResponse, Refusal> {
        let [id] = request.route.ids();
        let ended = if id == 0 { own.id } else { id };
        if self.access.end_session(ended, own) {
            Ok(RawResponse::items(Vec::new()))
        } else {
            Err(Refusal::not_found(format!("There is no session {id}.")))
        }
    }

    fn get_installation_by_id(
        &mut self,
        request: &RoutedCall<'_>,
        session: LiveSession,
    ) -> Result<RawResponse, Refusal> {
        Ok(RawResponse::id(own_installation(request, session)?))
    }

    fn get_server_public_key(
        &mut self,
        request: &RoutedCall<'_>,
        session: LiveSession,
    ) -> Result<RawResponse, Refusal> {
        own_installation(request, session)?;
        Ok(RawResponse::items(vec![self.show_public_key()]))
    }

    fn get_installation(&mut self, _: &RoutedCall<'_>, session: LiveSession) -> Result<RawResponse, Refusal> {
        Ok(RawResponse::id(session.installation))
    }

    fn list_devices(&mut self, _: &RoutedCall<'_>, session: LiveSession) -> Result<RawResponse, Refusal> {
        let devices = self.access.devices(session.installation).iter();
        Ok(RawResponse::items(devices.map(RegisteredDevice::show).collect()))
    }

    fn get_device(&mut self, request: &RoutedCall<'_>, session: LiveSession) -> Result<RawResponse, Refusal> {
        let [id] = request.route.ids();
        let device = self.access.devices(session.installation).iter().find(|device| device.id == id);
        let device = device.ok_or_else(|| Refusal::not_found(format!("There is no device {id}.")))?;
        Ok(RawResponse::items(vec![device.show()]))
    }

    /// Whether an installation takes the device of a provisioned user: not the partner's, and only of a bank that takes others.
    fn takes_users_device(&self, installation: u64) -> bool {
        self.settings.profile.user_installation != AcceptedInstallation::Partner && !self.is_partners(installation)
    }

    fn is_partners(&self, installation: u64) -> bool {
        self.has_device(&self.settings.api_key, installation)
    }

    fn has_device(&self, api_key: &Secret, installation: u64) -> bool {
        self.access.devices(installation).iter().any(|device| device.api_key == *api_key)
    }

    /// Where a key is used with this installation; `None`: the bank does not take it there.
    fn place_of_use(&self, api_key: &Secret, installation: u64) -> Option<PlaceOfUse> {
        let accepted = self.settings.profile.user_installation;
        match self.is_partners(installation) {
            true if *api_key == self.settings.api_key || accepted != AcceptedInstallation::Own => {
                Some(PlaceOfUse::Partner)
            }
            false if accepted != AcceptedInstallation::Partner && self.has_device(api_key, installation) => {
                Some(PlaceOfUse::Own(installation))
            }
            _ => None,
        }
    }

    /// Whether a key may be used from an address in this place. Under the partner's installation it is the partner's key that is bound to
    /// addresses, and a user's only to those that are forbidden for it.
    fn permits_in(&self, place: PlaceOfUse, credential: &Credential, from: IpAddr) -> bool {
        match place {
            PlaceOfUse::Partner => {
                let partners = self.own_credential();
                self.permits(&partners, from) == Some(true) && self.permits(credential, from) != Some(false)
            }
            PlaceOfUse::Own(_) | PlaceOfUse::Elsewhere => self.permits(credential, from) == Some(true),
        }
    }

    /// Whether API keys may be used from this address at all.
    fn allows(&self, address: IpAddr) -> bool {
        self.settings.allowed_addresses.as_ref().is_none_or(|allowed| allowed.contains(&address))
    }

    fn wrong_key(&self) -> Refusal {
        Refusal::new(self.settings.profile.wrong_key, INCORRECT)
    }

    fn show_public_key(&self) -> Value {
        json!({ "ServerPublicKey": { "server_public_key": self.settings.public_key_pem } })
    }

    fn show_partner(&self) -> Value {
        json!({
            "id": self.partner,
            "display_name": "Sandbox Partner",
            "public_nick_name": "Sandbox Partner",
            "avatar": null,
            "session_timeout": self.settings.profile.session_timeout.as_secs(),
        })
    }

    fn token_item(&mut self, token: String, now: Timestamp) -> Value {
        let time = in_bunqs_form(now);
        json!({ "Token": { "id": self.numbers.next(), "created": time, "updated": time, "token": token } })
    }
}

/// The installation in the path, which must be that of the session.
fn own_installation(request: &RoutedCall<'_>, session: LiveSession) -> Result<u64, Refusal> {
    match request.route.ids() {
        [id] if id == session.installation => Ok(id),
        [id] => Err(Refusal::not_found(format!("The session is not one of the installation {id}."))),
    }
}

fn id_item(id: u64) -> Value {
    json!({ "Id": { "id": id } })
}
