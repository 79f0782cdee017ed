//! Installations with their devices, sessions, and the tokens of both.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use bunq_partner::types::Secret;
use bunq_partner::wire::VerifyingKey;
use bunq_partner::wire::{PermittedIp, exposed};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

use crate::clock::{in_bunqs_form, random_token};
use crate::settings::DeadToken;
use crate::wire::call_log::ReceivedSignature;
use crate::wire::response::Refusal;

/// How many ids of requests are remembered for an installation.
const REMEMBERED: usize = 100_000;

/// The installations and sessions, and the tokens that were issued for them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccessControl {
    manner: DeadToken,
    installations: HashMap<u64, KnownInstallation>,
    sessions: BTreeMap<u64, IssuedSession>,
    tokens: HashMap<String, TokenHolder>,
    /// Whether something that is saved has changed.
    #[serde(skip)]
    is_changed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct KnownInstallation {
    #[serde(serialize_with = "to_pem", deserialize_with = "from_pem")]
    key: VerifyingKey,
    devices: Vec<RegisteredDevice>,
    #[serde(skip)]
    request_ids: RecentIds,
}

/// A device, and the API key that is bound to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RegisteredDevice {
    pub(crate) id: u64,
    #[serde(serialize_with = "exposed")]
    pub(crate) api_key: Secret,
    pub(crate) description: String,
    pub(crate) created: Timestamp,
    /// The address that it was registered from.
    pub(crate) ip: IpAddr,
    /// The other addresses that it may be used from.
    pub(crate) permitted_ips: Vec<PermittedIp>,
}

impl RegisteredDevice {
    /// Whether the key may be used from an address.
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        address == self.ip || lists(&self.permitted_ips, address)
    }

    /// The device as bunq shows it, in its envelope.
    pub(crate) fn show(&self) -> Value {
        let created = in_bunqs_form(self.created);
        let (id, description) = (self.id, &self.description);
        json!({ "DeviceServer": {
            "id": id, "created": created, "updated": created, "description": description,
            "ip": self.ip, "status": "ACTIVE",
        }})
    }
}

/// Whether a list of permitted addresses has this one.
pub(crate) fn lists(permitted_ips: &[PermittedIp], address: IpAddr) -> bool {
    permitted_ips.iter().any(|permitted| match permitted {
        PermittedIp::Any => true,
        PermittedIp::Only(permitted) => *permitted == address,
    })
}

/// A session. It is stored after its end too, because it identifies the key that signatures are checked with.
#[derive(Debug, Serialize, Deserialize)]
struct IssuedSession {
    installation: u64,
    user: ActingUser,
    expiry: Timestamp,
    is_ended: bool,
}

impl IssuedSession {
    fn is_alive(&self, now: Timestamp) -> bool {
        !self.is_ended && now < self.expiry
    }
}

/// The installation or session that a token was issued for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct TokenHolder {
    installation: u64,
    /// `None`: for the installation itself.
    session: Option<u64>,
}

/// The user that a session acts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ActingUser {
    Partner,
    Provisioned(ProvisionedUser),
}

/// A provisioned user in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProvisionedUser {
    /// Its `UserApiKey.id`, which paths have.
    pub(crate) id: u64,
    pub(crate) provision: u64,
    /// The credential that the session was opened with, and with which it ends.
    pub(crate) credential: u64,
}

/// A session that is alive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveSession {
    pub(crate) id: u64,
    pub(crate) installation: u64,
    pub(crate) user: ActingUser,
}

impl AccessControl {
    pub(crate) fn new(manner: DeadToken) -> Self {
        let (installations, sessions, tokens) = Default::default();
        Self { manner, installations, sessions, tokens, is_changed: true }
    }

