//! The record of a user: JSON, with the number of its format, bound to the bank and the provision that it is of. Those of format 1 are
//! readable where they are kept, and bound to the partner's key; later ones are sealed, above this layer.
//!
//! A record that does not fit is refused and never replaced: its token may be the only copy.

use std::fmt;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::interface::CustodyEntry;
use super::step_list::StepList;
use crate::session::context::{Identity, session_in};
use crate::text::duration;
use crate::transport::credentials::can_be_sent;
use crate::types::{CredentialId, ProvisionId, Secret, Timestamp, UserId, exposed, from_json};

/// The format that this version writes, and the newest that it reads.
const FORMAT: u64 = 2;

/// The length of the longest record, in bytes, before it is sealed.
const MAX_LEN: usize = 64 * 1024;

/// What a record has beside its context and its steps takes less. A buffer that grows leaves copies of the secrets in memory.
const CAPACITY: usize = 16 * 1024;

/// By how much two clocks may differ, or one may be set, without a doubt about when a credential expires.
pub(crate) const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// What is kept of a user.
#[derive(Debug, Clone)]
pub(crate) struct UserRecord {
    pub(crate) external_uuid: Option<Uuid>,
    pub(crate) credential_id: Option<CredentialId>,
    /// The token of the credential, with which sessions are opened.
    pub(crate) token: Secret,
    /// When the credential expires, if it is not activated before.
    pub(crate) expiry: Option<Timestamp>,
    /// When the token was stored.
    pub(crate) stored_at: Timestamp,
    /// Whether a session was opened with the token.
    pub(crate) is_activated: bool,
    /// As the last session has named them; an entry has them.
    pub(super) user_id: Option<UserId>,
    pub(super) granted_by: Option<UserId>,
    /// The context of the user's session, as a context store has it.
    pub(super) context: Option<Secret>,
    pub(super) steps: StepList,
}

/// The part that every format has.
#[derive(Deserialize)]
struct Header {
    bunq_partner_user: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredRecord<'a> {
    bunq_partner_user: u64,
    environment: String,
    base_url: String,
    /// In format 1.
    #[serde(default, skip_serializing)]
    api_key_fingerprint: Option<Secret>,
    provision_id: ProvisionId,
    external_uuid: Option<Uuid>,
    credential_id: Option<CredentialId>,
    #[serde(serialize_with = "exposed")]
    token: Secret,
    expiry: Option<Timestamp>,
    stored_at: Timestamp,
    is_activated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granted_by: Option<UserId>,
    /// As it is: an escaped text would leave a copy in the buffer of the parser.
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    steps: StepList,
}

