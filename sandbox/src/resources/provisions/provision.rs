//! One provision: what bunq knows about it, and how it shows it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bunq_partner::types::{ProvisionStatus, Secret};
use bunq_partner::wire::exposed;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::{Numbers, after, in_bunqs_form, random_token};
use crate::resources::provisions::creation::UserProfile;
use crate::resources::provisions::life_cycle::{LifeCycleEvent, LifeCycleStep};
use crate::settings::Pace;
use crate::wire::response::Refusal;

/// How a bank processes provisions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) pace: Pace,
    /// How long a credential waits for its first use.
    pub(crate) credential_lifetime: Duration,
}

/// A provision as it is stored. It is small, because there may be a hundred thousand.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredProvision {
    pub(crate) id: u64,
    pub(crate) external_uuid: Uuid,
    /// Shared by those that are alike; each has one of its own after a restart.
    #[serde(serialize_with = "shared", deserialize_with = "unshared")]
    profile: Arc<UserProfile>,
    /// The made-up ids and codes are derived from this.
    seed: Uuid,
    created: Timestamp,
    updated: Timestamp,
    step: LifeCycleStep,
    /// When the step began.
    since: Timestamp,
    /// Whether a client has read it at this step.
    was_read: bool,
    has_label: bool,
    oauth_request: Option<StoredOauthRequest>,
    credential: Option<StoredCredential>,
    /// The user, since its credential was first given to bunq.
    #[serde(default)]
    user: Option<StoredUser>,
    /// Whether something has changed since it was saved.
    #[serde(skip)]
    is_changed: bool,
    /// Whether it has taken a step of which nobody was told.
    #[serde(skip)]
    has_moved: bool,
}

/// The OAuth request, as far as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct StoredOauthRequest {
    id: u64,
    client: u64,
    created: Timestamp,
}

/// The user for whom the partner acts. Its ids stay the same when its credential is replaced.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct StoredUser {
    /// The id of the person, which is in no path.
    pub(crate) person: u64,
    /// The id of the right to act for the person: that of the user in paths.
    pub(crate) api_key: u64,
    created: Timestamp,
}

impl StoredProvision {
    pub(crate) fn new(id: u64, external_uuid: Uuid, profile: Arc<UserProfile>, now: Timestamp) -> Self {
        Self {
            id,
            external_uuid,
            profile,
            seed: Uuid::new_v4(),
            created: now,
            updated: now,
            step: LifeCycleStep::User,
            since: now,
            was_read: false,
            has_label: false,
            oauth_request: None,
            credential: None,
            user: None,
            is_changed: true,
            has_moved: false,
        }
    }

    /// Whether it has taken a step since this was called before.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// When it takes its next step, if time makes it do so.
    pub(crate) fn next_step(&self, terms: Terms) -> Option<Timestamp> {
        let Pace::Every(interval) = terms.pace else { return None };
        self.step.on(LifeCycleEvent::Progress).map(|_| after(self.since, interval))
    }

