//! What `onboard` writes: how far the user is, and what is missing.

use bunq_partner::types::{
    Fulfillment, FulfillmentType, IdentityVerificationSession, IdentityVerificationSessionId,
    IdentityVerificationSessionStatus, UserOnboarding,
};
use bunq_partner::{IdentityOutcome, OnboardingOutcome, ProvisionId, WaitingFor};
use serde_json::{Map, Value};

use super::super::output::{DIM, Field, GREEN, HIDDEN, RED, Record, YELLOW, names};
use super::super::records::{time, waiting_for};
use super::super::words::clean;
use super::answers::member;

/// How far the onboarding of a user is.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) id: Option<ProvisionId>,
    /// Whether the reasons why the user was not approved are shown.
    pub(super) shows_personal: bool,
    pub(super) seen: Option<UserOnboarding>,
    /// What bunq said was missing when the statuses were requested last.
    pub(super) missing: Vec<Fulfillment>,
    /// Whether it is known what is missing.
    pub(super) is_asked: bool,
    /// What was answered in this run.
    pub(super) answered: Vec<FulfillmentType>,
    pub(super) identity: Option<IdentityVerificationSessionId>,
    pub(super) identity_session: Option<IdentityVerificationSession>,
}

impl Progress {
    pub(super) fn columns() -> Vec<&'static str> {
        names(&Self::default().fields())
    }

    /// Whose turn it is. What is not mandatory yet may wait, unless that is all that is missing.
    pub(super) fn turn(&self) -> Option<WaitingFor> {
        let now = bunq_partner::jiff::Timestamp::now();
        let is_due = |one: &&Fulfillment| one.time_mandatory.is_none_or(|mandatory| mandatory.as_jiff() <= now);
        let mut due = self.missing.iter().filter(is_due).map(|one| self.turn_of(one)).peekable();
        if self.missing.is_empty() {
            self.seen.as_ref().map(UserOnboarding::waiting_for)
        } else if due.peek().is_some() && due.all(|turn| turn == WaitingFor::Bunq) {
            Some(WaitingFor::Bunq)
        } else {
            Some(WaitingFor::User)
        }
    }

    pub(super) fn turn_of(&self, fulfillment: &Fulfillment) -> WaitingFor {
        if self.answered.contains(&fulfillment.type_) { WaitingFor::Bunq } else { fulfillment.waiting_for() }
    }

    /// The identity verification session that the user is to go through.
    pub(super) fn open_identity_session(&self) -> Option<IdentityVerificationSessionId> {
        let session = self.identity_session.as_ref()?;
        (session.status == IdentityVerificationSessionStatus::Created).then_some(session.id)
    }

    pub(super) fn record(&self) -> Record {
        let missing: Vec<_> = self.fulfillments().iter().map(Record::json).collect();
        let reasons = match self.identity_session.as_ref().and_then(IdentityVerificationSession::outcome) {
            Some(IdentityOutcome::NotApproved { reasons, .. }) if self.shows_personal => reasons,
            Some(IdentityOutcome::NotApproved { reasons, .. }) => vec!["[redacted]".to_owned(); reasons.len()],
            _ => Vec::new(),
        };
        let mut more = Map::new();
        more.insert("fulfillments".to_owned(), missing.into());
        more.insert("identity_reasons".to_owned(), Value::from(reasons));
        Record { fields: self.fields(), more }
    }

    /// A record for each thing that is missing.
    pub(super) fn fulfillments(&self) -> Vec<Record> {
        self.missing.iter().map(|one| Record::of(self.fulfillment(one))).collect()
    }

    /// The columns of the table of what is missing.
    pub(super) fn fulfillment_columns() -> Vec<&'static str> {
        vec!["fulfillment", "waiting_for", "answered_with", "mandatory", "reason"]
    }

    fn fulfillment(&self, one: &Fulfillment) -> Vec<Field> {
        let allowed: Vec<_> = one.all_status_allowed.iter().map(ToString::to_string).collect();
        vec![
            Field::text("fulfillment", 0, &one.type_),
            Field::text("fulfillment_status", HIDDEN, one.status.as_ref()),
            Field::text("allowed", HIDDEN, allowed.join(" ")),
            waiting_for(Some(self.turn_of(one))),
            Field::new("answered_with", 0, member(&one.type_)),
            Field::new("answered", HIDDEN, self.answered.contains(&one.type_)),
            time("mandatory", 1, one.time_mandatory),
            Field::text("reason", 2, one.reason.as_ref()),
        ]
    }

    fn fields(&self) -> Vec<Field> {
        let seen = self.seen.as_ref();
        let session = self.identity_session.as_ref();
        let (result, style) = match session.and_then(IdentityVerificationSession::outcome) {
            None => (None, None),
            Some(IdentityOutcome::Approved) => (Some("APPROVED".to_owned()), Some(GREEN)),
            Some(IdentityOutcome::NotApproved { result, .. }) => (Some(result), Some(RED)),
            Some(_) => (Some("unknown".to_owned()), None),
        };
        let kinds = |kinds: Vec<&FulfillmentType>| kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" ");
        vec![
            Field::new("id", 0, self.id),
            self.state(),
            waiting_for(self.turn()),
            Field::text("onboarding_status", 1, seen.and_then(|seen| seen.status.as_ref())),
            Field::new("onboarding_id", 1, seen.map(|seen| seen.id)),
            Field::text("answered", 2, kinds(self.answered.iter().collect())),
            Field::text("missing", 2, kinds(self.missing.iter().map(|one| &one.type_).collect())),
            Field::new("identity_session_id", HIDDEN, self.identity),
            Field::text("identity_status", HIDDEN, session.map(|session| &session.status)),
            Field::text("identity_result", HIDDEN, result).styled(style),
        ]
    }

    fn state(&self) -> Field {
        let (state, style) = match self.seen.as_ref().map(UserOnboarding::outcome) {
            None => (None, DIM),
            Some(Some(OnboardingOutcome::Reached)) => (Some("reached"), GREEN),
            Some(Some(_)) => (Some("denied"), RED),
            Some(None) if self.missing.is_empty() && is_requested(self.seen.as_ref()) => (Some("requested"), YELLOW),
            Some(None) if self.is_asked => (Some("missing"), YELLOW),
            Some(None) => (None, DIM),
        };
        Field::new("onboarding_state", 0, state).styled(Some(style))
    }
}

/// Whether bunq has taken the request for the statuses, and checks the user.
pub(super) fn is_requested(seen: Option<&UserOnboarding>) -> bool {
    seen.is_some_and(|seen| seen.user_verification_status_desired.is_some() && seen.waiting_for() != WaitingFor::User)
}

/// How far an onboarding is, in words for a live line.
pub(super) fn change(time: &str, seen: &UserOnboarding) -> String {
    let status = seen.status.as_ref().map(|status| clean(status.as_str())).unwrap_or_default();
    let turn = waiting_for(Some(seen.waiting_for())).shown;
    format!("\x1b[{DIM}m{time}\x1b[0m  {}  {status}  {turn}", seen.id).trim_end().to_owned()
}
