//! What went wrong, told to the person who has to act on it.
//!
//! One type for everything. It says what happened and with which value, where bunq stood in it, and which ids
//! bunq's support will ask for; it never carries a body, a token or a key.

use std::fmt;
use std::sync::Arc;

use crate::operation::Operation;
use crate::types::Provision;

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
    /// 429: more calls than bunq allows.
    RateLimited,
    /// 491: bunq is being maintained.
    Maintenance,
    /// Another 3xx or 4xx: bunq refuses the request.
    Rejected,
    /// A 5xx: bunq failed, or something on the way to it.
    Server,
    /// A provision that is waited for has gone where it can no longer reach what was waited for.
    Unreachable,
    /// A provision that is waited for has not got there in time.
    WaitTimeout,
    /// What is kept between runs cannot be read, locked, used or written.
    Context,
}

/// Whether a failed request may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Surely not: it never left.
    No,
    /// Perhaps: it was on its way when the failure came.
    Maybe,
    /// bunq, or something that speaks for it, has answered.
    Answered,
}

/// What is known of one exchange with bunq.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) operation: &'static Operation,
    pub(crate) request_id: String,
    pub(crate) status: Option<u16>,
    pub(crate) response_id: Option<String>,
}

/// Something went wrong: what, with which value, and what to do.
///
/// `Display` is one line for a person. The accessors are for programs: [`kind`](Self::kind) to decide,
/// [`sent`](Self::sent) to know whether the request may have been carried out, the ids for bunq's support.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    sent: Sent,
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

    /// Whether the request may have been carried out.
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// The operation that failed, if it came to one.
    pub fn operation(&self) -> Option<&'static Operation> {
        self.0.facts.as_ref().map(|facts| facts.operation)
    }

    /// The HTTP status of the answer, if one came.
    pub fn status(&self) -> Option<u16> {
        self.0.facts.as_ref()?.status
    }

    /// The `X-Bunq-Client-Request-Id` that was sent.
    pub fn request_id(&self) -> Option<&str> {
        self.0.facts.as_ref().map(|facts| facts.request_id.as_str())
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
            message: message.to_string(),
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

    pub(crate) fn about(mut self, facts: Facts) -> Self {
        self.0.facts = Some(facts);
        self
    }

    pub(crate) fn saying(mut self, messages: Vec<String>) -> Self {
        self.0.bunq_messages = messages;
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
        if let Some(Facts { request_id, status, response_id, .. }) = facts {
            write!(f, " (")?;
            if let Some(status) = status {
                write!(f, "HTTP status {status}, ")?;
            }
            write!(f, "request id {request_id}")?;
            if let Some(response_id) = response_id {
                write!(f, ", response id {response_id}")?;
            }
            write!(f, ")")?;
        }
        Ok(())
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
