//! What a probe makes at the bank, and removes again: a session, and provisions of one `external_uuid`.
//!
//! A call that has no answer may have been carried out. So what it may have made is noted before it is sent, and is there until an
//! answer shows that it is not.

use std::collections::BTreeSet;
use std::time::Duration;

use bunq_partner::{Client, ErrorKind, NewProvision, Operation, ProvisionStatus, Secret, Uuid};
use serde_json::json;
use tokio::time::sleep;
use tracing::Span;

use super::super::connection::LATE_ARRIVAL;
use super::super::exit::Failure;
use super::answer::{dead_token, item, text, without_id};
use super::exchange::{Exchanges, ProbeRequest, ProbeResponse, Signed, wait};

/// How often what was made is looked for and removed before it is given up, and how long after another.
const ROUNDS: usize = 4;
const PAUSE: Duration = Duration::from_secs(5);

/// How many characters of bunq's words are repeated.
const MAX_CHARS: usize = 500;

/// The name of the device at the bank.
pub(super) const DEVICE: &str = "bunq-partner probe";

pub(super) struct Visit {
    exchanges: Exchanges,
    api_key: Secret,
    keeps_rate_limits: bool,
    /// How many times as fast as bunq it waits.
    rehearse: u32,
    installation: Option<Secret>,
    has_device: bool,
    /// The token of the session, until the bank refuses it.
    session: Option<Secret>,
    /// The bank has accepted the end of that session.
    is_ended: bool,
    /// How many openings of a session had no answer.
    lost_sessions: u32,
    created: Option<Created>,
}

/// What was created, or may have been.
struct Created {
    external_uuid: Uuid,
    /// The ids that are known, and not closed.
    open: BTreeSet<u64>,
    /// The provisions were listed after the last creation, so that there are no others.
    is_listed: bool,
    /// A creation that answered nothing may still arrive.
    may_arrive: bool,
}

impl Visit {
    /// Makes keys, which takes tens of milliseconds of the thread's time.
    pub(super) fn new(
        client: &Client,
        api_key: Secret,
        keeps_rate_limits: bool,
        rehearse: u32,
    ) -> Result<Self, Failure> {
        Ok(Self {
            exchanges: Exchanges::with(client)?,
            api_key,
            keeps_rate_limits,
            rehearse,
            installation: None,
            has_device: false,
            session: None,
            is_ended: false,
            lost_sessions: 0,
            created: None,
        })
    }

    /// Makes an installation, whose token and key are used from then on.
    pub(super) async fn install(&mut self) -> Result<ProbeResponse, Failure> {
        let body = json!({ "client_public_key": self.exchanges.public_key()? });
        let request =
            ProbeRequest { is_signed: false, ..ProbeRequest::of(&Operation::CREATE_INSTALLATION, Some(body)) };
        let response = self.send(request).await?;
        let items = response.json();
        self.installation = text(&items, "/Token/token").map(Secret::new);
        let key = text(&items, "/ServerPublicKey/server_public_key").unwrap_or_default();
        if self.installation.is_none() || key.is_empty() {
            return Err(self.unexpected("the installation", &response));
        }
        self.exchanges.trust(&key)?;
        self.judged(&Operation::CREATE_INSTALLATION, response)
    }

    /// Registers this machine as a device with some key.
    pub(super) async fn register(&mut self, secret: &Secret, is_signed: bool) -> Result<ProbeResponse, Failure> {
        let body = json!({ "description": DEVICE, "secret": secret.expose() });
        let (token, had_device) = (self.installation.clone(), self.has_device);
        let request =
            ProbeRequest { token, is_signed, ..ProbeRequest::of(&Operation::CREATE_DEVICE_SERVER, Some(body)) };
        self.has_device = true;
        let response = self.send(request).await?;
        self.has_device = had_device || response.is_success();
        Ok(response)
    }

    /// Registers it with the API key.
    pub(super) async fn register_key(&mut self, is_signed: bool) -> Result<ProbeResponse, Failure> {
        let api_key = self.api_key.clone();
        self.register(&api_key, is_signed).await
    }

    /// Opens a session, whose token is used from then on.
    pub(super) async fn open_session(&mut self, is_signed: bool) -> Result<ProbeResponse, Failure> {
        let (token, body) = (self.installation.clone(), json!({ "secret": self.api_key.expose() }));
        let request = ProbeRequest { token, is_signed, ..ProbeRequest::of(&Operation::CREATE_SESSION, Some(body)) };
        self.lost_sessions += 1;
        let response = self.send(request).await?;
        if response.is_success() {
            let token = text(&response.json(), "/Token/token").map(Secret::new);
            self.session = Some(token.ok_or_else(|| self.unexpected("the session", &response))?);
            self.is_ended = false;
        }
        self.lost_sessions -= 1;
        Ok(response)
    }

