//! The questions to the bank, in an order that needs one session.
//!
//! What is done wrong on purpose is one thing each time: a repeated request id, a missing signature, a dead token. Facts hold
//! statuses and bunq's messages, and no key, token or id. A call that has failed answers nothing: its fact says so.

use std::time::Duration;

use bunq_partner::{ErrorKind, Operation, Secret};
use bunq_partner_sandbox::{CreationResponse, Profile};
use serde_json::json;

use super::super::exit::Failure;
use super::answer::{
    Fact, UNUSED_ID, accepted_or_status, dead_token, item, refusal, session_timeout, signature_name, with_status,
    yes_no,
};
use super::caller::{Caller, TOO_MANY};
use super::exchange::{ProbeRequest, ProbeResponse, Signed};
use super::visit::Visit;

/// What came of a call.
pub(super) type Outcome = Result<ProbeResponse, Failure>;

pub(super) struct Interview {
    pub(super) visit: Visit,
    /// Those of users who were made for it.
    pub(super) users: Vec<Visit>,
    pub(super) facts: Vec<Fact>,
    pub(super) profile: Profile,
    /// The failures of the calls that should have answered a question.
    pub(super) failures: Vec<Failure>,
}

impl Interview {
    pub(super) fn new(visit: Visit) -> Self {
        Self { visit, users: Vec::new(), facts: Vec::new(), profile: Profile::default(), failures: Vec::new() }
    }

    /// Asks all questions. It fails if the rest cannot be asked.
    pub(super) async fn ask_all(&mut self, creates: bool) -> Result<(), Failure> {
        self.install().await?;
        self.register().await?;
        self.open_session().await?;
        self.in_session().await?;
        if creates {
            self.create().await?;
            self.make_user().await?;
        }
        self.too_often().await?;
        self.end_users().await;
        self.dead_token().await
    }

    /// Removes what was made and is still there.
    pub(super) async fn remove_all(&mut self) -> Result<(), Failure> {
        let mut removed = Ok(());
        for user in &mut self.users {
            removed = removed.and(user.remove_all().await);
        }
        // The users' provisions are closed in any case.
        self.visit.remove_all().await.and(removed)
    }

    /// What is still at the bank, without what stays, and how to remove it.
    pub(super) fn left(&self) -> Vec<(String, String)> {
        let users = self.users.iter().flat_map(Visit::left);
        self.visit.left().into_iter().chain(users.map(|(what, way)| (format!("of a user: {what}"), way))).collect()
    }

    /// What stays, because bunq has no call that removes it.
    pub(super) fn stays(&self) -> Vec<String> {
        let users = self.users.iter().filter_map(Visit::stays).map(|what| format!("of a user: {what}"));
        self.visit.stays().into_iter().chain(users).collect()
    }

