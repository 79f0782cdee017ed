//! One exchange, from the request to the answer on the wire:
//!
//! 1. the request is read, up to a limit;
//! 2. the bank decides on the answer, and the journal notes both;
//! 3. the answer may be edited;
//! 4. it is signed;
//! 5. it may be edited again, and goes out.

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;

use super::SignatureForm;
use super::answer::{Answer, REQUEST_ID, Refusal};
use super::bank::Bank;
use super::journal::{self, Journal, JournalEntry, ReceivedSignature};
use super::lock;
use crate::signature::SigningKey;

/// The largest body that is taken.
const LARGEST_BODY: usize = 1024 * 1024;
/// Up to here a body is read, though it is too large: who is still writing does not hear the refusal.
const LARGEST_READ: usize = 16 * LARGEST_BODY;

/// What an exchange needs. An edit may look at the state, so who holds the state must not wait for the edits.
/// Neither lock is held across an await.
pub(super) struct Shared {
    pub(super) key: SigningKey,
    pub(super) signature_form: SignatureForm,
    pub(super) state: Mutex<BankState>,
    pub(super) edits: Mutex<Edits>,
}

/// The bank and what it remembers of its callers.
pub(super) struct BankState {
    pub(super) bank: Bank,
    pub(super) journal: Journal,
}

/// Changes an answer to a call.
pub(super) type Edit = Box<dyn FnMut(&JournalEntry, &mut Answer) + Send>;

/// What to do to answers on their way out.
#[derive(Default)]
pub(super) struct Edits {
    pub(super) before_signing: Option<Edit>,
    pub(super) after_signing: Option<Edit>,
}

/// A request as it came in.
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// In order, with names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Call {
    /// The value of a header, unless it is empty.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        journal::header(&self.headers, name).filter(|value| !value.is_empty())
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.header("X-Bunq-Client-Authentication")
    }

    fn into_entry(self, status: u16, signature: ReceivedSignature) -> JournalEntry {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        let Self { method, path, query, headers, .. } = self;
        JournalEntry { method, path, query, headers, body, status, signature }
    }
}

/// Answers one request.
pub(super) async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, LARGEST_READ).await.ok().filter(|body| body.len() <= LARGEST_BODY);
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let is_complete = body.is_some();
    let call = Call {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body.unwrap_or_default(),
    };
    on_the_wire(exchange(&shared, call, is_complete))
}

fn exchange(shared: &Shared, call: Call, is_complete: bool) -> Answer {
    let (entry, mut answer) = decide(&mut lock(&shared.state), call, is_complete);
    if let Some(edit) = &mut lock(&shared.edits).before_signing {
        edit(&entry, &mut answer);
    }
    answer.sign(&shared.key, shared.signature_form);
    if let Some(edit) = &mut lock(&shared.edits).after_signing {
        edit(&entry, &mut answer);
    }
    answer
}

fn decide(state: &mut BankState, call: Call, is_complete: bool) -> (JournalEntry, Answer) {
    let (signature, outcome) = if is_complete {
        state.bank.answer(&call)
    } else {
        let is_signed = call.header("X-Bunq-Client-Signature").is_some();
        let signature = if is_signed { ReceivedSignature::Unchecked } else { ReceivedSignature::None };
        let message = format!("The body was cut off or is larger than {LARGEST_BODY} bytes.");
        (signature, Err(Refusal::bad_request(message)))
    };
    let mut answer = outcome.unwrap_or_else(|refusal| Answer::refusal(&refusal));
    answer.echo(call.header(REQUEST_ID));
    let entry = call.into_entry(answer.status, signature);
    state.journal.push(entry.clone());
    (entry, answer)
}

/// The answer as HTTP. What an edit made of it may be something that HTTP cannot carry.
fn on_the_wire(answer: Answer) -> Response {
    let is_framing = |name: &str| ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str());
    let headers = answer.headers.iter().filter(|(name, _)| !is_framing(name));
    headers
        .fold(Response::builder().status(answer.status), |response, (name, value)| {
            response.header(name, value.as_bytes())
        })
        .body(Body::from(answer.body))
        .unwrap_or_else(|error| {
            let mut response = Response::new(Body::from(format!("The edited answer cannot be sent: {error}.")));
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
}