impl UserRecord {
    /// Returns the text to keep.
    pub(crate) fn encode(&self, identity: &Identity, id: ProvisionId) -> Result<Secret, String> {
        let context = self.context.as_ref().map(|context| serde_json::from_str(context.expose())).transpose();
        let stored = StoredRecord {
            bunq_partner_user: FORMAT,
            environment: identity.environment().to_string(),
            base_url: identity.base_url().to_owned(),
            api_key_fingerprint: None,
            provision_id: id,
            external_uuid: self.external_uuid,
            credential_id: self.credential_id,
            token: self.token.clone(),
            expiry: self.expiry,
            stored_at: self.stored_at,
            is_activated: self.is_activated,
            user_id: self.user_id,
            granted_by: self.granted_by,
            context: context.map_err(|_| "cannot be made: the context of the session is not JSON".to_owned())?,
            steps: self.steps.clone(),
        };
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_LEN + CAPACITY));
        serde_json::to_writer(&mut *text, &stored).map_err(|error| format!("cannot be made: {error}"))?;
        check_len(text.len())?;
        let text = std::str::from_utf8(&text).map_err(|error| format!("cannot be made: {error}"))?;
        Ok(Secret::new(text))
    }

    /// Reads the text that was kept for the user of the provision `id`.
    ///
    /// # Errors
    ///
    /// The problem, as the end of a sentence about the record, and what to do.
    pub(crate) fn decode(text: &Secret, identity: &Identity, id: ProvisionId) -> Result<Self, String> {
        // serde_json's message may quote a secret, so only the position is shown.
        let broken =
            |error: serde_json::Error| damaged(format_args!("line {}, column {}", error.line(), error.column()));
        let json = text.expose().as_bytes();
        check_len(json.len())?;
        let Header { bunq_partner_user: format } = from_json(json).map_err(broken)?;
        if format > FORMAT {
            return Err(format!(
                "has format {format}, but this version of bunq-partner knows formats up to {FORMAT}; it was left as it is: use \
                 the version that wrote it"
            ));
        }
        let stored: StoredRecord<'_> = from_json(json).map_err(broken)?;
        let (environment, base_url) = (&stored.environment, &stored.base_url);
        let other = match &stored.api_key_fingerprint {
            Some(fingerprint) => identity.difference(environment, base_url, fingerprint),
            None if format > 1 => identity.other_bank(environment, base_url),
            None => return Err(damaged("the fingerprint of the API key")),
        };
        if let Some((what, belongs)) = other {
            return Err(format!("{belongs} and was left as it is: use a custody for each {what}"));
        }
        if stored.provision_id != id {
            let other = stored.provision_id;
            return Err(format!("is that of provision {other}, in the wrong place, and was left as it is: {}", REMEDY));
        }
        if !can_be_sent(&stored.token) {
            return Err(damaged("the token"));
        }
        Ok(Self {
            external_uuid: stored.external_uuid,
            credential_id: stored.credential_id,
            token: stored.token,
            expiry: stored.expiry,
            stored_at: stored.stored_at,
            is_activated: stored.is_activated,
            user_id: stored.user_id,
            granted_by: stored.granted_by,
            context: stored.context.map(|context| context.get().into()),
            steps: stored.steps,
        })
    }

    pub(crate) fn entry(&self, provision_id: ProvisionId) -> CustodyEntry {
        let &Self { external_uuid, user_id, granted_by, expiry, is_activated, .. } = self;
        let entry = CustodyEntry::new(provision_id);
        CustodyEntry { external_uuid, user_id, granted_by, expiry, is_activated, ..entry }
    }

    /// Takes over the context of the user's session. A session proves that the credential is activated, and names the user.
    pub(super) fn take_context(&mut self, context: Secret) {
        if let Some(session) = session_in(&context) {
            self.is_activated = true;
            if let Some(user) = session.user {
                (self.user_id, self.granted_by) = (Some(user.id), user.granted_by.or(self.granted_by));
            }
        }
        self.context = Some(context);
    }

    /// Forgets the session, of which bunq says that it was never opened.
    pub(crate) fn begin_again(&mut self) {
        self.is_activated = false;
        self.context = None;
    }

    /// Refuses an unused credential that was stored in the future: by a clock that was set back, it would seem to live longer than
    /// it does.
    pub(super) fn check_clock(&self, now: jiff::Timestamp) -> Result<(), String> {
        let ahead = self.stored_at.as_jiff().duration_since(now);
        if self.is_activated || ahead <= CLOCK_TOLERANCE {
            return Ok(());
        }
        let (stored_at, ahead) = (self.stored_at, duration(ahead.unsigned_abs()));
        Err(format!(
            "was stored at {stored_at} UTC, {ahead} after the time of this machine's clock, so that it is not known when its unused \
             credential expires: set the clock right, or take the record out of the custody and reset the user"
        ))
    }
}

/// What to do about a record that is of no use.
pub(crate) const REMEDY: &str = "put back a copy that fits, or take this one out of the custody and reset the user";

fn damaged(what: impl fmt::Display) -> String {
    format!("is damaged ({what}) and was left as it is: {REMEDY}")
}

fn check_len(len: usize) -> Result<(), String> {
    if len > MAX_LEN { Err(format!("has {len} bytes, and at most {MAX_LEN} are read: {REMEDY}")) } else { Ok(()) }
}
