//! What a probe makes at the bank, and removes again: a session, and provisions of one `external_uuid`.
//!
//! A call that has no answer may have been carried out. So what it may have made is noted before it is sent, and is there until an
//! answer shows that it is not.

use std::collections::BTreeSet;
use std::time::Duration;

use bunq_partner::{ErrorKind, NewProvision, Operation, ProvisionStatus, Secret, Uuid};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::super::connection::LATE_ARRIVAL;
use super::super::exit::Failure;
use super::answer::{dead_token, item, text};
use super::caller::Caller;
use super::exchange::{ProbeRequest, ProbeResponse};

/// How often what was made is looked for and removed before it is given up, and how long after another.
const ROUNDS: usize = 4;
const PAUSE: Duration = Duration::from_secs(5);

/// How long all of that may take. At a bank that hangs each call takes as long as a call may.
const LONGEST: Duration = Duration::from_secs(120);

/// The name of the device at the bank.
const DEVICE: &str = "bunq-partner probe";

pub(super) struct Visit {
    pub(super) caller: Caller,
    has_installation: bool,
    has_device: bool,
    /// The bank has accepted the end of the session.
    is_ended: bool,
    /// How many openings of a session had no answer.
    lost_sessions: u32,
    created: Vec<Created>,
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

impl Created {
    /// Whether some of it is still there, as far as is known.
    fn is_at_bank(&self) -> bool {
        !self.is_listed || !self.open.is_empty()
    }
}

impl Visit {
    pub(super) fn new(caller: Caller) -> Self {
        Self {
            caller,
            has_installation: false,
            has_device: false,
            is_ended: false,
            lost_sessions: 0,
            created: Vec::new(),
        }
    }

    /// Makes an installation, whose token and key are used from then on.
    pub(super) async fn install(&mut self) -> Result<ProbeResponse, Failure> {
        let body = json!({ "client_public_key": self.caller.exchanges.public_key()? });
        let request =
            ProbeRequest { is_signed: false, ..ProbeRequest::of(&Operation::CREATE_INSTALLATION, Some(body)) };
        let response = self.caller.send(request).await?;
        let items = response.json();
        self.caller.installation = text(&items, "/Token/token").map(Secret::new);
        self.has_installation = self.caller.installation.is_some();
        let key = text(&items, "/ServerPublicKey/server_public_key").unwrap_or_default();
        if self.caller.installation.is_none() || key.is_empty() {
            return Err(self.caller.unexpected("the installation", &response));
        }
        self.caller.exchanges.trust(&key)?;
        self.caller.judged(&Operation::CREATE_INSTALLATION, response)
    }

    /// Registers this machine as a device with some key.
    pub(super) async fn register(&mut self, secret: &Secret, is_signed: bool) -> Result<ProbeResponse, Failure> {
        let body = json!({ "description": DEVICE, "secret": secret.expose() });
        let (token, had_device) = (self.caller.installation.clone(), self.has_device);
        let request =
            ProbeRequest { token, is_signed, ..ProbeRequest::of(&Operation::CREATE_DEVICE_SERVER, Some(body)) };
        self.has_device = true;
        let response = self.caller.send(request).await?;
        self.has_device = had_device || response.is_success();
        Ok(response)
    }

    /// Registers it with the API key.
    pub(super) async fn register_key(&mut self, is_signed: bool) -> Result<ProbeResponse, Failure> {
        let api_key = self.caller.api_key.clone();
        self.register(&api_key, is_signed).await
    }

    /// Opens a session, whose token is used from then on.
    pub(super) async fn open_session(&mut self, is_signed: bool) -> Result<ProbeResponse, Failure> {
        let (token, body) = (self.caller.installation.clone(), json!({ "secret": self.caller.api_key.expose() }));
        let request = ProbeRequest { token, is_signed, ..ProbeRequest::of(&Operation::CREATE_SESSION, Some(body)) };
        self.lost_sessions += 1;
        let response = self.caller.send(request).await?;
        if response.is_success() {
            let token = text(&response.json(), "/Token/token").map(Secret::new);
            self.caller.session = Some(token.ok_or_else(|| self.caller.unexpected("the session", &response))?);
            self.is_ended = false;
        }
        self.lost_sessions -= 1;
        Ok(response)
    }

