//! One provision: what bunq knows about it, and how it shows it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Pace;
use super::answer::Refusal;
use super::clock::{Numbers, after, in_bunqs_form, random_token};
use super::creation::Creation;
use super::life_cycle::{Event, Status, Step};
use crate::Secret;

/// How long a credential waits for its first use.
const CREDENTIAL_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// A provision as it is kept.
#[derive(Debug)]
pub(super) struct Provision {
    pub(super) id: u64,
    pub(super) external_uuid: Uuid,
    created: Timestamp,
    updated: Timestamp,
    display_name: String,
    is_company: bool,
    country: String,
    products: Vec<String>,
    step: Step,
    /// When it came to the step.
    since: Timestamp,
    /// Whether anybody read it at this step.
    was_read: bool,
    label_user: Option<Value>,
    oauth_request: Option<Value>,
    credential: Option<Credential>,
}

impl Provision {
    pub(super) fn new(id: u64, creation: Creation, now: Timestamp) -> Self {
        Self {
            id,
            external_uuid: creation.external_uuid,
            created: now,
            updated: now,
            display_name: creation.display_name,
            is_company: creation.is_company,
            country: creation.country,
            products: creation.products,
            step: Step::User,
            since: now,
            was_read: false,
            label_user: None,
            oauth_request: None,
            credential: None,
        }
    }

    pub(super) fn status(&self) -> Status {
        self.step.status()
    }

    /// Lets `event` happen at the time `now`; says whether it could.
    pub(super) fn on(&mut self, event: Event, now: Timestamp, numbers: &mut Numbers) -> bool {
        let Some(next) = self.step.on(event) else { return false };
        match (self.step, next) {
            (_, Step::Relation) => self.label_user = Some(self.new_label()),
            (_, Step::Onboarding) => {
                self.oauth_request = Some(self.new_oauth_request(now, numbers));
                self.credential = Some(Credential::new(now, numbers));
            }
            (Step::Resetting, Step::Active) => self.credential = Some(Credential::new(now, numbers)),
            (_, Step::Closed | Step::Failed) => self.credential = None,
            _ => {}
        }
        self.step = next;
        self.since = now;
        self.updated = now;
        self.was_read = false;
        true
    }

    /// The partner's wish, refused with the present status where it cannot be.
    pub(super) fn wish(&mut self, event: Event, now: Timestamp, numbers: &mut Numbers) -> Result<(), Refusal> {
        if self.on(event, now, numbers) {
            return Ok(());
        }
        let wish = if event == Event::Close { "closed" } else { "given a new token" };
        Err(Refusal::bad_request(format!(
            "Provision {} cannot be {wish}: its status is {}, its sub-status {}.",
            self.id,
            self.status().name(),
            self.step.sub_status()
        )))
    }

    /// Where time moves provisions on: takes the steps that have become due.
    pub(super) fn catch_up(&mut self, pace: Pace, now: Timestamp, numbers: &mut Numbers) {
        let Pace::Every(interval) = pace else { return };
        loop {
            let due = after(self.since, interval);
            if due > now || !self.on(Event::Progress, due, numbers) {
                return;
            }
        }
    }

    /// Where reading moves provisions on: takes a step if the present one has been read.
    pub(super) fn before_read(&mut self, pace: Pace, now: Timestamp, numbers: &mut Numbers) {
        if pace == Pace::EachRead && self.was_read {
            self.on(Event::Progress, now, numbers);
        }
    }

    /// As a client reads it.
    pub(super) fn read(&mut self, now: Timestamp) -> Value {
        self.was_read = true;
        self.show(now)
    }

    /// The credential, where it still stands for its user.
    pub(super) fn credential_in_force(&mut self) -> Option<&mut Credential> {
        let is_ending = matches!(self.step, Step::Closing | Step::Closed | Step::Failed);
        self.credential.as_mut().filter(|_| !is_ending)
    }

    /// Notes the first use of the credential.
    pub(super) fn use_credential(&mut self, now: Timestamp) {
        if let Some(credential) = self.credential.as_mut().filter(|credential| !credential.is_used) {
            credential.is_used = true;
            credential.updated = now;
            self.updated = now;
        }
    }

    /// Makes a credential that waits for its first use expire; says whether there was one.
    pub(super) fn expire_credential(&mut self, now: Timestamp) -> bool {
        let waiting = self.credential.as_mut().filter(|credential| credential.awaits_first_use(now));
        let Some(credential) = waiting else { return false };
        credential.expiry = now;
        credential.updated = now;
        self.updated = now;
        true
    }

