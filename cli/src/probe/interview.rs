//! The questions to the bank, in an order that needs one session.
//!
//! What is done wrong on purpose is one thing each time: a repeated request id, a missing signature, a dead token. Facts hold
//! statuses and bunq's messages, and no key, token or id.

use std::time::Duration;

use bunq_partner::{Client, ErrorKind, NewProvision, Operation, Secret, Uuid};
use bunq_partner_sandbox::{CreationResponse, DeadToken, Profile};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::exit::Failure;
use super::answer::{
    Fact, UNUSED_ID, accepted_or_status, is_success, item, message, refusal, signature_name, text, unexpected,
    with_status, without_id, yes_no,
};
use super::exchange::{Exchanges, ProbeRequest, ProbeResponse, Signed};

/// How many reads at once are more than any limit of bunq's allows.
const TOO_MANY: usize = 8;

pub(super) struct Interview {
    exchanges: Exchanges,
    api_key: Secret,
    keeps_rate_limits: bool,
    /// Shows progress on a terminal: opening one session may take half a minute.
    progress: ProgressBar,
    /// The tokens of the installation and of the session.
    installation: Option<Secret>,
    session: Option<Secret>,
    pub(super) facts: Vec<Fact>,
    pub(super) profile: Profile,
}

impl Interview {
    pub(super) fn new(client: &Client, api_key: Secret, keeps_rate_limits: bool) -> Result<Self, Failure> {
        let exchanges = Exchanges::with(client)?;
        let (facts, profile) = (Vec::new(), Profile::default());
        let progress = ProgressBar::new_spinner();
        progress.enable_steady_tick(Duration::from_millis(120));
        Ok(Self { exchanges, api_key, keeps_rate_limits, progress, installation: None, session: None, facts, profile })
    }

    pub(super) async fn ask_all(&mut self, creates: bool) -> Result<(), Failure> {
        self.install().await?;
        self.register().await?;
        self.open_session().await?;
        self.in_session().await?;
        if creates {
            self.create().await?;
        }
        self.too_often().await?;
        self.dead_token().await
    }

    async fn install(&mut self) -> Result<(), Failure> {
        let body = json!({ "client_public_key": self.exchanges.public_key()? });
        let request = ProbeRequest { is_signed: false, ..request(&Operation::CREATE_INSTALLATION, Some(body)) };
        let response = self.send(request).await?;
        let items = response.json();
        self.installation = text(&items, "/Token/token").map(Secret::new);
        let key = text(&items, "/ServerPublicKey/server_public_key").unwrap_or_default();
        if self.installation.is_none() || key.is_empty() {
            return Err(unexpected("the installation", &response));
        }
        self.exchanges.trust(&key)?;
        self.profile.signed_installation = self.exchanges.signed(&response) != Signed::Not;
        self.note("Is the response to the installation signed?", yes_no(self.profile.signed_installation), &response);
        Ok(())
    }

    async fn register(&mut self) -> Result<(), Failure> {
        let operation = &Operation::CREATE_DEVICE_SERVER;
        let wrong = json!({ "description": "bunq-partner probe", "secret": format!("sandbox_{}", "0".repeat(64)) });
        let response = self.with_installation(request(operation, Some(wrong))).await?;
        if let Some(status) = refusal(&response) {
            self.profile.wrong_key = status;
        }
        self.note("How is a wrong API key refused?", with_status(&response), &response);

        let right = json!({ "description": "bunq-partner probe", "secret": self.api_key.expose() });
        let unsigned = ProbeRequest { is_signed: false, ..request(operation, Some(right.clone())) };
        let response = self.with_installation(unsigned).await?;
        let is_accepted = is_success(&response);
        self.profile.require_signatures = !is_accepted;
        self.note_unsigned("Must a body be signed that opens no session?", !is_accepted, &response);
        if !is_accepted {
            let response = self.with_installation(request(operation, Some(right))).await?;
            if !is_success(&response) {
                return Err(unexpected("the device, with your API key,", &response));
            }
        }
        Ok(())
    }

