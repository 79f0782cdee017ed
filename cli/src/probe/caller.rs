//! Calls of the bank, and whether a response answers one.

use bunq_partner::{Client, ErrorKind, Operation, Secret};
use tokio::time::sleep;
use tracing::Span;

use super::super::exit::Failure;
use super::answer::without_id;
use super::exchange::{Exchanges, ProbeRequest, ProbeResponse, Signed, wait};

/// How many characters of bunq's words are repeated.
const MAX_CHARS: usize = 500;

/// How many reads at once are more than any limit of bunq's allows.
pub(super) const TOO_MANY: usize = 8;

pub(super) struct Caller {
    pub(super) exchanges: Exchanges,
    pub(super) api_key: Secret,
    keeps_rate_limits: bool,
    /// How many times as fast as bunq it waits.
    pub(super) rehearse: u32,
    /// The token of the installation.
    pub(super) installation: Option<Secret>,
    /// The token of the session, until the bank refuses it.
    pub(super) session: Option<Secret>,
}

impl Caller {
    /// Makes keys, which takes tens of milliseconds of the thread's time.
    pub(super) fn new(
        client: &Client,
        api_key: Secret,
        keeps_rate_limits: bool,
        rehearse: u32,
    ) -> Result<Self, Failure> {
        let exchanges = Exchanges::with(client)?;
        Ok(Self { exchanges, api_key, keeps_rate_limits, rehearse, installation: None, session: None })
    }

    /// Calls for a user of this partner, whose token is its API key: under the same installation, or to make another.
    pub(super) fn of_user(&self, token: Secret, is_under_partners: bool) -> Result<Self, Failure> {
        let exchanges = if is_under_partners { self.exchanges.clone() } else { self.exchanges.with_another_key()? };
        let installation = self.installation.clone().filter(|_| is_under_partners);
        let (keeps_rate_limits, rehearse) = (self.keeps_rate_limits, self.rehearse);
        Ok(Self { exchanges, api_key: token, keeps_rate_limits, rehearse, installation, session: None })
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
            response = self.exchanges.send(request).await?;
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

    /// Sends so many requests that any limit of bunq's is used up, or until it is. Returns the last response.
    pub(super) async fn use_up(&self, operation: &'static Operation) -> Result<ProbeResponse, Failure> {
        let mut last = self.send_at_once(operation).await?;
        for _ in 1..TOO_MANY {
            if last.status == 429 {
                break;
            }
            last = self.send_at_once(operation).await?;
        }
        Ok(last)
    }

    /// The response, if it is an answer of bunq's: a success that names the request, or a refusal in bunq's envelope; not under a
    /// signature of somebody else.
    pub(super) fn judged(&self, operation: &Operation, response: ProbeResponse) -> Result<ProbeResponse, Failure> {
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
        let said = self.message(response);
        let is_about_key = said
            .as_ref()
            .is_some_and(|said| said.contains("Incorrect API key") || matches!(response.status, 401 | 403));
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
            status => {
                let said = said.map_or(", and no message of bunq's".to_owned(), |said| format!(": {said}"));
                format!("{what} got {status} from the bank{said}")
            }
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