    /// Whether something has changed since this was called before.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    pub(crate) fn status(&self) -> ProvisionStatus {
        self.step.status()
    }

    /// Applies `event` at the time `now`; returns whether it was possible.
    pub(crate) fn on(&mut self, event: LifeCycleEvent, terms: Terms, now: Timestamp, numbers: &mut Numbers) -> bool {
        let Some(next) = self.step.on(event) else { return false };
        let lifetime = terms.credential_lifetime;
        match (self.step, next) {
            (_, LifeCycleStep::Relation) => self.has_label = true,
            (_, LifeCycleStep::Onboarding) => {
                self.oauth_request =
                    Some(StoredOauthRequest { id: numbers.next(), client: numbers.next(), created: now });
                self.credential = Some(StoredCredential::new(lifetime, now, numbers));
            }
            (LifeCycleStep::Resetting, LifeCycleStep::Active) => {
                self.credential = Some(StoredCredential::new(lifetime, now, numbers));
            }
            (_, LifeCycleStep::Closed | LifeCycleStep::Failed) => self.credential = None,
            _ => {}
        }
        self.step = next;
        self.since = now;
        self.updated = now;
        self.was_read = false;
        (self.is_changed, self.has_moved) = (true, true);
        true
    }

    /// Carries out a request of the partner, or refuses it and names the current status.
    pub(crate) fn wish(
        &mut self,
        event: LifeCycleEvent,
        terms: Terms,
        now: Timestamp,
        numbers: &mut Numbers,
    ) -> Result<(), Refusal> {
        if self.on(event, terms, now, numbers) {
            return Ok(());
        }
        let wish = if event == LifeCycleEvent::Close { "closed" } else { "given a new token" };
        Err(Refusal::bad_request(format!(
            "Provision {} cannot be {wish}: its status is {}, its sub-status {}.",
            self.id,
            self.status(),
            self.step.sub_status()
        )))
    }

    /// Takes the steps that are due, with [`Pace::Every`].
    pub(crate) fn catch_up(&mut self, terms: Terms, now: Timestamp, numbers: &mut Numbers) {
        let Pace::Every(interval) = terms.pace else { return };
        loop {
            let due = after(self.since, interval);
            if due > now || !self.on(LifeCycleEvent::Progress, terms, due, numbers) {
                return;
            }
        }
    }

    /// Takes a step if the current one has been read, with [`Pace::EachRead`].
    pub(crate) fn before_read(&mut self, terms: Terms, now: Timestamp, numbers: &mut Numbers) {
        if terms.pace == Pace::EachRead && self.was_read {
            self.on(LifeCycleEvent::Progress, terms, now, numbers);
        }
    }

    /// As a client reads it.
    pub(crate) fn read(&mut self, now: Timestamp) -> Value {
        self.is_changed |= !self.was_read;
        self.was_read = true;
        self.show(now)
    }

    /// The credential, unless the provision is closing, closed or failed.
    pub(crate) fn credential_in_force(&mut self) -> Option<&mut StoredCredential> {
        let is_ending = matches!(self.step, LifeCycleStep::Closing | LifeCycleStep::Closed | LifeCycleStep::Failed);
        self.credential.as_mut().filter(|_| !is_ending)
    }

    /// The id of the credential, until the provision is closed or has failed.
    pub(crate) fn credential_id(&self) -> Option<u64> {
        self.credential.as_ref().map(|credential| credential.id)
    }

    /// Uses the credential in this place, which the first use binds it to; returns whether there is one.
    pub(crate) fn use_credential(&mut self, place: PlaceOfUse, now: Timestamp) -> bool {
        let Some(credential) = &mut self.credential else { return false };
        if credential.first_use.is_none() {
            credential.first_use = Some(place);
            credential.updated = now;
            self.updated = now;
            self.is_changed = true;
        }
        true
    }

    /// Makes an unused credential expire; returns whether there was one.
    pub(crate) fn expire_credential(&mut self, now: Timestamp) -> bool {
        let waiting = self.credential.as_mut().filter(|credential| credential.awaits_first_use(now));
        let Some(credential) = waiting else { return false };
        credential.expiry = now;
        credential.updated = now;
        self.updated = now;
        self.is_changed = true;
        true
    }

    /// As bunq shows it.
    pub(crate) fn show(&self, now: Timestamp) -> Value {
        let mut shown = json!({
            "id": self.id,
            "created": in_bunqs_form(self.created),
            "updated": in_bunqs_form(self.updated),
            "external_uuid": self.external_uuid,
            "status": self.status(),
            "sub_status": self.step.sub_status(),
            "action_required": self.step.action_required(),
            "products": self.profile.products,
        });
        // `json!` would copy them.
        shown["label_user"] = self.show_label();
        shown["oauth_request"] = self.oauth_request.as_ref().map(|request| self.show_oauth_request(request)).into();
        shown["credential"] = self.credential.as_ref().map(|credential| credential.show(now)).into();
        shown
    }

    /// The user, who gets its ids when this is called first.
    pub(crate) fn user(&mut self, now: Timestamp, numbers: &mut Numbers) -> StoredUser {
        *self.user.get_or_insert_with(|| {
            self.is_changed = true;
            StoredUser { person: numbers.next(), api_key: numbers.next(), created: now }
        })
    }

    /// Whether bunq has made the user by now.
    pub(crate) fn has_user(&self) -> bool {
        self.has_label
    }

    pub(crate) fn is_user(&self, api_key: u64) -> bool {
        self.user.is_some_and(|user| user.api_key == api_key)
    }

    /// The right of the partner to act for the user, as the session opened with the credential shows it.
    pub(crate) fn show_user(&self, user: StoredUser, partner: &Value, session_timeout: Duration) -> Value {
        let created = in_bunqs_form(user.created);
        json!({
            "id": user.api_key,
            "created": created,
            "updated": created,
            "requested_by_user": { "UserCompany": partner },
            "granted_by_user": {
                "UserPerson": {
                    "id": user.person,
                    "display_name": self.profile.display_name,
                    "public_nick_name": self.profile.display_name,
                    "avatar": null,
                    "session_timeout": session_timeout.as_secs(),
                },
            },
        })
    }

    fn show_label(&self) -> Value {
        if !self.has_label {
            return Value::Null;
        }
        let picture = self.made_up("picture");
        json!({
            "uuid": self.made_up("label"),
            "display_name": self.profile.display_name,
            "country": self.profile.country,
            "avatar": {
                "uuid": self.made_up("avatar"),
                "anchor_uuid": self.made_up("anchor"),
                "style": "NONE",
                "image": [{
                    "attachment_public_uuid": picture,
                    "content_type": "image/png",
                    "height": 640,
                    "width": 640,
                    "urls": [{ "type": "ORIGINAL", "url": format!("https://sandbox.example/{picture}.png") }],
                }],
            },
            "public_nick_name": self.profile.display_name,
            "type": if self.profile.is_company { "COMPANY" } else { "PERSON" },
        })
    }

    fn show_oauth_request(&self, request: &StoredOauthRequest) -> Value {
        let created = in_bunqs_form(request.created);
        let text = |purpose| self.made_up(purpose).simple().to_string();
        let code = text("code");
        json!({
            "id": request.id,
            "uuid": self.made_up("request"),
            "created": created,
            "updated": created,
            "status": "ACTIVE",
            "scope": ["PAYMENT_INFORMATION"],
            "redirect_url": format!("https://sandbox.example/callback?code={code}"),
            "callback_url": "https://sandbox.example/callback",
            "authorization_code": code,
            "client_id": text("client"),
            "oauth_client_id": request.client,
            "oauth_client_display_name": "Sandbox Partner",
            "response_type": "code",
            "state": self.made_up("state"),
            "type": "AUTHORIZATION_CODE",
            "user_alias_created": self.show_label(),
        })
    }

    /// A made-up UUID for a purpose, the same each time this provision is shown.
    fn made_up(&self, purpose: &str) -> Uuid {
        let half = |number: u8| {
            let mut hasher = DefaultHasher::new();
            (self.seed, purpose, number).hash(&mut hasher);
            hasher.finish()
        };
        uuid::Builder::from_random_bytes(Uuid::from_u64_pair(half(0), half(1)).into_bytes()).into_uuid()
    }
}