    async fn open_session(&mut self) -> Result<(), Failure> {
        let operation = &Operation::CREATE_SESSION;
        let body = json!({ "secret": self.api_key.expose() });
        let unsigned = ProbeRequest { is_signed: false, ..request(operation, Some(body.clone())) };
        let mut response = self.with_installation(unsigned).await?;
        let is_refused = !is_success(&response);
        self.profile.unsigned_session =
            if is_refused { refusal(&response).or(self.profile.unsigned_session) } else { None };
        self.note_unsigned("Must the opening of a session be signed?", is_refused, &response);
        if is_refused {
            response = self.with_installation(request(operation, Some(body))).await?;
        }
        let items = response.json();
        self.session = text(&items, "/Token/token").map(Secret::new);
        if self.session.is_none() {
            return Err(unexpected("the session", &response));
        }
        let kinds = ["UserCompany", "UserPerson", "UserPaymentServiceProvider"];
        let timeouts = kinds.map(|kind| item(&items, &format!("/{kind}/session_timeout")).and_then(Value::as_u64));
        match timeouts.into_iter().flatten().next() {
            Some(seconds) => {
                self.profile.session_timeout = Duration::from_secs(seconds);
                self.note("How long does a session last?", format!("{seconds} seconds"), &response);
            }
            None => self.note("How long does a session last?", "bunq does not say".into(), &response),
        }
        Ok(())
    }

    async fn in_session(&mut self) -> Result<(), Failure> {
        let list = at(&Operation::LIST_PROVISIONS, "/partner-user-provision?count=1");
        let response = self.with_session(list.clone()).await?;
        if !is_success(&response) {
            return Err(unexpected("a listing", &response));
        }
        let signed = self.exchanges.signed(&response);
        if let Signed::As(form) = signed {
            self.profile.signature_form = form;
        }
        self.note("What do signatures cover?", signature_name(signed).into(), &response);

        let again = ProbeRequest { request_id: Some(response.request_id.clone()), ..list };
        let response = self.with_session(again).await?;
        let usual = self.profile.repeated_request_id;
        self.profile.repeated_request_id = if is_success(&response) { None } else { refusal(&response).or(usual) };
        self.note("What does a repeated request id get?", accepted_or_status(&response), &response);

        let read = at(&Operation::GET_PROVISION, format!("/partner-user-provision/{UNUSED_ID}"));
        let response = self.with_session(read).await?;
        if response.status == 404 {
            self.word(404, &response);
        }
        self.note("How is a 404 worded?", with_status(&response), &response);

        let wrong = ProbeRequest { method: "PATCH", ..request(&Operation::LIST_PROVISIONS, Some(json!({}))) };
        let response = self.with_session(wrong).await?;
        if let Some(status) = refusal(&response) {
            self.profile.wrong_method = status;
            self.word(405, &response);
        }
        self.note("How is a 405 worded?", with_status(&response), &response);

        let list = at(&Operation::LIST_PROVISIONS, "/partner-user-provision?count=many");
        let response = self.with_session(list).await?;
        self.note("How is a 400 worded?", with_status(&response), &response);
        Ok(())
    }

    async fn create(&mut self) -> Result<(), Failure> {
        let uuid = Uuid::new_v4();
        let email = format!("probe-{}@example.com", uuid.simple()).parse()?;
        let new = NewProvision::person(uuid, email, "+31600000000".parse()?);
        let body = serde_json::to_value(new).map_err(|error| Failure::local("the request", &error.into()))?;
        let asked = self.create_twice(&body).await;
        // Whatever became of it, what was made is closed.
        self.close_all_of(uuid).await?;
        asked
    }

