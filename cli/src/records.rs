//! What commands print about provisions.

use bunq_partner::jiff::Timestamp;
use bunq_partner::{
    Acceptance, Error, Provision, ProvisionId, ProvisionStatus, RowState, Secret, Uuid, Waiter, WaitingFor,
};
use serde_json::{Map, Value};

use super::exit::Failure;
use super::output::{DIM, Field, GREEN, HIDDEN, RED, Record, YELLOW, names};
use super::words::{clean, relative};

/// The outcome of a row that was not begun.
pub(super) const NOT_BEGUN: &str = "not_begun";

/// What is said of a creation whose user was there already.
pub(super) const UNUSED: &str =
    "what was given now as e-mail address and phone number is not used, and bunq does not show what it has";

/// A provision, with its tokens if they are to be shown.
pub(super) fn provision(seen: &Provision, shows_secrets: bool) -> Record {
    Record { fields: provision_fields(Some(seen), shows_secrets), more: provision_json(seen, shows_secrets) }
}

pub(super) fn provision_columns() -> Vec<&'static str> {
    names(&provision_fields(None, false))
}

pub(super) fn provision_fields(seen: Option<&Provision>, shows_secrets: bool) -> Vec<Field> {
    let credential = seen.and_then(|seen| seen.credential.as_ref());
    let name = seen.and_then(|seen| seen.label_user.as_ref()?.display_name.as_ref());
    let token = credential.and_then(|credential| credential.token_value.as_ref());
    vec![
        Field::new("id", 0, seen.map(|seen| seen.id)),
        status(seen),
        Field::text("sub_status", 2, seen.and_then(|seen| seen.sub_status.as_ref())),
        waiting_for(seen.map(Provision::waiting_for)),
        Field::text("display_name", 3, name),
        time("updated", 4, seen.and_then(|seen| seen.updated)),
        Field::new("external_uuid", 5, seen.and_then(|seen| seen.external_uuid)),
        time("created", HIDDEN, seen.and_then(|seen| seen.created)),
        Field::text("action_required", HIDDEN, seen.and_then(|seen| seen.action_required.as_ref())),
        Field::text("credential_status", HIDDEN, credential.and_then(|credential| credential.status.as_ref())),
        time("credential_expiry", HIDDEN, credential.and_then(|credential| credential.expiry_time)),
        secret("token", token, shows_secrets),
    ]
}

/// A secret, if it is to be shown.
pub(super) fn secret(name: &'static str, secret: Option<&Secret>, shows_secrets: bool) -> Field {
    match secret {
        Some(_) if !shows_secrets => {
            Field::new(name, HIDDEN, "[redacted]").shown_as("[redacted: --show-secrets shows it]")
        }
        secret => Field::new(name, HIDDEN, secret.map(Secret::expose)),
    }
}

fn status(seen: Option<&Provision>) -> Field {
    let status = seen.map(|seen| &seen.status);
    Field::text("status", 0, status).styled(status.and_then(style))
}

/// All that bunq says of a provision.
fn provision_json(seen: &Provision, shows_secrets: bool) -> Map<String, Value> {
    // What cannot be serialized was not received.
    let mut json = serde_json::to_value(seen).unwrap_or_default();
    if shows_secrets {
        let (credential, request) = (seen.credential.as_ref(), seen.oauth_request.as_ref());
        for (pointer, secret) in [
            ("/credential/token_value", credential.and_then(|credential| credential.token_value.as_ref())),
            ("/oauth_request/authorization_code", request.and_then(|request| request.authorization_code.as_ref())),
            ("/oauth_request/client_id", request.and_then(|request| request.client_id.as_ref())),
            ("/oauth_request/redirect_url", request.and_then(|request| request.redirect_url.as_ref())),
        ] {
            if let (Some(place), Some(secret)) = (json.pointer_mut(pointer), secret) {
                *place = secret.expose().into();
            }
        }
    }
    if let Value::Object(json) = json { json } else { Map::new() }
}

/// A line about what a provision has become, at this time.
pub(super) fn change(time: &str, seen: &Provision) -> String {
    let style = style(&seen.status).unwrap_or("0");
    let sub_status = clean(seen.sub_status.as_ref().map(|sub_status| sub_status.as_str()).unwrap_or_default());
    let status = clean(seen.status.as_str());
    let waiting = waiting_for(Some(seen.waiting_for())).shown;
    let line =
        format!("\x1b[{DIM}m{time}\x1b[0m  {}  \x1b[{style}m{}\x1b[0m  {sub_status}  {waiting}", seen.id, status);
    line.trim_end().to_owned()
}

/// Whose turn it is.
pub(super) fn waiting_for(turn: Option<WaitingFor>) -> Field {
    let (value, shown) = match turn {
        None => (None, ""),
        Some(WaitingFor::Nobody) => (Some("nobody"), ""),
        Some(WaitingFor::Bunq) => (Some("bunq"), "bunq"),
        Some(WaitingFor::User) => (Some("user"), "the user"),
        Some(_) => (Some("unknown"), "unknown"),
    };
    Field::new("waiting_for", 1, value).shown_as(shown)
}