    /// Ends the interview. It fails if a question has no answer.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let count = self.failures.len();
        let Some(first) = self.failures.into_iter().next() else { return Ok(()) };
        let problem = if count == 1 { "a question has".to_owned() } else { format!("{count} questions have") };
        Err(first.of(&format!("{problem} no answer")))
    }

    async fn install(&mut self) -> Result<(), Failure> {
        let response = self.visit.install().await?;
        self.profile.signed_installation = self.visit.caller.signed(&response) != Signed::Not;
        self.note("Is the response to the installation signed?", yes_no(self.profile.signed_installation), &response);
        Ok(())
    }

    async fn register(&mut self) -> Result<(), Failure> {
        let question = "How is a wrong API key refused?";
        let wrong = Secret::new(format!("sandbox_{}", "0".repeat(64)));
        let outcome = self.visit.register(&wrong, true).await;
        if let Some(response) = self.answer(question, outcome)? {
            if let Some(status) = refusal(&response) {
                self.profile.wrong_key = status;
            }
            self.note(question, with_status(&response), &response);
        }

        let question = "Must a body be signed that opens no session?";
        let outcome = self.visit.register_key(false).await;
        let mut is_accepted = false;
        if let Some(response) = self.answer(question, outcome)? {
            is_accepted = response.is_success();
            self.profile.require_signatures = !is_accepted;
            self.note_unsigned(question, &response);
        }
        if !is_accepted {
            let response = self.visit.register_key(true).await?;
            if !response.is_success() {
                return Err(self.visit.caller.unexpected("the device, with your API key,", &response));
            }
        }
        Ok(())
    }

    async fn open_session(&mut self) -> Result<(), Failure> {
        let question = "Must the opening of a session be signed?";
        let outcome = self.visit.open_session(false).await;
        let mut opened = None;
        if let Some(response) = self.answer(question, outcome)? {
            self.profile.unsigned_session = refusal(&response);
            self.note_unsigned(question, &response);
            opened = Some(response).filter(ProbeResponse::is_success);
        }
        let response = match opened {
            Some(response) => response,
            None => self.visit.open_session(true).await?,
        };
        if !response.is_success() {
            return Err(self.visit.caller.unexpected("the session", &response));
        }
        let lasts = session_timeout(&response.json());
        if let Some(seconds) = lasts {
            self.profile.session_timeout = Duration::from_secs(seconds);
        }
        let answer = lasts.map_or("bunq does not say".to_owned(), |seconds| format!("{seconds} seconds"));
        self.note("How long does a session last?", answer, &response);
        Ok(())
    }

    async fn in_session(&mut self) -> Result<(), Failure> {
        let question = "What do signatures cover?";
        let list = ProbeRequest::at(&Operation::LIST_PROVISIONS, "/partner-user-provision?count=1");
        let outcome = self.visit.with_session(list.clone()).await;
        let listed = self.answer(question, outcome)?;
        let mut used_id = None;
        if let Some(response) = listed {
            if !response.is_success() {
                return Err(self.visit.caller.unexpected("a listing", &response));
            }
            let signed = self.visit.caller.signed(&response);
            if let Signed::As(form) = signed {
                self.profile.signature_form = form;
            }
            self.note(question, signature_name(signed).into(), &response);
            used_id = Some(response.request_id);
        }

        let question = "What does a repeated request id get?";
        match used_id {
            Some(request_id) => {
                let again = ProbeRequest { request_id: Some(request_id), ..list };
                let outcome = self.visit.with_session(again).await;
                if let Some(response) = self.answer(question, outcome)? {
                    self.profile.repeated_request_id = refusal(&response);
                    self.note(question, accepted_or_status(&response), &response);
                }
            }
            None => self.note_unknown(question, "no id was used before"),
        }

        let question = "How is a 404 worded?";
        let read = ProbeRequest::at(&Operation::GET_PROVISION, format!("/partner-user-provision/{UNUSED_ID}"));
        let outcome = self.visit.with_session(read).await;
        if let Some(response) = self.answer(question, outcome)? {
            if response.status == 404 {
                self.word(404, &response);
            }
            self.note(question, with_status(&response), &response);
        }

        let question = "How is a 405 worded?";
        let wrong = ProbeRequest { method: "PATCH", ..ProbeRequest::of(&Operation::LIST_PROVISIONS, Some(json!({}))) };
        let outcome = self.visit.with_session(wrong).await;
        if let Some(response) = self.answer(question, outcome)? {
            if let Some(status) = refusal(&response) {
                self.profile.wrong_method = status;
                self.word(405, &response);
            }
            self.note(question, with_status(&response), &response);
        }

        let question = "How is a 400 worded?";
        let list = ProbeRequest::at(&Operation::LIST_PROVISIONS, "/partner-user-provision?count=many");
        let outcome = self.visit.with_session(list).await;
        if let Some(response) = self.answer(question, outcome)? {
            self.note(question, with_status(&response), &response);
        }
        Ok(())
    }

    async fn create(&mut self) -> Result<(), Failure> {
        let question = "What is a creation answered with?";
        let outcome = self.visit.create_another().await;
        let created = self.answer(question, outcome)?;
        if let Some(response) = &created {
            let is_whole = item(&response.json(), "/PartnerUserProvision/id").is_some();
            let answer = match response.is_success() {
                true if is_whole => "the provision".to_owned(),
                true => "its id".to_owned(),
                false => with_status(response),
            };
            if response.is_success() {
                self.profile.creation_response =
                    if is_whole { CreationResponse::Provision } else { CreationResponse::Id };
            }
            self.note(question, answer, response);
        }

        let question = "What does a second creation with one external_uuid get?";
        match created {
            Some(first) if first.is_success() => {
                let outcome = self.visit.create_again().await;
                if let Some(response) = self.answer(question, outcome)? {
                    self.profile.duplicate = refusal(&response);
                    self.note(question, accepted_or_status(&response), &response);
                }
            }
            Some(_) => {}
            None => self.note_unknown(question, "there was no first one"),
        }

        let question = "What does a closing get while bunq makes the user?";
        let (responses, all) = self.visit.close_created().await;
        responses.iter().for_each(|response| self.note(question, accepted_or_status(response), response));
        if let Err(failure) = all {
            self.answer(question, Err(failure))?;
        }
        Ok(())
    }

    async fn too_often(&mut self) -> Result<(), Failure> {
        let question = "Does a 429 say when to come back (Retry-After)?";
        let outcome = self.visit.caller.use_up(&Operation::GET_INSTALLATION).await;
        let Some(response) = self.answer(question, outcome)? else { return Ok(()) };
        if response.status != 429 {
            self.note(question, format!("there was none after {TOO_MANY} reads at once"), &response);
            return Ok(());
        }
        let retry_after = response.headers.get("retry-after").and_then(|after| after.to_str().ok());
        self.profile.retry_after = retry_after.is_some();
        let answer = retry_after.map_or("no".to_owned(), |after| format!("yes: {}", self.visit.caller.redacted(after)));
        self.note(question, answer, &response);
        self.share_limit().await
    }

    /// These reads are of another operation, whose limit is not used up.
    async fn dead_token(&mut self) -> Result<(), Failure> {
        let question = "What does the end of a session get?";
        let outcome = self.visit.end_session().await;
        if let Some(response) = self.answer(question, outcome)? {
            self.note(question, with_status(&response), &response);
        }

        let question = "How is a dead session refused?";
        let outcome = self.visit.try_session().await;
        match self.answer(question, outcome)? {
            Some(_) if self.visit.has_session() => {
                let why = "the session has not ended";
                self.note_unknown(question, why);
                self.failures.push(Failure::of_kind(ErrorKind::Rejected, why));
            }
            Some(response) => {
                let said = self.visit.caller.message(&response);
                let dead = dead_token(response.status, said.as_deref());
                self.profile.dead_token = dead.unwrap_or(self.profile.dead_token);
                self.note(question, with_status(&response), &response);
            }
            None => {}
        }

        let question = "How is an unknown token refused?";
        let token = Some(Secret::new("0".repeat(64)));
        let read = ProbeRequest { token, ..ProbeRequest::of(&Operation::LIST_DEVICE_SERVERS, None) };
        let outcome = self.visit.caller.send(read).await;
        if let Some(response) = self.answer(question, outcome)? {
            self.note(question, with_status(&response), &response);
        }
        Ok(())
    }

    /// The response that answers a question; `None` if there is none, which is noted. It fails if the next call would fail alike.
    pub(super) fn answer(
        &mut self,
        question: &'static str,
        outcome: Outcome,
    ) -> Result<Option<ProbeResponse>, Failure> {
        match outcome {
            Ok(response) => Ok(Some(response)),
            Err(failure) => match failure.kind() {
                Some(ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Unauthorized) => Err(failure),
                _ => {
                    self.note_unknown(question, &format!("the call failed: {}", failure.message()));
                    self.failures.push(failure);
                    Ok(None)
                }
            },
        }
    }

    pub(super) fn note(&mut self, question: &'static str, answer: String, response: &ProbeResponse) {
        let (signed, message) = said(&self.visit.caller, response);
        self.note_said(question, answer, response, signed, message);
    }

    /// Notes a response that a user got.
    pub(super) fn note_of_user(
        &mut self,
        question: &'static str,
        answer: String,
        user: &Visit,
        response: &ProbeResponse,
    ) {
        let (signed, message) = said(&user.caller, response);
        self.note_said(question, answer, response, signed, message);
    }

    fn note_said(
        &mut self,
        question: &'static str,
        answer: String,
        response: &ProbeResponse,
        signed: Signed,
        message: Option<String>,
    ) {
        if !response.is_success() && matches!(signed, Signed::As(_)) {
            self.profile.signed_refusals.insert(response.status);
        }
        let (status, signature) = (Some(response.status), Some(signature_name(signed)));
        self.facts.push(Fact { question, answer, status, signature, message });
    }

    pub(super) fn note_unknown(&mut self, question: &'static str, why: &str) {
        let answer = format!("not known: {why}");
        self.facts.push(Fact { question, answer, status: None, signature: None, message: None });
    }

    fn note_unsigned(&mut self, question: &'static str, response: &ProbeResponse) {
        if !response.is_success() {
            self.word(466, response);
        }
        let answer = refusal(response).map_or("no".to_owned(), |status| format!("yes: {status}"));
        self.note(question, answer, response);
    }

    /// Takes bunq's words over.
    fn word(&mut self, status: u16, response: &ProbeResponse) {
        if let Some(message) = self.visit.caller.message(response) {
            self.profile.wording.insert(status, message);
        }
    }
}

/// How a response is signed, and what bunq says in it.
fn said(caller: &Caller, response: &ProbeResponse) -> (Signed, Option<String>) {
    (caller.signed(response), caller.message(response))
}
