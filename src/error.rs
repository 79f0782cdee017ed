//! What went wrong, told to the person who has to act on it.
//!
//! One type for everything. It says what happened and with which value, where bunq stood in it, and which ids
//! bunq's support will ask for; it never carries a body, a token or a key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::operation::Operation;
use crate::retry;
use crate::types::Provision;

/// How much of a text from outside an error repeats.
const MAX_FOREIGN_CHARS: usize = 500;

/// What kind of thing went wrong.
///
/// More kinds may come: match with a wildcard arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value that you gave is not one that bunq could take. Nothing was sent.
    InvalidInput,
    /// No connection to bunq came about. Nothing was sent.
    Connect,
    /// The connection broke, or the answer broke off, after the request was on its way.
    Connection,
    /// bunq did not answer in time.
    Timeout,
    /// The answer is not what the document describes: not JSON, of another shape, empty or too large.
    InvalidResponse,
    /// A success answer without a signature of bunq's, or with a wrong one. It was not used.
    Signature,
    /// 401: bunq does not accept the key, the token, the address or the signature.
    Unauthorized,
    /// 404: there is no such thing.
    NotFound,
    /// More calls than bunq allows: bunq says so with 429, or the wait for a free place would outlast the call.
    RateLimited,
    /// 491: bunq is being maintained.
    Maintenance,
    /// Another 3xx or 4xx: bunq refuses the request.
    Rejected,
    /// A 5xx: bunq failed, or something on the way to it.
    Server,
    /// A provision that is waited for has gone where it can no longer reach what was waited for.
    Unattainable,
    /// A provision that is waited for has not got there in time.
    WaitTimeout,
    /// A credential has expired unused, or has been used already: reset it with
    /// [`reset_token`](crate::Provisions::reset_token).
    CredentialSpent,
    /// bunq has more than one provision with the same `external_uuid`. The message names them.
    Duplicate,
    /// What was kept between runs cannot be used or written.
    Context,
    /// This machine failed: no key could be made, no TLS set up, no task run.
    Internal,
}

/// How far the request of a failed call has come.
///
/// It is about the call that was made: if the session that it needed could not be opened, the call itself was not
/// sent. Whether it may have been carried out is what [`Error::is_doubtful`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// It never left.
    No,
    /// It was on its way when the failure came; there was no whole answer.
    Maybe,
    /// bunq, or something that speaks for it, has answered.
    Answered,
}

/// What is known of the last exchange of a call with bunq.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) operation: &'static Operation,
    /// The tries up to this one, itself included.
    pub(crate) attempts: u32,
    /// `None` where the call ended before a request was made.
    pub(crate) request_id: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) response_id: Option<String>,
}