    /// Creates a provision; the second time with the same `external_uuid`.
    pub(super) async fn create(&mut self) -> Result<ProbeResponse, Failure> {
        let created = self.created.get_or_insert_with(|| Created {
            external_uuid: Uuid::new_v4(),
            open: BTreeSet::new(),
            is_listed: false,
            may_arrive: false,
        });
        created.is_listed = false;
        let uuid = created.external_uuid;
        let email = format!("probe-{}@example.com", uuid.simple()).parse()?;
        let new = NewProvision::person(uuid, email, "+31600000000".parse()?);
        let body = serde_json::to_value(new).map_err(|error| Failure::local("the request", &error.into()))?;
        let was_late = std::mem::replace(&mut created.may_arrive, true);
        let response = self.with_session(ProbeRequest::of(&Operation::CREATE_PROVISION, Some(body))).await?;
        let id = id_in(&response);
        if id.is_none() && response.is_success() {
            return Err(self.unexpected("a creation", &response));
        }
        if let Some(created) = &mut self.created {
            created.open.extend(id);
            created.may_arrive = was_late;
        }
        Ok(response)
    }

    /// Closes what was created, once. Returns the responses to the closings, and why that was not all.
    pub(super) async fn close_created(&mut self) -> (Vec<ProbeResponse>, Result<(), Failure>) {
        // What is known is closed also if it cannot be listed.
        let listed = self.look().await;
        let open = self.created.as_ref().map(|created| created.open.clone()).unwrap_or_default();
        let mut responses = Vec::new();
        for id in open {
            let body = Some(json!({ "status": "CANCELLED" }));
            let path = format!("/partner-user-provision/{id}");
            let close = ProbeRequest { path, ..ProbeRequest::of(&Operation::UPDATE_PROVISION, body) };
            match self.with_session(close).await {
                // A success names what it closes.
                Ok(response) if response.is_success() && id_in(&response) != Some(id) => {
                    return (responses, Err(self.unexpected("a closing", &response)));
                }
                Ok(response) => {
                    if let (true, Some(created)) = (response.is_success(), &mut self.created) {
                        created.open.remove(&id);
                    }
                    responses.push(response);
                }
                Err(failure) => return (responses, Err(failure)),
            }
        }
        (responses, listed)
    }

    /// Finds out which of the provisions are open. One whose id is known stays until it is listed as closed.
    async fn look(&mut self) -> Result<(), Failure> {
        let Some(created) = &self.created else { return Ok(()) };
        if created.may_arrive {
            sleep(LATE_ARRIVAL / self.rehearse).await;
        }
        let path = format!("/partner-user-provision?external_uuid={}&count=200", created.external_uuid);
        let response = self.with_session(ProbeRequest::at(&Operation::LIST_PROVISIONS, path)).await?;
        if !response.is_success() {
            return Err(self.unexpected("a listing", &response));
        }
        let listed = response.json();
        let provisions = listed["Response"].as_array().into_iter().flatten();
        let Some(created) = &mut self.created else { return Ok(()) };
        for provision in provisions.map(|item| &item["PartnerUserProvision"]) {
            let Some(id) = provision["id"].as_u64() else { continue };
            let status = serde_json::from_value::<ProvisionStatus>(provision["status"].clone());
            match status.is_ok_and(|status| status.is_over()) {
                true => created.open.remove(&id),
                false => created.open.insert(id),
            };
        }
        (created.is_listed, created.may_arrive) = (true, false);
        Ok(())
    }

    /// Ends the session.
    pub(super) async fn end_session(&mut self) -> Result<ProbeResponse, Failure> {
        let token = self.session.clone();
        let end = ProbeRequest { token, ..ProbeRequest::at(&Operation::DELETE_SESSION, "/session/0") };
        let response = self.send(end).await?;
        self.is_ended = response.is_success();
        Ok(response)
    }

    /// Reads with the token of the session. A refusal of the token, or any refusal after its end was accepted, says that it has ended.
    pub(super) async fn try_session(&mut self) -> Result<ProbeResponse, Failure> {
        let token = self.session.clone();
        let response =
            self.send(ProbeRequest { token, ..ProbeRequest::of(&Operation::LIST_DEVICE_SERVERS, None) }).await?;
        let said = self.message(&response);
        let is_over = dead_token(response.status, said.as_deref()).is_some();
        if is_over || self.is_ended && !response.is_success() {
            self.session = None;
        }
        Ok(response)
    }

    /// Whether the bank takes the token of the session as one that is alive, as far as is known.
    pub(super) fn has_session(&self) -> bool {
        self.session.is_some() && !self.is_ended
    }