fn shared<S: Serializer>(profile: &UserProfile, serializer: S) -> Result<S::Ok, S::Error> {
    profile.serialize(serializer)
}

fn unshared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<UserProfile>, D::Error> {
    UserProfile::deserialize(deserializer).map(Arc::new)
}

/// The credential with which the partner acts on the user's behalf.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredCredential {
    pub(crate) id: u64,
    pub(crate) created: Timestamp,
    updated: Timestamp,
    pub(crate) expiry: Timestamp,
    #[serde(serialize_with = "exposed")]
    pub(crate) token: Secret,
    /// Where it was first used; `None`: nowhere yet.
    pub(crate) first_use: Option<PlaceOfUse>,
}

/// Where the credential of a user is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PlaceOfUse {
    /// Under the partner's installation, whichever that is.
    Partner,
    /// Under this installation of the user's own.
    Own(u64),
    /// Where nobody knows.
    Elsewhere,
}

impl StoredCredential {
    fn new(lifetime: Duration, now: Timestamp, numbers: &mut Numbers) -> Self {
        Self {
            id: numbers.next(),
            created: now,
            updated: now,
            expiry: after(now, lifetime),
            token: Secret::new(format!("sandbox_{}", random_token())),
            first_use: None,
        }
    }

    pub(crate) fn awaits_first_use(&self, now: Timestamp) -> bool {
        self.first_use.is_none() && now < self.expiry
    }

    pub(crate) fn status(&self, now: Timestamp) -> &'static str {
        match self.first_use {
            Some(_) => "ACTIVE",
            None if self.awaits_first_use(now) => "PENDING_FIRST_USE",
            None => "EXPIRED",
        }
    }

    /// As bunq shows it. The token disappears after the first use; the documentation does not say that it does after expiry.
    fn show(&self, now: Timestamp) -> Value {
        let status = self.status(now);
        json!({
            "id": self.id,
            "created": in_bunqs_form(self.created),
            "updated": in_bunqs_form(self.updated),
            "status": status,
            "expiry_time": in_bunqs_form(self.expiry),
            "token_value": self.first_use.is_none().then(|| self.token.expose()),
            "permitted_device": null,
        })
    }
}