    /// As bunq shows it.
    pub(super) fn show(&self, now: Timestamp) -> Value {
        json!({
            "id": self.id,
            "created": in_bunqs_form(self.created),
            "updated": in_bunqs_form(self.updated),
            "external_uuid": self.external_uuid,
            "status": self.status().name(),
            "sub_status": self.step.sub_status(),
            "action_required": self.step.action_required(),
            "products": self.products,
            "label_user": self.label_user,
            "oauth_request": self.oauth_request,
            "credential": self.credential.as_ref().map(|credential| credential.show(now)),
        })
    }

    /// The provisioned user, as the session shows it that is opened with the credential.
    pub(super) fn show_user(&self, session_timeout: Duration) -> Value {
        json!({
            "id": self.id,
            "display_name": self.display_name,
            "public_nick_name": self.display_name,
            "avatar": null,
            "session_timeout": session_timeout.as_secs(),
        })
    }

    fn new_label(&self) -> Value {
        let uuid = || Uuid::new_v4().to_string();
        let picture = uuid();
        json!({
            "uuid": uuid(),
            "display_name": self.display_name,
            "country": self.country,
            "avatar": {
                "uuid": uuid(),
                "anchor_uuid": uuid(),
                "style": "NONE",
                "image": [{
                    "attachment_public_uuid": picture,
                    "content_type": "image/png",
                    "height": 640,
                    "width": 640,
                    "urls": [{ "type": "ORIGINAL", "url": format!("https://sandbox.example/{picture}.png") }],
                }],
            },
            "public_nick_name": self.display_name,
            "type": if self.is_company { "COMPANY" } else { "PERSON" },
        })
    }

    fn new_oauth_request(&self, now: Timestamp, numbers: &mut Numbers) -> Value {
        json!({
            "id": numbers.next(),
            "uuid": Uuid::new_v4().to_string(),
            "created": in_bunqs_form(now),
            "updated": in_bunqs_form(now),
            "status": "ACTIVE",
            "scope": ["PAYMENT_INFORMATION"],
            "redirect_url": "https://sandbox.example/redirect",
            "callback_url": "https://sandbox.example/callback",
            "authorization_code": random_token(),
            "client_id": random_token(),
            "oauth_client_id": numbers.next(),
            "oauth_client_display_name": "Sandbox Partner",
            "response_type": "code",
            "state": Uuid::new_v4().to_string(),
            "type": "AUTHORIZATION_CODE",
            "user_alias_created": self.label_user,
        })
    }
}

/// What lets the partner act on the user's behalf.
#[derive(Debug)]
pub(super) struct Credential {
    id: u64,
    created: Timestamp,
    updated: Timestamp,
    expiry: Timestamp,
    token: Secret,
    is_used: bool,
}

impl Credential {
    fn new(now: Timestamp, numbers: &mut Numbers) -> Self {
        Self {
            id: numbers.next(),
            created: now,
            updated: now,
            expiry: after(now, CREDENTIAL_LIFETIME),
            token: Secret::new(format!("sandbox_{}", random_token())),
            is_used: false,
        }
    }

    pub(super) fn has_token(&self, token: &Secret) -> bool {
        self.token == *token
    }

    pub(super) fn awaits_first_use(&self, now: Timestamp) -> bool {
        !self.is_used && now < self.expiry
    }

    /// Whether a session may be opened with it: it has been used before or can still be.
    pub(super) fn opens_sessions(&self, now: Timestamp) -> bool {
        self.is_used || self.awaits_first_use(now)
    }

    /// As bunq shows it. The token is gone after the first use; that it is gone after expiry is nowhere said.
    fn show(&self, now: Timestamp) -> Value {
        let status = match (self.is_used, self.awaits_first_use(now)) {
            (true, _) => "ACTIVE",
            (false, true) => "PENDING_FIRST_USE",
            (false, false) => "EXPIRED",
        };
        json!({
            "id": self.id,
            "created": in_bunqs_form(self.created),
            "updated": in_bunqs_form(self.updated),
            "status": status,
            "expiry_time": in_bunqs_form(self.expiry),
            "token_value": if self.is_used { None } else { Some(self.token.expose()) },
            "permitted_device": null,
        })
    }
}