    /// Whether something that is saved has changed since this was called before.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Forgets every installation, device and session.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(self.manner);
    }

    /// Replaces everything but the settings by a saved state.
    pub(crate) fn restore(&mut self, saved: Self) {
        *self = Self { manner: self.manner, ..saved };
    }

    /// The refusal of a token that is dead or unknown.
    pub(crate) fn dead(&self) -> Refusal {
        Refusal::dead(self.manner)
    }

    /// Adds an installation, and returns its token.
    pub(crate) fn install(&mut self, id: u64, key: VerifyingKey) -> String {
        self.installations
            .insert(id, KnownInstallation { key, devices: Vec::new(), request_ids: RecentIds::default() });
        self.give_out(TokenHolder { installation: id, session: None })
    }

    pub(crate) fn register_device(&mut self, installation: u64, device: RegisteredDevice) {
        if let Some(installation) = self.installations.get_mut(&installation) {
            installation.devices.push(device);
            self.is_changed = true;
        }
    }

    pub(crate) fn devices(&self, installation: u64) -> &[RegisteredDevice] {
        self.installations.get(&installation).map_or(&[], |installation| &installation.devices)
    }

    /// The devices that a key is bound to, of every installation.
    pub(crate) fn devices_with(&self, api_key: &Secret) -> impl Iterator<Item = &RegisteredDevice> {
        let devices = self.installations.values().flat_map(|installation| &installation.devices);
        devices.filter(move |device| device.api_key == *api_key)
    }

    /// Opens a session, and returns its token.
    pub(crate) fn open_session(&mut self, id: u64, installation: u64, user: ActingUser, expiry: Timestamp) -> String {
        self.sessions.insert(id, IssuedSession { installation, user, expiry, is_ended: false });
        self.give_out(TokenHolder { installation, session: Some(id) })
    }

    /// Ends a session of the same user under the same installation; returns whether there was one to end.
    pub(crate) fn end_session(&mut self, id: u64, own: LiveSession) -> bool {
        self.is_changed = true;
        let is_own =
            |session: &&mut IssuedSession| (session.installation, session.user) == (own.installation, own.user);
        let session = self.sessions.get_mut(&id).filter(is_own);
        session.is_some_and(|session| !std::mem::replace(&mut session.is_ended, true))
    }

    pub(crate) fn end_all_sessions(&mut self) {
        self.is_changed = true;
        self.sessions.values_mut().for_each(|session| session.is_ended = true);
    }

    /// Ends the sessions that were opened with this credential; returns how many were alive.
    pub(crate) fn end_sessions_of(&mut self, credential: u64, now: Timestamp) -> usize {
        self.is_changed = true;
        let is_with_it = |user| matches!(user, ActingUser::Provisioned(user) if user.credential == credential);
        let sessions = self.sessions.values_mut().filter(|session| session.is_alive(now) && is_with_it(session.user));
        sessions.map(|session| session.is_ended = true).count()
    }

    /// Ends the session that this token was issued for, if it is that of one.
    pub(crate) fn end_session_of_token(&mut self, token: Option<&str>) {
        if let Some(session) = self.session_of_token(token).and_then(|id| self.sessions.get_mut(&id)) {
            session.is_ended = true;
            self.is_changed = true;
        }
    }

    /// The id of the session that this token was issued for, whether it is alive or not.
    pub(crate) fn session_of_token(&self, token: Option<&str>) -> Option<u64> {
        self.holder(token).ok()?.session
    }

    /// The installation that this token was issued to.
    pub(crate) fn installation(&self, token: Option<&str>) -> Result<u64, Refusal> {
        match self.holder(token)? {
            TokenHolder { installation, session: None } => Ok(installation),
            _ => Err(Refusal::unauthorized("The token of a session was given where the installation's is needed.")),
        }
    }

    /// The session that this token was issued for, if it is alive.
    pub(crate) fn session(&self, token: Option<&str>, now: Timestamp) -> Result<LiveSession, Refusal> {
        let Some(id) = self.holder(token)?.session else {
            return Err(Refusal::unauthorized("The token of an installation was given where a session's is needed."));
        };
        match self.sessions.get(&id).filter(|session| session.is_alive(now)) {
            Some(session) => Ok(LiveSession { id, installation: session.installation, user: session.user }),
            None => Err(self.dead()),
        }
    }

    /// Checks the signature of a call with `token` over `body`.
    pub(crate) fn judge(&self, signature: Option<&str>, token: Option<&str>, body: &[u8]) -> ReceivedSignature {
        let Some(signature) = signature else { return ReceivedSignature::None };
        let holder = self.holder(token).ok();
        match holder.and_then(|holder| self.installations.get(&holder.installation)) {
            None => ReceivedSignature::Unchecked,
            Some(installation) if installation.key.verifies(body, signature.as_bytes()) => ReceivedSignature::Valid,
            Some(_) => ReceivedSignature::Invalid,
        }
    }

    /// Records the id of a request; returns whether it is new.
    pub(crate) fn note_request_id(&mut self, installation: u64, request_id: &str) -> bool {
        self.installations
            .get_mut(&installation)
            .is_some_and(|installation| installation.request_ids.note(request_id, REMEMBERED))
    }

    fn give_out(&mut self, holder: TokenHolder) -> String {
        let token = random_token();
        self.is_changed = true;
        self.tokens.insert(token.clone(), holder);
        token
    }

    fn holder(&self, token: Option<&str>) -> Result<TokenHolder, Refusal> {
        let token =
            token.ok_or_else(|| Refusal::unauthorized("The header X-Bunq-Client-Authentication is missing."))?;
        self.tokens.get(token).copied().ok_or_else(|| self.dead())
    }
}

fn to_pem<S: Serializer>(key: &VerifyingKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&key.to_pem())
}

fn from_pem<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VerifyingKey, D::Error> {
    VerifyingKey::from_pem(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// The last ids seen.
#[derive(Debug, Default)]
struct RecentIds {
    in_order: VecDeque<Arc<str>>,
    all: HashSet<Arc<str>>,
}

impl RecentIds {
    /// Records `id`, forgetting the oldest beyond `limit`; returns whether it is new.
    fn note(&mut self, id: &str, limit: usize) -> bool {
        let id: Arc<str> = id.into();
        if !self.all.insert(Arc::clone(&id)) {
            return false;
        }
        self.in_order.push_back(id);
        if self.in_order.len() > limit
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.all.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_remembered_up_to_a_limit() {
        test_timeout::start();
        let mut ids = RecentIds::default();
        assert!(ids.note("a", 2) && !ids.note("a", 2));
        assert!(ids.note("b", 2) && ids.note("c", 2), "a makes room");
        assert!(!ids.note("b", 2) && !ids.note("c", 2));
        assert!(ids.note("a", 2));
        assert_eq!((ids.in_order.len(), ids.all.len()), (2, 2));
    }

    #[test]
    fn unknown_tokens_are_refused() {
        test_timeout::start();
        let access = AccessControl::new(DeadToken::InsufficientAuthorisation);
        assert_eq!(access.installation(None).unwrap_err().status, 401);
        assert_eq!(access.session(Some("x"), Timestamp::now()).unwrap_err().status, 403);
        assert_eq!(access.judge(Some("AAAA"), Some("x"), b""), ReceivedSignature::Unchecked);
        assert_eq!(access.judge(None, Some("x"), b""), ReceivedSignature::None);
    }
}