    async fn create_twice(&mut self, body: &Value) -> Result<(), Failure> {
        let create = || request(&Operation::CREATE_PROVISION, Some(body.clone()));
        let first = self.with_session(create()).await?;
        let items = first.json();
        let is_whole = item(&items, "/PartnerUserProvision/id").is_some();
        if !is_success(&first) || !(is_whole || item(&items, "/Id/id").is_some()) {
            self.note("What is a creation answered with?", with_status(&first), &first);
            return Ok(());
        }
        self.profile.creation_response = if is_whole { CreationResponse::Provision } else { CreationResponse::Id };
        let answer = if is_whole { "the provision" } else { "its id" };
        self.note("What is a creation answered with?", answer.into(), &first);

        let second = self.with_session(create()).await?;
        let usual = self.profile.duplicate;
        self.profile.duplicate = if is_success(&second) { None } else { refusal(&second).or(usual) };
        let answer = accepted_or_status(&second);
        self.note("What does a second creation with one external_uuid get?", answer, &second);
        Ok(())
    }

    /// Closes whatever was created with this key.
    async fn close_all_of(&mut self, uuid: Uuid) -> Result<(), Failure> {
        let list = at(&Operation::LIST_PROVISIONS, format!("/partner-user-provision?external_uuid={uuid}&count=200"));
        let listed = self.with_session(list).await?.json();
        let items = listed["Response"].as_array().into_iter().flatten();
        let made: Vec<_> = items.filter_map(|item| item["PartnerUserProvision"]["id"].as_u64()).collect();
        let mut left = Vec::new();
        for id in made {
            let body = Some(json!({ "status": "CANCELLED" }));
            let path = format!("/partner-user-provision/{id}");
            let close = ProbeRequest { path, ..request(&Operation::UPDATE_PROVISION, body) };
            match self.with_session(close).await {
                Ok(response) => {
                    let question = "What does a closing get while bunq makes the user?";
                    self.note(question, accepted_or_status(&response), &response);
                    left.extend((!is_success(&response)).then_some(id.to_string()));
                }
                Err(_) => left.push(id.to_string()),
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let problem = format!("what was created could not be closed: {}", left.join(", "));
        let hint = format!("close it yourself: `bunq-partner close {}`", left.join(" "));
        Err(Failure::of_kind(ErrorKind::Rejected, problem).with_hint(hint))
    }

    async fn too_often(&mut self) -> Result<(), Failure> {
        let question = "Does a 429 say when to come back (Retry-After)?";
        let mut last = None;
        for _ in 0..TOO_MANY {
            let read = ProbeRequest { keeps_rate_limit: false, ..request(&Operation::GET_INSTALLATION, None) };
            let token = self.session.clone();
            let response = self.exchanges.send(ProbeRequest { token: token.as_ref(), ..read }).await?;
            let is_refused = response.status == 429;
            last = Some(response);
            if is_refused {
                break;
            }
        }
        let Some(response) = last else { return Ok(()) };
        if response.status != 429 {
            self.note(question, format!("there was none after {TOO_MANY} reads at once"), &response);
            return Ok(());
        }
        let retry_after = response.headers.get("retry-after").and_then(|after| after.to_str().ok()).map(str::to_owned);
        self.profile.retry_after = retry_after.is_some();
        let answer = retry_after.map_or("no".to_owned(), |after| format!("yes: {after}"));
        self.note(question, answer, &response);
        Ok(())
    }

    /// These reads are of another operation, whose limit is not used up.
    async fn dead_token(&mut self) -> Result<(), Failure> {
        let read = || request(&Operation::LIST_DEVICE_SERVERS, None);
        let Some(token) = self.session.take() else { return Ok(()) };
        let response = self.send(ProbeRequest { token: Some(&token), ..end_session() }).await?;
        self.note("What does the end of a session get?", with_status(&response), &response);
        let response = self.send(ProbeRequest { token: Some(&token), ..read() }).await?;
        let message = message(&response).unwrap_or_default().to_lowercase();
        let dead = match response.status {
            401 => Some(DeadToken::Unauthorized),
            403 if message.contains("insufficient authentication") => Some(DeadToken::InsufficientAuthentication),
            403 if message.contains("insufficient authorisation") => Some(DeadToken::InsufficientAuthorisation),
            _ => None,
        };
        self.profile.dead_token = dead.unwrap_or(self.profile.dead_token);
        self.note("How is a dead session refused?", with_status(&response), &response);

        let unknown = Secret::new("0".repeat(64));
        let response = self.send(ProbeRequest { token: Some(&unknown), ..read() }).await?;
        self.note("How is an unknown token refused?", with_status(&response), &response);
        Ok(())
    }

    /// Ends the session if a question has failed before that was done.
    pub(super) async fn end(&mut self) {
        if self.session.is_some() {
            // The failure that came before is the one to report.
            let _ = self.with_session(end_session()).await;
        }
    }

    async fn with_installation(&self, request: ProbeRequest<'_>) -> Result<ProbeResponse, Failure> {
        self.send(ProbeRequest { token: self.installation.as_ref(), ..request }).await
    }

    async fn with_session(&self, request: ProbeRequest<'_>) -> Result<ProbeResponse, Failure> {
        self.send(ProbeRequest { token: self.session.as_ref(), ..request }).await
    }

    /// Sends a request, and again if others at the address have used the limit up.
    async fn send(&self, request: ProbeRequest<'_>) -> Result<ProbeResponse, Failure> {
        let request = ProbeRequest { keeps_rate_limit: self.keeps_rate_limits, ..request };
        let response = self.exchanges.send(request.clone()).await?;
        if response.status != 429 {
            return Ok(response);
        }
        sleep(request.operation.rate_limit.per).await;
        let again = ProbeRequest { request_id: None, ..request };
        self.exchanges.send(again).await
    }

    fn note(&mut self, question: &'static str, answer: String, response: &ProbeResponse) {
        self.progress.set_message(question);
        let signed = self.exchanges.signed(response);
        if !is_success(response) && matches!(signed, Signed::As(_)) {
            self.profile.signed_refusals.insert(response.status);
        }
        let message =
            if is_success(response) { None } else { message(response).map(|message| self.redacted(&message)) };
        let signature = signature_name(signed);
        self.facts.push(Fact { question, answer, status: response.status, signature, message });
    }

    fn note_unsigned(&mut self, question: &'static str, is_refused: bool, response: &ProbeResponse) {
        if is_refused {
            self.word(466, response);
        }
        let answer = if is_refused { format!("yes: {}", response.status) } else { "no".into() };
        self.note(question, answer, response);
    }

    /// Takes bunq's words over.
    fn word(&mut self, status: u16, response: &ProbeResponse) {
        if let Some(message) = message(response) {
            self.profile.wording.insert(status, self.redacted(&message));
        }
    }

    /// A text without anything that this program keeps secret.
    fn redacted(&self, text: &str) -> String {
        let secrets = [Some(&self.api_key), self.installation.as_ref(), self.session.as_ref()];
        let redacted = secrets
            .into_iter()
            .flatten()
            .fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "[redacted]"));
        redacted.split(' ').map(without_id).collect::<Vec<_>>().join(" ").chars().take(500).collect()
    }
}

fn request(operation: &'static Operation, body: Option<Value>) -> ProbeRequest<'static> {
    ProbeRequest {
        operation,
        method: operation.method,
        path: operation.path.to_owned(),
        body,
        token: None,
        is_signed: true,
        request_id: None,
        keeps_rate_limit: true,
    }
}

/// A request to this path, without a body.
fn at(operation: &'static Operation, path: impl Into<String>) -> ProbeRequest<'static> {
    ProbeRequest { path: path.into(), ..request(operation, None) }
}

fn end_session() -> ProbeRequest<'static> {
    at(&Operation::DELETE_SESSION, "/session/0")
}