pub(super) fn time(name: &'static str, rank: u8, time: Option<bunq_partner::Timestamp>) -> Field {
    let time = time.map(bunq_partner::Timestamp::as_jiff);
    let field = Field::new(name, rank, time);
    match time {
        Some(time) => field.shown_as(relative(time, Timestamp::now())),
        None => field,
    }
}

fn style(status: &ProvisionStatus) -> Option<&'static str> {
    match status {
        ProvisionStatus::Active => Some(GREEN),
        ProvisionStatus::Closed => Some(DIM),
        ProvisionStatus::Failed => Some(RED),
        status => status.is_in_progress().then_some(YELLOW),
    }
}

/// What came of a request for one provision.
#[derive(Default)]
pub(super) struct ProvisionOutcome {
    pub(super) id: Option<ProvisionId>,
    /// What a creation was requested with.
    pub(super) external_uuid: Option<Uuid>,
    pub(super) accepted: Option<(Acceptance, Option<String>)>,
    /// When the provision was created, if it was there.
    pub(super) created: Option<bunq_partner::Timestamp>,
    pub(super) seen: Option<Provision>,
    pub(super) failure: Option<Error>,
}

impl ProvisionOutcome {
    pub(super) fn accepted(waiter: &Waiter) -> Self {
        let accepted = Some((waiter.acceptance(), waiter.response_id().map(str::to_owned)));
        Self { id: Some(waiter.id()), accepted, created: waiter.created(), ..Self::default() }
    }

    pub(super) fn refused(id: Option<ProvisionId>, error: Error) -> Self {
        Self { id, failure: Some(error), ..Self::default() }
    }

    /// With what the wait came to.
    pub(super) fn waited(self, result: Result<Provision, Error>) -> Self {
        match result {
            Ok(seen) => Self { seen: Some(seen), ..self },
            Err(error) => Self { seen: error.last_seen::<Provision>().cloned(), failure: Some(error), ..self },
        }
    }

    pub(super) fn columns() -> Vec<&'static str> {
        names(&Self::default().fields(false))
    }

    pub(super) fn record(&self, shows_secrets: bool) -> Record {
        let provision = self.seen.as_ref().map(|seen| provision(seen, shows_secrets).json());
        let error = self.failure.clone().map(|error| Failure::from(error).json());
        let more = [("provision", provision), ("error", error)];
        let more = more.map(|(name, value)| (name.to_owned(), value.unwrap_or_default()));
        Record { fields: self.fields(shows_secrets), more: more.into_iter().collect() }
    }

    fn fields(&self, shows_secrets: bool) -> Vec<Field> {
        let (seen, failure) = (self.seen.as_ref(), self.failure.as_ref());
        let is_in_doubt = failure.is_some_and(Error::is_doubtful);
        let (state, response_id) = match &self.accepted {
            Some((acceptance, response_id)) => (RowState::from(*acceptance), response_id.as_deref()),
            None => {
                let state = if is_in_doubt { RowState::Unfinished } else { RowState::Failed };
                (state, failure.and_then(Error::response_id))
            }
        };
        let mut fields = vec![
            Field::new("id", 0, self.id),
            outcome(Some(state), is_in_doubt),
            status(seen),
            Field::new("error_kind", 0, failure.map(|error| error.kind().as_str())).styled(Some(RED)),
            Field::text("response_id", 1, response_id),
            Field::new("external_uuid", HIDDEN, self.external_uuid),
            Field::new("http_status", HIDDEN, failure.and_then(Error::status)),
            in_doubt(is_in_doubt),
        ];
        let more = ["credential_expiry", "token"];
        fields.extend(provision_fields(seen, shows_secrets).into_iter().filter(|field| more.contains(&field.name)));
        fields.push(time("created", HIDDEN, self.created));
        fields
    }
}

/// What came of a request; nothing if it was not begun.
pub(super) fn outcome(state: Option<RowState>, is_in_doubt: bool) -> Field {
    let name = state.map_or(NOT_BEGUN, RowState::as_str);
    let style = match state {
        Some(RowState::Failed | RowState::Unfinished) => RED,
        Some(state) if state.is_done() => GREEN,
        _ => YELLOW,
    };
    let shown = if is_in_doubt { format!("{name}, in doubt") } else { name.to_owned() };
    Field::new("outcome", 0, name).shown_as(shown).styled(Some(style))
}

/// Whether bunq may have carried a request out.
pub(super) fn in_doubt(is_in_doubt: bool) -> Field {
    Field::new("in_doubt", HIDDEN, is_in_doubt).shown_as(if is_in_doubt { "yes" } else { "" })
}