/// Something went wrong: what, with which value, and what to do.
///
/// `Display` is one line for a person. The accessors are for programs: [`kind`](Self::kind) to decide,
/// [`is_doubtful`](Self::is_doubtful) to know whether the request may have been carried out, the ids for bunq's
/// support.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    sent: Sent,
    /// Whether the error answer carries bunq's valid signature.
    signed: bool,
    retry_after: Option<Duration>,
    message: String,
    facts: Option<Facts>,
    bunq_messages: Vec<String>,
    last_seen: Option<Provision>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// How far the request has come.
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// Whether the request may have been carried out all the same: it got no whole answer, or one that proves
    /// nothing. Look what has become of it before you ask again for what must not happen twice.
    pub fn is_doubtful(&self) -> bool {
        match (self.0.sent, self.0.kind) {
            (Sent::No, _) => false,
            (Sent::Maybe, _) => true,
            (Sent::Answered, ErrorKind::Server | ErrorKind::Signature | ErrorKind::InvalidResponse) => true,
            // bunq's own word is good for it that it has refused the request; a proxy's is not. These three come by
            // themselves, and lead to asking again: they must be signed.
            (Sent::Answered, ErrorKind::RateLimited | ErrorKind::Maintenance | ErrorKind::Unauthorized) => {
                !self.0.signed
            }
            (Sent::Answered, ErrorKind::Unattainable | ErrorKind::WaitTimeout | ErrorKind::Duplicate) => false,
            (Sent::Answered, _) => !self.is_bunqs_own(),
        }
    }

    /// Whether the same call may well succeed later: what failed will pass by itself. It calls what the client's own
    /// retries go by.
    ///
    /// That says nothing on whether the call may safely be made again: see [`is_doubtful`](Self::is_doubtful).
    pub fn is_retryable(&self) -> bool {
        retry::passes(self.0.kind)
    }

    /// How long to wait before the next try, where that is known: bunq asks for it, or its rate limit has no place before.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// How many times the request was tried; 0 if it never came to a try.
    pub fn attempts(&self) -> u32 {
        self.0.facts.as_ref().map_or(0, |facts| facts.attempts)
    }

    /// The operation that failed, if it came to one.
    pub fn operation(&self) -> Option<&'static Operation> {
        self.0.facts.as_ref().map(|facts| facts.operation)
    }

    /// The HTTP status of the answer, if one came.
    pub fn status(&self) -> Option<u16> {
        self.0.facts.as_ref()?.status
    }

    /// The `X-Bunq-Client-Request-Id` of the last try.
    pub fn request_id(&self) -> Option<&str> {
        self.0.facts.as_ref()?.request_id.as_deref()
    }

    /// The `X-Bunq-Client-Response-Id` that came back. bunq's support asks for it.
    pub fn response_id(&self) -> Option<&str> {
        self.0.facts.as_ref()?.response_id.as_deref()
    }

    /// What bunq said, in its own words.
    pub fn bunq_messages(&self) -> &[String] {
        &self.0.bunq_messages
    }

    /// The provision as it was last seen, where a wait has failed.
    pub fn last_seen(&self) -> Option<&Provision> {
        self.0.last_seen.as_ref()
    }

    /// What is kept between runs cannot be used, for the [`ContextStore`](crate::ContextStore)s that you write.
    ///
    /// `problem` names the place and what to do there. People and logs will see it: it must hold no secret.
    ///
    /// ```
    /// use bunq_partner::{Error, ErrorKind};
    ///
    /// let error = Error::context("vault `acme`: it is sealed, unseal it");
    /// assert_eq!(error.kind(), ErrorKind::Context);
    /// ```
    pub fn context(problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Context, Sent::No, problem)
    }

    pub(crate) fn new(kind: ErrorKind, sent: Sent, message: impl fmt::Display) -> Self {
        Self(Box::new(Inner {
            kind,
            sent,
            signed: false,
            retry_after: None,
            message: one_line(&message.to_string(), MAX_FOREIGN_CHARS * 2),
            facts: None,
            bunq_messages: Vec::new(),
            last_seen: None,
            source: None,
        }))
    }

    /// A value that cannot be taken; `field` is the name that its giver knows it by.
    pub(crate) fn invalid_input(field: &str, problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidInput, Sent::No, format_args!("{field}: {problem}"))
    }

    /// An answer that is not what the document describes.
    pub(crate) fn invalid_response(facts: Facts, problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidResponse, Sent::Answered, problem).about(facts)
    }

    pub(crate) fn internal(problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Internal, Sent::No, problem)
    }

    /// The same error for a call whose own request never left.
    pub(crate) fn before_sending(mut self) -> Self {
        self.0.sent = Sent::No;
        self
    }

    pub(crate) fn signed(mut self, signed: bool) -> Self {
        self.0.signed = signed;
        self
    }

    pub(crate) fn retry_in(mut self, pause: Option<Duration>) -> Self {
        self.0.retry_after = pause;
        self
    }

    /// Whether the error answer is bunq's as far as one can tell: it is signed, or at least in bunq's form.
    pub(crate) fn is_bunqs_own(&self) -> bool {
        self.0.signed || !self.0.bunq_messages.is_empty()
    }

    pub(crate) fn is_signed(&self) -> bool {
        self.0.signed
    }

    pub(crate) fn about(mut self, facts: Facts) -> Self {
        self.0.facts = Some(facts);
        self
    }

    pub(crate) fn saying(mut self, messages: &[String]) -> Self {
        self.0.bunq_messages = messages.iter().map(|message| one_line(message, MAX_FOREIGN_CHARS)).collect();
        self
    }

    pub(crate) fn seeing(mut self, provision: Provision) -> Self {
        self.0.last_seen = Some(provision);
        self
    }

    pub(crate) fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }
}

/// A text that may come from outside, made fit for one line.
pub(crate) fn one_line(text: &str, max_chars: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max_chars).collect()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { message, facts, bunq_messages, .. } = &*self.0;
        if let Some(facts) = facts {
            write!(f, "{}: ", facts.operation.id)?;
        }
        f.write_str(message)?;
        if !bunq_messages.is_empty() {
            write!(f, "; bunq says: {}", bunq_messages.join("; "))?;
        }
        let Some(Facts { attempts, request_id, status, response_id, .. }) = facts else { return Ok(()) };
        let known = [
            status.map(|status| format!("HTTP status {status}")),
            request_id.as_ref().map(|id| format!("request id {id}")),
            response_id.as_ref().map(|id| format!("response id {id}")),
            (*attempts > 1).then(|| format!("{attempts} tries")),
        ];
        let known: Vec<_> = known.into_iter().flatten().collect();
        if known.is_empty() { Ok(()) } else { write!(f, " ({})", known.join(", ")) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, sent, source, .. } = &*self.0;
        let mut output = f.debug_struct("Error");
        output.field("kind", kind).field("sent", sent).field("message", &self.to_string());
        if let Some(source) = source {
            output.field("source", source);
        }
        output.finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}