    /// Removes what was made and is still there.
    pub(super) async fn clean(&mut self) -> Result<(), Failure> {
        let (mut closed, mut ended) = (Ok(()), Ok(()));
        for round in 0..ROUNDS {
            if !self.has_provisions() {
                break;
            }
            self.pause_before(round).await;
            closed = self.clean_provisions().await;
        }
        for round in 0..ROUNDS {
            if self.session.is_none() {
                break;
            }
            self.pause_before(round).await;
            let end = self.end_session().await.map(drop);
            ended = self.try_session().await.and(end);
        }
        closed.and(ended)
    }

    /// Gives the bank time, as it may not close a provision while it makes the user.
    async fn pause_before(&self, round: usize) {
        if round > 0 {
            sleep(PAUSE / self.rehearse).await;
        }
    }

    fn has_provisions(&self) -> bool {
        self.created.as_ref().is_some_and(|created| !created.is_listed || !created.open.is_empty())
    }

    async fn clean_provisions(&mut self) -> Result<(), Failure> {
        if self.session.is_none() {
            let response = self.open_session(true).await?;
            if !response.is_success() {
                return Err(self.unexpected("the session", &response));
            }
        }
        let (responses, all) = self.close_created().await;
        all?;
        let refusal = responses.iter().find(|response| !response.is_success());
        refusal.map_or(Ok(()), |response| Err(self.unexpected("a closing", response)))
    }

    /// What is still at the bank, without the device, and how to remove it.
    pub(super) fn left(&self) -> Vec<(String, String)> {
        let mut left = Vec::new();
        if let Some(Created { external_uuid, open, is_listed, .. }) = &self.created {
            if !open.is_empty() {
                let ids = open.iter().map(u64::to_string).collect::<Vec<_>>();
                left.push((format!("provision {}", ids.join(", ")), format!("`bunq-partner close {}`", ids.join(" "))));
            }
            if !is_listed {
                let article = if open.is_empty() { "a" } else { "another" };
                let what = format!("perhaps {article} provision with the external_uuid {external_uuid}");
                left.push((what, format!("`bunq-partner find {external_uuid}` shows it, and `close` closes it")));
            }
        }
        if self.session.is_some() {
            left.push(("a session".into(), "no command ends the session: it ends by itself".into()));
        }
        if self.lost_sessions > 0 {
            let ends = "a session without its token ends by itself";
            left.push(("perhaps a session whose token did not arrive".into(), ends.into()));
        }
        left
    }

    /// The device, which stays: bunq has no call that removes one.
    pub(super) fn device(&self) -> Option<String> {
        self.has_device.then(|| format!("the device \"{DEVICE}\": bunq has no call that removes it"))
    }

    /// Sends a request with the token of the session. It fails if that has ended.
    pub(super) async fn with_session(&mut self, request: ProbeRequest) -> Result<ProbeResponse, Failure> {
        let response = self.send(ProbeRequest { token: self.session.clone(), ..request }).await?;
        // The same words may refuse what is asked for.
        if dead_token(response.status, self.message(&response).as_deref()).is_some() {
            self.try_session().await?;
            if self.session.is_none() {
                return Err(self.unexpected("a call of the session", &response));
            }
        }
        Ok(response)
    }

    /// Sends a request, and again if others at the address have used the limit up. A response that does not answer it is a failure.
    pub(super) async fn send(&self, request: ProbeRequest) -> Result<ProbeResponse, Failure> {
        let request = ProbeRequest { keeps_rate_limit: self.keeps_rate_limits, ..request };
        let operation = request.operation;
        let mut response = self.exchanges.send(request.clone()).await?;
        if response.status == 429 {
            let time = operation.rate_limit.per / self.rehearse;
            let _waiting = wait(&Span::none(), "permit", operation, time);
            sleep(time).await;
            response = self.exchanges.send(ProbeRequest { request_id: None, ..request }).await?;
        }
        let response = self.judged(operation, response)?;
        if response.status == 429 {
            return Err(self.unexpected(operation.id, &response));
        }
        Ok(response)
    }

    /// Sends a request without waiting for its turn. That it comes too soon is an answer.
    pub(super) async fn send_at_once(&self, operation: &'static Operation) -> Result<ProbeResponse, Failure> {
        let (token, keeps_rate_limit) = (self.session.clone(), false);
        let request = ProbeRequest { token, keeps_rate_limit, ..ProbeRequest::of(operation, None) };
        let response = self.exchanges.send(request).await?;
        self.judged(operation, response)
    }