    /// Creates a provision with another `external_uuid`.
    pub(super) async fn create_another(&mut self) -> Result<ProbeResponse, Failure> {
        let (external_uuid, open) = (Uuid::new_v4(), BTreeSet::new());
        self.created.push(Created { external_uuid, open, is_listed: false, may_arrive: false });
        self.create_again().await
    }

    /// Creates a provision with the same `external_uuid` as the last one.
    pub(super) async fn create_again(&mut self) -> Result<ProbeResponse, Failure> {
        let Some(created) = self.created.last_mut() else { return Err(Failure::doubt("nothing was created before")) };
        created.is_listed = false;
        let uuid = created.external_uuid;
        let email = format!("probe-{}@example.com", uuid.simple()).parse()?;
        let new = NewProvision::person(uuid, email, "+31600000000".parse()?);
        let body = serde_json::to_value(new).map_err(|error| Failure::local("the request", &error.into()))?;
        let was_late = std::mem::replace(&mut created.may_arrive, true);
        let response = self.with_session(ProbeRequest::of(&Operation::CREATE_PROVISION, Some(body))).await?;
        let id = id_in(&response);
        if id.is_none() && response.is_success() {
            return Err(self.caller.unexpected("a creation", &response));
        }
        if let Some(created) = self.created.last_mut() {
            created.open.extend(id);
            created.may_arrive = was_late;
        }
        Ok(response)
    }

