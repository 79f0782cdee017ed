//! Sessions in which users prove who they are, and documents that they give.

use bunq_partner::Operation;
use bunq_partner::types::{
    CountryCode, CreateDocumentIdentificationRequest, CreateIdentityVerificationSessionRequest, DocumentType,
    UpdateIdentityVerificationSessionRequest,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::plant::Plant;
use super::{Answer, Handler, RoutedCall, attachments};
use crate::bank::Bank;
use crate::clock::after;
use crate::input;
use crate::objects::identity::{Document, IdentitySession};
use crate::objects::table::Stored;
use crate::profile::APPROVED;
use crate::wire::response::{RawResponse, Refusal};

pub(super) const ANSWERS: &[Answer] = &[
    Answer {
        operation: &Operation::CREATE_IDENTITY_VERIFICATION_SESSION,
        handler: Handler::SessionUser(create_session),
    },
    Answer { operation: &Operation::GET_IDENTITY_VERIFICATION_SESSION, handler: Handler::SessionUser(get_session) },
    Answer {
        operation: &Operation::UPDATE_IDENTITY_VERIFICATION_SESSION,
        handler: Handler::SessionUser(submit_session),
    },
    Answer { operation: &Operation::CREATE_DOCUMENT_IDENTIFICATION, handler: Handler::SessionUser(create_document) },
];

fn create_session(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let _: CreateIdentityVerificationSessionRequest = input::body(&request.call.body)?;
    let (sessions, profile) = (&bank.objects.identity_sessions, &bank.settings.profile);
    let running = sessions.of(user).find(|session| session.content.status(request.now) == "SUBMITTED");
    if let (Some(status), Some(running)) = (profile.second_identity_session, running) {
        let problem = format!("The identity verification session {} has no result yet: there can be one.", running.id);
        return Err(Refusal::new(status, problem));
    }
    let session = IdentitySession::new(next_result(bank, user));
    Ok(RawResponse::id(bank.objects.identity_sessions.add(user, session, request.now, &mut bank.numbers)))
}

/// What the next session of a user ends with.
fn next_result(bank: &Bank, user: u64) -> String {
    let (results, earlier) = (&bank.settings.profile.identity_results, bank.objects.identity_sessions.of(user).count());
    results.get(earlier).or(results.last()).map_or(APPROVED, String::as_str).to_owned()
}

fn get_session(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    Ok(RawResponse::items(vec![show(bank.objects.identity_sessions.get(user, id)?, request.now)]))
}

fn submit_session(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    let _: UpdateIdentityVerificationSessionRequest = input::body(&request.call.body)?;
    let session = bank.objects.identity_sessions.get(user, id)?;
    if let (Some(_), Some(status)) = (session.content.processed, bank.settings.profile.second_submission) {
        return Err(Refusal::new(status, format!("The identity verification session {id} has been submitted.")));
    }
    let processed = after(request.now, bank.settings.profile.identity_check);
    bank.objects.identity_sessions.change(user, id, request.now)?.processed = Some(processed);
    Ok(RawResponse::id(id))
}

fn create_document(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let body: CreateDocumentIdentificationRequest = input::body(&request.call.body)?;
    let (front, back) = (body.document_attachment_id, body.document_back_attachment_id);
    for id in [Some(front), back].into_iter().flatten() {
        attachments::check_named(bank, user, id)?;
    }
    let document = Document {
        document_type: body.document_type.into(),
        country: body.document_country_of_issuance.into(),
        front: front.get(),
        back: back.map(|id| id.get()),
    };
    Ok(RawResponse::id(bank.objects.documents.add(user, document, request.now, &mut bank.numbers)))
}

fn show(session: &Stored<IdentitySession>, now: Timestamp) -> Value {
    let IdentitySession { token, result, .. } = &session.content;
    let status = session.content.status(now);
    let reasons: &[&str] = if result == APPROVED { &[] } else { &["DOCUMENT_EXPIRED"] };
    let result = (status == "PROCESSED").then(|| json!({ "result": result, "all_fail_reason": reasons }));
    let members = [
        ("purpose", "VERIFICATION".into()),
        ("applicant_identifier_external", format!("applicant-{}", session.id).into()),
        ("session_identifier_external", format!("session-{}", session.id).into()),
        ("country", "NL".into()),
        ("status", status.into()),
        ("token", (status == "CREATED").then(|| token.expose()).into()),
        ("url_api", "https://sandbox.example/incode".into()),
        ("should_record_session", false.into()),
        ("result", result.into()),
    ];
    session.item("IdentityVerificationSessionIncode", members)
}

/// A session in which a user of a seed proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SeedIdentitySession {
    /// How far it is: `CREATED`, `SUBMITTED` or `PROCESSED`. One that is submitted was submitted when the sandbox began.
    pub status: String,
    /// What it ends with, such as `APPROVED`. Without it, the profile decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

impl Plant for SeedIdentitySession {
    fn plant(&self, bank: &mut Bank, user: u64, now: Timestamp) -> Result<(), String> {
        let mut session = IdentitySession::new(self.result.clone().unwrap_or_else(|| next_result(bank, user)));
        session.processed = match self.status.as_str() {
            "CREATED" => None,
            "SUBMITTED" => Some(after(now, bank.settings.profile.identity_check)),
            "PROCESSED" => Some(now),
            other => return Err(format!("there is no status {other}: give CREATED, SUBMITTED or PROCESSED")),
        };
        bank.objects.identity_sessions.add(user, session, now, &mut bank.numbers);
        Ok(())
    }
}

/// A document that a user of a seed has given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SeedDocument {
    /// Its type, such as `CRYPTO_KYC_QUESTIONNAIRE`.
    pub document_type: DocumentType,
    /// The country that has issued it.
    pub country: CountryCode,
    /// Which of the user's attachments is its front: 0 is the first of the seed.
    pub front: usize,
    /// Which of them is its back, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<usize>,
}

impl Plant for SeedDocument {
    fn plant(&self, bank: &mut Bank, user: u64, now: Timestamp) -> Result<(), String> {
        let Self { document_type, country, front, back } = self.clone();
        let mut attachments: Vec<_> = bank.objects.attachments.of(user).map(|attachment| attachment.id).collect();
        attachments.sort_unstable();
        let named = |index: usize| {
            let has = attachments.len();
            attachments.get(index).copied().ok_or_else(|| format!("there is no attachment {index}: the user has {has}"))
        };
        let (front, back) = (named(front)?, back.map(named).transpose()?);
        let document = Document { document_type: document_type.into(), country: country.into(), front, back };
        bank.objects.documents.add(user, document, now, &mut bank.numbers);
        Ok(())
    }
}