    /// The response, if it is an answer of bunq's: a success that names the request, or a refusal in bunq's envelope; not under a
    /// signature of somebody else.
    fn judged(&self, operation: &Operation, response: ProbeResponse) -> Result<ProbeResponse, Failure> {
        let body = response.json();
        let is_answer = match response.status {
            200..300 => response.is_echo() && body["Response"].is_array(),
            408 | 491 => false,
            300..500 => body["Error"].as_array().is_some_and(|errors| !errors.is_empty()),
            _ => false,
        };
        if !is_answer {
            return Err(self.unexpected(operation.id, &response));
        }
        if self.exchanges.can_verify() && self.exchanges.signed(&response) == Signed::Invalid {
            let problem = format!("{} got {} with a signature that is not bunq's", operation.id, response.status);
            return Err(Failure::of_kind(ErrorKind::Signature, problem));
        }
        Ok(response)
    }

    pub(super) fn signed(&self, response: &ProbeResponse) -> Signed {
        self.exchanges.signed(response)
    }

    /// What bunq says in a refusal, cut and without secrets.
    pub(super) fn message(&self, response: &ProbeResponse) -> Option<String> {
        response.json()["Error"][0]["error_description"].as_str().map(|said| self.redacted(said))
    }

    /// The failure of a call that got this response.
    pub(super) fn unexpected(&self, what: &str, response: &ProbeResponse) -> Failure {
        let said = self.message(response).map(|said| format!(": {said}")).unwrap_or_default();
        let is_about_key =
            said.contains("Incorrect API key") || !said.is_empty() && matches!(response.status, 401 | 403);
        let kind = match response.status {
            _ if is_about_key => ErrorKind::Unauthorized,
            200..300 => ErrorKind::InvalidResponse,
            429 => ErrorKind::RateLimited,
            491 => ErrorKind::Maintenance,
            408 | 500.. => ErrorKind::Server,
            _ => ErrorKind::Rejected,
        };
        let problem = match response.status {
            status @ 200..300 => format!("{what} got {status} from the bank, and not what belongs to it"),
            status => format!("{what} got {status} from the bank{said}"),
        };
        Failure::of_kind(kind, problem).with_hint("`bunq-partner doctor` finds out what is wrong")
    }

    /// A text of the bank's, cut, and without anything that this program keeps secret.
    pub(super) fn redacted(&self, text: &str) -> String {
        let secrets = [Some(&self.api_key), self.installation.as_ref(), self.session.as_ref()];
        let redacted = secrets
            .into_iter()
            .flatten()
            .fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "[redacted]"));
        redacted.split(' ').map(without_id).collect::<Vec<_>>().join(" ").chars().take(MAX_CHARS).collect()
    }
}

/// The id in the response to a creation or a closing, which has it alone or with the whole provision.
fn id_in(response: &ProbeResponse) -> Option<u64> {
    let body = response.json();
    item(&body, "/Id/id").or_else(|| item(&body, "/PartnerUserProvision/id"))?.as_u64()
}

#[cfg(test)]
mod tests {
    use bunq_partner_sandbox::{Fault, Injection, Sandbox};

    use super::*;

    /// A visit to a bank with an open session.
    async fn begin(sandbox: &Sandbox) -> Visit {
        let client = sandbox.client().build().unwrap();
        let mut visit = Visit::new(&client, sandbox.api_key(), false, 1).unwrap();
        visit.install().await.unwrap();
        visit.register_key(true).await.unwrap();
        visit.open_session(true).await.unwrap();
        visit
    }

    #[tokio::test(start_paused = true)]
    async fn a_creation_that_arrives_late_is_closed_too() {
        test_timeout::start();
        let sandbox = Sandbox::start().await.unwrap();
        let late = Fault::LateArrival(LATE_ARRIVAL - Duration::from_secs(1));
        sandbox.inject(Injection::new(late).on(&Operation::CREATE_PROVISION));
        let mut visit = begin(&sandbox).await;
        assert!(visit.create().await.is_err() && sandbox.provision_ids().is_empty());
        visit.clean().await.unwrap();
        let id = sandbox.provision_ids()[0];
        assert_eq!((&sandbox.provision(id).unwrap()["status"], visit.left().len()), (&"CANCELLED".into(), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bank_that_does_not_close_at_once_is_given_time() {
        test_timeout::start();
        let sandbox = Sandbox::start().await.unwrap();
        sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::UPDATE_PROVISION).times(3));
        let mut visit = begin(&sandbox).await;
        visit.create().await.unwrap();
        let began = tokio::time::Instant::now();
        visit.clean().await.unwrap();
        assert!(visit.left().is_empty() && began.elapsed() >= 3 * PAUSE, "{:?} {:?}", visit.left(), began.elapsed());
    }
}