    /// Closes what was created, once. Returns the responses to the closings, and why that was not all.
    pub(super) async fn close_created(&mut self) -> (Vec<ProbeResponse>, Result<(), Failure>) {
        // What is known is closed also if it cannot be listed.
        let listed = self.look().await;
        let open: BTreeSet<_> = self.created.iter().flat_map(|created| &created.open).copied().collect();
        let mut responses = Vec::new();
        for id in open {
            let body = Some(json!({ "status": "CANCELLED" }));
            let path = format!("/partner-user-provision/{id}");
            let close = ProbeRequest { path, ..ProbeRequest::of(&Operation::UPDATE_PROVISION, body) };
            match self.with_session(close).await {
                // A success names what it closes.
                Ok(response) if response.is_success() && id_in(&response) != Some(id) => {
                    return (responses, Err(self.caller.unexpected("a closing", &response)));
                }
                Ok(response) => {
                    if response.is_success() {
                        self.created.iter_mut().for_each(|created| _ = created.open.remove(&id));
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
        if self.created.iter().any(|created| created.may_arrive) {
            sleep(LATE_ARRIVAL / self.caller.rehearse).await;
        }
        for place in 0..self.created.len() {
            self.look_for(place).await?;
        }
        Ok(())
    }

    async fn look_for(&mut self, place: usize) -> Result<(), Failure> {
        let Some(created) = self.created.get(place).filter(|created| created.is_at_bank()) else { return Ok(()) };
        let path = format!("/partner-user-provision?external_uuid={}&count=200", created.external_uuid);
        let response = self.with_session(ProbeRequest::at(&Operation::LIST_PROVISIONS, path)).await?;
        if !response.is_success() {
            return Err(self.caller.unexpected("a listing", &response));
        }
        let listed = response.json();
        let provisions = listed["Response"].as_array().into_iter().flatten();
        let Some(created) = self.created.get_mut(place) else { return Ok(()) };
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
        let token = self.caller.session.clone();
        let end = ProbeRequest { token, ..ProbeRequest::at(&Operation::DELETE_SESSION, "/session/0") };
        let response = self.caller.send(end).await?;
        self.is_ended = response.is_success();
        Ok(response)
    }

    /// Reads with the token of the session. A refusal of the token, or any refusal after its end was accepted, says that it has ended.
    pub(super) async fn try_session(&mut self) -> Result<ProbeResponse, Failure> {
        let token = self.caller.session.clone();
        let response =
            self.caller.send(ProbeRequest { token, ..ProbeRequest::of(&Operation::LIST_DEVICE_SERVERS, None) }).await?;
        let said = self.caller.message(&response);
        let is_over = dead_token(response.status, said.as_deref()).is_some();
        if is_over || self.is_ended && !response.is_success() {
            self.caller.session = None;
        }
        Ok(response)
    }

    /// Whether the bank takes the token of the session as one that is alive, as far as is known.
    pub(super) fn has_session(&self) -> bool {
        self.caller.session.is_some() && !self.is_ended
    }

    /// Removes what was made and is still there.
    pub(super) async fn remove_all(&mut self) -> Result<(), Failure> {
        let given_up = format!("what was made could not be removed in {} s", LONGEST.as_secs());
        let cleaned = timeout(LONGEST, self.clean_all()).await;
        cleaned.unwrap_or_else(|_| Err(Failure::of_kind(ErrorKind::Timeout, given_up)))
    }

    async fn clean_all(&mut self) -> Result<(), Failure> {
        let (mut closed, mut ended) = (Ok(()), Ok(()));
        for round in 0..ROUNDS {
            if !self.has_provisions() {
                break;
            }
            self.pause_before(round).await;
            closed = self.remove_provisions().await;
        }
        for round in 0..ROUNDS {
            if self.caller.session.is_none() {
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
            sleep(PAUSE / self.caller.rehearse).await;
        }
    }

    pub(super) fn has_provisions(&self) -> bool {
        self.created.iter().any(Created::is_at_bank)
    }

    async fn remove_provisions(&mut self) -> Result<(), Failure> {
        if self.caller.session.is_none() {
            let response = self.open_session(true).await?;
            if !response.is_success() {
                return Err(self.caller.unexpected("the session", &response));
            }
        }
        let (responses, all) = self.close_created().await;
        all?;
        let refusal = responses.iter().find(|response| !response.is_success());
        refusal.map_or(Ok(()), |response| Err(self.caller.unexpected("a closing", response)))
    }

    /// What is still at the bank, without what stays, and how to remove it.
    pub(super) fn left(&self) -> Vec<(String, String)> {
        let mut left = Vec::new();
        for Created { external_uuid, open, is_listed, .. } in &self.created {
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
        if self.caller.session.is_some() {
            left.push(("a session".into(), "no command ends the session: it ends by itself".into()));
        }
        if self.lost_sessions > 0 {
            let ends = "a session without its token ends by itself";
            left.push(("perhaps a session whose token did not arrive".into(), ends.into()));
        }
        left
    }

    /// What stays, because bunq has no call that removes it.
    pub(super) fn stays(&self) -> Option<String> {
        self.has_installation.then(|| match self.has_device {
            true => format!("the installation and the device \"{DEVICE}\": bunq has no call that removes them"),
            false => "the installation: bunq has no call that removes it".to_owned(),
        })
    }

    /// Sends a request with the token of the session. It fails if that has ended.
    pub(super) async fn with_session(&mut self, request: ProbeRequest) -> Result<ProbeResponse, Failure> {
        let response = self.caller.send(ProbeRequest { token: self.caller.session.clone(), ..request }).await?;
        // The same words may refuse what is asked for.
        if dead_token(response.status, self.caller.message(&response).as_deref()).is_some() {
            self.try_session().await?;
            if self.caller.session.is_none() {
                return Err(self.caller.unexpected("a call of the session", &response));
            }
        }
        Ok(response)
    }
}

/// The id in the response to a creation or a closing, which has it alone or with the whole provision.
pub(super) fn id_in(response: &ProbeResponse) -> Option<u64> {
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
        let mut visit = Visit::new(Caller::new(&client, sandbox.api_key(), false, 1).unwrap());
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
        assert!(visit.create_another().await.is_err() && sandbox.provision_ids().is_empty());
        visit.remove_all().await.unwrap();
        let id = sandbox.provision_ids()[0];
        assert_eq!((&sandbox.provision(id).unwrap()["status"], visit.left().len()), (&"CANCELLED".into(), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bank_that_does_not_close_at_once_is_given_time() {
        test_timeout::start();
        let sandbox = Sandbox::start().await.unwrap();
        sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::UPDATE_PROVISION).times(3));
        let mut visit = begin(&sandbox).await;
        visit.create_another().await.unwrap();
        let began = tokio::time::Instant::now();
        visit.remove_all().await.unwrap();
        assert!(visit.left().is_empty() && began.elapsed() >= 3 * PAUSE, "{:?} {:?}", visit.left(), began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bank_that_hangs_is_given_up() {
        test_timeout::start();
        let sandbox = Sandbox::start().await.unwrap();
        let mut visit = begin(&sandbox).await;
        visit.create_another().await.unwrap();
        sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(3600))).always());
        let began = tokio::time::Instant::now();
        assert_eq!(visit.remove_all().await.unwrap_err().kind(), Some(ErrorKind::Timeout));
        assert_eq!(visit.left().len(), 3, "{:?}", visit.left());
        assert!(began.elapsed() < LONGEST + PAUSE, "{:?}", began.elapsed());
    }
}
