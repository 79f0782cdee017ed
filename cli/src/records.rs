//! What commands print about provisions.

use bunq_partner::jiff::Timestamp;
use bunq_partner::{Acceptance, Error, Provision, ProvisionId, ProvisionStatus, Uuid, Waiter, WaitingFor};
use serde_json::{Value, json};

use super::exit::Failure;
use super::output::{Field, HIDDEN, Record};
use super::words::{clean, relative};

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const DIM: &str = "2";

/// What is said of a creation whose user was there already.
pub(super) const UNUSED: &str =
    "what was given now as e-mail address and phone number is not used, and bunq does not show what it has";

/// A provision, with its tokens if they are to be shown.
pub(super) fn provision(seen: &Provision, shows_secrets: bool) -> Record {
    Record { fields: provision_fields(seen, shows_secrets), json: provision_json(seen, shows_secrets) }
}

fn provision_fields(seen: &Provision, shows_secrets: bool) -> Vec<Field> {
    let (credential, label) = (seen.credential.as_ref(), seen.label_user.as_ref());
    let token = credential.and_then(|credential| credential.token_value.as_ref());
    let mut fields = vec![
        Field::new("id", 0, seen.id.to_string()),
        Field::new("status", 0, seen.status.as_str()).styled(style(&seen.status)),
        Field::optional("sub_status", 2, seen.sub_status.as_ref()),
        waiting_for(seen),
        Field::optional("name", 3, label.and_then(|label| label.display_name.as_ref())),
        time("updated", 4, seen.updated),
        Field::optional("external_uuid", 5, seen.external_uuid),
        time("created", HIDDEN, seen.created),
        Field::optional("action_required", HIDDEN, seen.action_required.as_ref()),
        Field::optional("credential", HIDDEN, credential.and_then(|credential| credential.status.as_ref())),
        time("credential_expiry", HIDDEN, credential.and_then(|credential| credential.expiry_time)),
    ];
    fields.push(match token {
        Some(_) if !shows_secrets => {
            Field::new("token", HIDDEN, "[redacted]").shown_as("[redacted: --show-secrets shows it]")
        }
        token => Field::optional("token", HIDDEN, token.map(|token| token.expose())),
    });
    fields
}

fn provision_json(seen: &Provision, shows_secrets: bool) -> Value {
    // What cannot be serialized was not received.
    let mut json = serde_json::to_value(seen).unwrap_or_default();
    if shows_secrets {
        let token = seen.credential.as_ref().and_then(|credential| credential.token_value.as_ref());
        let code = seen.oauth_request.as_ref().and_then(|request| request.authorization_code.as_ref());
        let redirect_url = seen.oauth_request.as_ref().and_then(|request| request.redirect_url.as_ref());
        for (pointer, secret) in [
            ("/credential/token_value", token),
            ("/oauth_request/authorization_code", code),
            ("/oauth_request/redirect_url", redirect_url),
        ] {
            if let (Some(place), Some(secret)) = (json.pointer_mut(pointer), secret) {
                *place = secret.expose().into();
            }
        }
    }
    json
}

pub(super) fn change(seen: &Provision) -> String {
    let now = Timestamp::now().strftime("%H:%M:%S");
    let style = style(&seen.status).unwrap_or("0");
    let sub_status = clean(seen.sub_status.as_ref().map(|sub_status| sub_status.as_str()).unwrap_or_default());
    let status = clean(seen.status.as_str());
    let waiting = waiting_for(seen).shown;
    let line = format!("\x1b[{DIM}m{now}\x1b[0m  {}  \x1b[{style}m{}\x1b[0m  {sub_status}  {waiting}", seen.id, status);
    line.trim_end().to_owned()
}

fn waiting_for(seen: &Provision) -> Field {
    let (value, shown) = match seen.waiting_for() {
        WaitingFor::Nobody => ("nobody", ""),
        WaitingFor::Bunq => ("bunq", "bunq"),
        WaitingFor::User => ("user", "the user"),
        _ => ("unknown", "unknown"),
    };
    Field::new("waiting_for", 1, value).shown_as(shown)
}

fn time(name: &'static str, rank: u8, time: Option<bunq_partner::Timestamp>) -> Field {
    let Some(time) = time.map(bunq_partner::Timestamp::as_jiff) else { return Field::new(name, rank, "") };
    Field::new(name, rank, time.to_string()).shown_as(relative(time, Timestamp::now()))
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
        let (id, created) = (Some(waiter.id()), waiter.created());
        Self { id, external_uuid: None, accepted, created, seen: None, failure: None }
    }

    pub(super) fn refused(id: Option<ProvisionId>, error: Error) -> Self {
        Self { id, external_uuid: None, accepted: None, created: None, seen: None, failure: Some(error) }
    }

    /// With what the wait came to.
    pub(super) fn waited(self, result: Result<Provision, Error>) -> Self {
        match result {
            Ok(seen) => Self { seen: Some(seen), ..self },
            Err(error) => Self { seen: error.last_seen::<Provision>().cloned(), failure: Some(error), ..self },
        }
    }

    pub(super) fn record(&self, shows_secrets: bool) -> Record {
        let (acceptance, response_id) = match &self.accepted {
            Some((acceptance, response_id)) => (acceptance_name(*acceptance), response_id.clone()),
            None => ("no", None),
        };
        let status = self.seen.as_ref().map(|seen| &seen.status);
        let kind = self.failure.as_ref().map(|error| error.kind().as_str());
        let json = json!({
            "id": self.id,
            "external_uuid": self.external_uuid,
            "accepted": acceptance,
            "created": self.created.map(|created| created.as_jiff().to_string()),
            "response_id": response_id,
            "provision": self.seen.as_ref().map(|seen| provision_json(seen, shows_secrets)),
            "error": self.failure.clone().map(|error| Failure::from(error).json()),
        });
        let accepted_style = if self.accepted.is_some() { GREEN } else { RED };
        let mut fields = vec![
            Field::optional("id", 0, self.id),
            Field::new("accepted", 0, acceptance).styled(Some(accepted_style)),
            Field::optional("status", 0, status).styled(status.and_then(style)),
            Field::optional("error", 0, kind).styled(Some(RED)),
            Field::optional("response_id", 1, response_id),
            Field::optional("external_uuid", HIDDEN, self.external_uuid),
        ];
        let more = ["credential_expiry", "token"];
        match &self.seen {
            Some(seen) => {
                let known = provision_fields(seen, shows_secrets).into_iter();
                fields.extend(known.filter(|field| more.contains(&field.name)));
            }
            None => fields.extend(more.map(|name| Field::new(name, HIDDEN, ""))),
        }
        fields.push(time("created", HIDDEN, self.created));
        Record { fields, json }
    }
}

fn acceptance_name(acceptance: Acceptance) -> &'static str {
    match acceptance {
        Acceptance::Accepted => "accepted",
        Acceptance::Found => "found",
        Acceptance::Already => "already",
        _ => "unknown",
    }
}
