//! The error of every call.
//!
//! It says what went wrong and with which value, whether the request was sent, and the ids that bunq's support asks
//! for. It never contains a body, a token or a key. One function here decides for all callers whether a failed request
//! may have been carried out.

mod display;
mod kind;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub use self::kind::{ErrorKind, Remedy, Sent};
use crate::operation::Operation;
use crate::text::one_line;
use crate::types::{self, InvalidValue, Plain};

/// How many characters of a foreign text an error repeats.
const MAX_FOREIGN_CHARS: usize = 500;

/// How many values a list has at most that bunq adds to one message of a refusal.
const MAX_DETAILS: usize = 1000;

/// What is known about the last exchange of a call.
#[derive(Debug, Clone)]
pub(crate) struct CallMetadata {
    pub(crate) operation: &'static Operation,
    /// The attempts so far, this one included.
    pub(crate) attempts: u32,
    /// `None` if the call ended before a request was made.
    pub(crate) request_id: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) response_id: Option<String>,
    pub(crate) warning: Option<String>,
}

impl CallMetadata {
    pub(crate) fn new(operation: &'static Operation, attempts: u32) -> Self {
        Self { operation, attempts, request_id: None, status: None, response_id: None, warning: None }
    }
}

/// Whether a request that failed in this way may have been carried out: it got no complete response, or one that proves
/// nothing.
fn may_have_run(kind: ErrorKind, sent: Sent, is_from_bunq: bool) -> bool {
    match (sent, kind) {
        (Sent::No, _) => false,
        (Sent::Maybe, _) => true,
        (Sent::Responded, ErrorKind::Server | ErrorKind::Signature | ErrorKind::InvalidResponse) => true,
        (Sent::Responded, _) => !is_from_bunq,
    }
}

/// The failure of a call: what went wrong, with which value, and what to do.
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
    /// See [`Error::is_from_bunq`].
    is_from_bunq: bool,
    /// The response has a signature that is not valid.
    has_invalid_signature: bool,
    /// The failure passes by itself, although others of its kind do not.
    is_passing: bool,
    /// The client could not find out whether a refused request was carried out nevertheless.
    is_in_doubt: bool,
    /// A setting is the cause: see [`Error::is_misconfiguration`].
    is_misconfiguration: bool,
    retry_after: Option<Duration>,
    message: String,
    remedy: Option<Remedy>,
    /// The name of the value that is not accepted.
    field: Option<String>,
    metadata: Option<CallMetadata>,
    bunq_messages: Vec<String>,
    /// Or the problem, if there is more than is kept.
    additional_parameter: Option<Result<String, String>>,
    last_seen: Option<Arc<dyn Any + Send + Sync>>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// The details of the response are those of the source: `Display` prints the source in place of them.
    is_told_by_source: bool,
}

impl Error {
    /// Returns the kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The name of the value that is not accepted, if the kind is [`InvalidInput`](ErrorKind::InvalidInput): a setting,
    /// as in `base_url`, an environment variable, as in `SSL_CERT_FILE`, or a member of a request.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// What a program can do about the failure, if this crate has something for it. `Display` says it at the end of the
    /// message, in the words of [`Remedy`].
    pub fn remedy(&self) -> Option<Remedy> {
        self.0.remedy
    }

    /// The same error whose `Display` leaves out the [remedy](Self::remedy): for a program that says it in its own words.
    #[must_use]
    pub fn without_remedy(mut self) -> Self {
        self.0.remedy = None;
        let own = self.0.source.as_ref().and_then(|source| source.downcast_ref::<Self>());
        if let Some(source) = own {
            self.0.source = Some(Arc::new(source.clone().without_remedy()));
        }
        self
    }

    /// Returns whether the request was sent.
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// Whether bunq may have carried the request out although the call failed: the request got no complete response, or
    /// one that proves nothing; or [`create`], [`close`], [`reset_token`] or [`Oauth::ensure`] was refused, and could not find out
    /// whether it was carried out nevertheless. Check the outcome before you send such a request again.
    ///
    /// It is `false` for reads, for waits, and for everything else that does no harm when it is repeated
    /// ([`Operation::idempotent`]).
    ///
    /// [`create`]: crate::Provisions::create
    /// [`close`]: crate::Provisions::close
    /// [`reset_token`]: crate::Provisions::reset_token
    /// [`Oauth::ensure`]: crate::Oauth::ensure
    pub fn is_doubtful(&self) -> bool {
        self.operation().is_some_and(|operation| !operation.idempotent)
            && (self.0.is_in_doubt || may_have_run(self.0.kind, self.0.sent, self.0.is_from_bunq))
    }

    /// Whether `operation` may be attempted again after this failure without checking what happened: the request was
    /// certainly not sent, or a second execution does no harm. A refusal is not enough, because nothing binds its
    /// status to the request.
    pub(crate) fn permits_repeating(&self, operation: &Operation) -> bool {
        operation.idempotent || self.0.sent == Sent::No
    }

    /// Whether the same call may succeed later: its [kind](ErrorKind::is_transient) passes by itself, the refusal may
    /// come from something other than bunq, such as a proxy, or a refused session can be renewed later.
    ///
    /// That does not say whether the call may safely be repeated: see [`is_doubtful`](Self::is_doubtful).
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_transient() || self.0.is_passing || self.is_unproven_refusal()
    }

    /// Whether connections fail until somebody changes a setting, here or at the other end: the certificate of the
    /// server or of the proxy is not trusted or is for another name, the proxy refuses the password or does not speak
    /// HTTP, the server does not speak TLS, or the base URL does not lead to bunq's API.
    ///
    /// If the connection failed, [`is_retryable`](Self::is_retryable) is true too, because the setting can be corrected
    /// while the call is tried again. If no call has succeeded before, the wrong setting is probably your own.
    pub fn is_misconfiguration(&self) -> bool {
        let cause = self.0.source.as_ref().and_then(|source| source.downcast_ref::<Self>());
        self.0.is_misconfiguration || cause.is_some_and(Self::is_misconfiguration)
    }

    /// Whether the response is a refusal that is not known to be bunq's own, and may be another next time: a body that was too large
    /// (413) stays so.
    fn is_unproven_refusal(&self) -> bool {
        let is_refusal = matches!(self.0.kind, ErrorKind::Unauthorized | ErrorKind::NotFound | ErrorKind::Rejected);
        is_refusal && self.status().is_some_and(|status| status != 413) && !self.0.is_from_bunq
    }

    /// Whether bunq itself refuses the call because of its rate limit.
    pub(crate) fn is_throttling(&self) -> bool {
        self.0.is_from_bunq && self.status() == Some(429)
    }

    /// Whether bunq itself refuses the token of the call.
    pub(crate) fn refuses_token(&self) -> bool {
        let refuses = match self.status() {
            Some(401) => true,
            Some(403) => self.0.bunq_messages.iter().any(|message| is_token_refusal(message)),
            _ => false,
        };
        refuses && self.0.is_from_bunq && self.0.kind == ErrorKind::Unauthorized
    }

    /// Whether the response, a success or a refusal, has a signature that does not verify with the client's key for
    /// bunq.
    pub(crate) fn has_invalid_signature(&self) -> bool {
        self.0.has_invalid_signature
    }

    /// Whether bunq itself refused the call, as far as the client can tell: the response is a refusal in bunq's
    /// envelope, echoes the id of the request, and has no invalid signature. Most of bunq's refusals are not signed.
    ///
    /// If a response refuses the call and this is `false`, something else has answered, such as a proxy. It knows
    /// nothing of your key, your objects or bunq's rate limits, whatever its status says, and the call [may succeed
    /// later](Self::is_retryable).
    pub fn is_from_bunq(&self) -> bool {
        self.0.is_from_bunq
    }

    /// Whether bunq says that there is no such object.
    pub(crate) fn is_gone(&self) -> bool {
        self.kind() == ErrorKind::NotFound && self.is_from_bunq()
    }

    /// How long to wait before the next attempt, if that is known: bunq asked for it, or its rate limit has no permit
    /// earlier. A refusal that bunq has not signed can ask for at most a minute.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// How many attempts were made; 0 if the request was never sent.
    pub fn attempts(&self) -> u32 {
        self.0.metadata.as_ref().map_or(0, |call| call.attempts)
    }

    /// The operation that failed, if there was one.
    pub fn operation(&self) -> Option<&'static Operation> {
        self.0.metadata.as_ref().map(|call| call.operation)
    }

    /// The HTTP status of the response, if there was one.
    pub fn status(&self) -> Option<u16> {
        self.0.metadata.as_ref()?.status
    }

    /// The `X-Bunq-Client-Request-Id` of the last attempt.
    pub fn request_id(&self) -> Option<&str> {
        self.0.metadata.as_ref()?.request_id.as_deref()
    }

    /// The `X-Bunq-Client-Response-Id` of the response. bunq's support asks for it.
    pub fn response_id(&self) -> Option<&str> {
        self.0.metadata.as_ref()?.response_id.as_deref()
    }

    /// The messages of a refusal in bunq's envelope. They come from bunq itself if [`is_from_bunq`](Self::is_from_bunq)
    /// is `true`.
    pub fn bunq_messages(&self) -> &[String] {
        &self.0.bunq_messages
    }

    /// The `error_additional_parameter` of bunq's messages, which some refusals have: a JSON array with the value of
    /// each message, of open shape; `null` for a message without one. `Display` and `Debug` leave it out, because it may be about a person.
    ///
    /// It is `None` if there is none, or if it is longer than [`ClientBuilder::max_refusal_details`] allows.
    ///
    /// [`ClientBuilder::max_refusal_details`]: crate::ClientBuilder::max_refusal_details
    pub fn additional_parameter(&self) -> Option<&str> {
        self.0.additional_parameter.as_ref()?.as_deref().ok()
    }

    /// What bunq adds to a refusal, read as the type that the documentation of the operation names: the values of
    /// [`additional_parameter`](Self::additional_parameter), and those of the lists that it has. It is empty if bunq has
    /// added nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidResponse`](ErrorKind::InvalidResponse) if bunq has added more than
    /// [`ClientBuilder::max_refusal_details`] allows or more than 1000 values, or if a value cannot be read as `T`. The
    /// types of this crate read every value, and keep one of an unknown kind.
    ///
    /// [`ClientBuilder::max_refusal_details`]: crate::ClientBuilder::max_refusal_details
    pub fn details<T: DeserializeOwned>(&self) -> Result<Vec<T>, Self> {
        Ok(self.details_by_message()?.into_iter().flatten().collect())
    }

    /// The [`details`](Self::details) of each message: an empty list for one to which bunq has added nothing. There are no lists if bunq
    /// has added nothing at all.
    pub(crate) fn details_by_message<T: DeserializeOwned>(&self) -> Result<Vec<Vec<T>>, Self> {
        let invalid = |problem: &str| Self::new(ErrorKind::InvalidResponse, Sent::Responded, problem);
        let text = match &self.0.additional_parameter {
            None => return Ok(Vec::new()),
            Some(Err(problem)) => return Err(invalid(problem).with_remedy(Remedy::RaiseMaxRefusalDetails)),
            Some(Ok(text)) => text,
        };
        // serde_json's own message may quote a value.
        let unread =
            |_| invalid("what bunq has added to the refusal is not what the document describes, or is too long");
        let values: Vec<&RawValue> = serde_json::from_str(text).map_err(unread)?;
        let read = |value: &RawValue| {
            if value.get() == "null" {
                Ok(Vec::new())
            } else if value.get().starts_with('[') {
                types::list::<Plain, T, _, MAX_DETAILS>(&mut serde_json::Deserializer::from_str(value.get()))
            } else {
                serde_json::from_str(value.get()).map(|one| vec![one])
            }
        };
        values.into_iter().map(|value| read(value).map_err(unread)).collect()
    }

    /// The object as it was last seen before a wait or a verb failed: `error.last_seen::<Provision>()`. `None` if none
    /// was seen, or if it has another type.
    pub fn last_seen<R: Any>(&self) -> Option<&R> {
        self.0.last_seen.as_deref()?.downcast_ref()
    }

    /// Makes the error for a [`ContextStore`](crate::ContextStore) of your own that cannot read or write its context.
    ///
    /// `problem` names the store and says what to do. It is shown and logged, so it must not contain a secret.
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

    /// Makes the error for a [`ContextStore`](crate::ContextStore) or a [`Custody`](crate::Custody) of your own that cannot be reached now,
    /// such as a database that restarts. Its kind is [`Context`](ErrorKind::Context) too, but the call may succeed later: it is
    /// [retryable](Self::is_retryable). Sessions that wait for their turns go on waiting.
    ///
    /// `problem` names the store and says what to do. It must not contain a secret.
    ///
    /// ```
    /// use bunq_partner::Error;
    ///
    /// let error = Error::unavailable("database `acme` cannot be reached: see whether it runs");
    /// assert!(error.is_retryable());
    /// ```
    pub fn unavailable(problem: impl fmt::Display) -> Self {
        let mut error = Self::context(problem);
        error.0.is_passing = true;
        error
    }

    /// Makes the error for a [`ContextStore`](crate::ContextStore) or a [`Custody`](crate::Custody) of your own whose lock somebody else
    /// has held for too long. The call may succeed later: it is [retryable](Self::is_retryable).
    ///
    /// `problem` names what is locked and, if it is known, who holds it. It must not contain a secret.
    pub fn busy(problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Busy, Sent::No, problem)
    }

    /// Makes the error for a [`Journal`](crate::Journal) of your own that cannot be read or written.
    ///
    /// `problem` names the journal and says what to do.
    pub fn storage(problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Storage, Sent::No, problem)
    }

    /// Makes the error of a [`PermitStore`](crate::PermitStore) that you write: it cannot be read or written.
    ///
    /// `problem` names the store and what to do. It is shown and logged, so it must hold no secret.
    pub fn permits(problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Permits, Sent::No, problem)
    }

    pub(crate) fn new(kind: ErrorKind, sent: Sent, message: impl fmt::Display) -> Self {
        Self::saying(kind, sent, &message.to_string())
    }

    fn saying(kind: ErrorKind, sent: Sent, message: &str) -> Self {
        Self(Box::new(Inner {
            kind,
            sent,
            is_from_bunq: false,
            has_invalid_signature: false,
            is_passing: false,
            is_in_doubt: false,
            is_misconfiguration: false,
            retry_after: None,
            message: one_line(message, MAX_FOREIGN_CHARS * 2),
            remedy: None,
            field: None,
            metadata: None,
            bunq_messages: Vec::new(),
            additional_parameter: None,
            last_seen: None,
            source: None,
            is_told_by_source: false,
        }))
    }

    /// A value that is not accepted. `field` is its name as the caller knows it.
    pub(crate) fn invalid_input(field: &str, problem: impl fmt::Display) -> Self {
        let mut error = Self::new(ErrorKind::InvalidInput, Sent::No, format_args!("{field}: {problem}"));
        error.0.field = Some(field.to_owned());
        error
    }

    /// A response that is not what the document describes.
    pub(crate) fn invalid_response(metadata: CallMetadata, problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidResponse, Sent::Responded, problem).with_metadata(metadata)
    }

    pub(crate) fn internal(problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Internal, Sent::No, problem)
    }

    /// The failure of a call that was not sent because it waited in vain for something. It has the kind and all details
    /// of `last`, the last failure of what it waited for.
    pub(crate) fn held_up(problem: &str, last: Self) -> Self {
        let mut inner = last.0.clone();
        inner.sent = Sent::No;
        problem.clone_into(&mut inner.message);
        inner.source = Some(Arc::new(last));
        inner.is_told_by_source = true;
        Self(inner)
    }

    /// The same error for a call whose own request was not sent.
    pub(crate) fn before_sending(mut self) -> Self {
        self.0.sent = Sent::No;
        self
    }

    /// The same error, of what was to be done after bunq has carried out a request of this operation.
    pub(crate) fn after_carrying_out(mut self, operation: &'static Operation) -> Self {
        self.0.sent = Sent::Responded;
        self.with_metadata(CallMetadata::new(operation, 1)).with_advice("bunq has carried the request out")
    }

    /// The same error with the content of the response. `is_from_bunq` says whether the refusal is proven to be bunq's
    /// own.
    pub(crate) fn with_refusal(
        mut self,
        is_from_bunq: bool,
        messages: &[String],
        additional: Option<Result<String, String>>,
    ) -> Self {
        self.0.is_from_bunq = is_from_bunq;
        self.0.bunq_messages = messages.iter().map(|message| one_line(message, MAX_FOREIGN_CHARS)).collect();
        self.0.additional_parameter = additional;
        self
    }

    /// What is known about the last exchange, if a call has failed.
    pub(crate) fn metadata(&self) -> Option<&CallMetadata> {
        self.0.metadata.as_ref()
    }

    /// The same refusal as [`Forbidden`](ErrorKind::Forbidden): `evidence` shows that it is not about the token.
    pub(crate) fn forbidden(mut self, evidence: &str) -> Self {
        self.0.kind = ErrorKind::Forbidden;
        self.0.message = format!(
            "{FORBIDDEN}: {evidence}, so key, environment and address are right; only the partner may do some things, and a user \
             may not"
        );
        self
    }

    pub(crate) fn with_invalid_signature(mut self, has_one: bool) -> Self {
        self.0.has_invalid_signature = has_one;
        self
    }

    /// The same error with what a program can do about it.
    pub(crate) fn with_remedy(mut self, remedy: Remedy) -> Self {
        self.0.remedy = Some(remedy);
        self
    }

    /// The same error with advice what to do.
    pub(crate) fn with_advice(mut self, advice: &str) -> Self {
        self.0.message = format!("{}: {advice}", self.0.message);
        self
    }

    /// The same error, marked as one after which the call can be made again when `pause` has passed.
    pub(crate) fn passing_after(mut self, pause: Duration) -> Self {
        self.0.is_passing = true;
        self.0.retry_after = Some(pause);
        self
    }

    /// The same refusal, marked as in doubt: the client could not find out whether the request was carried out
    /// nevertheless, because the check failed or because a request may still arrive.
    pub(crate) fn in_doubt(mut self, failure: Option<Self>) -> Self {
        self.0.is_in_doubt = true;
        let error = self.with_advice("it is unknown whether bunq carried it out nevertheless");
        match failure {
            Some(failure) => error.with_source(failure),
            None => error,
        }
    }

    /// The same error, marked as caused by a setting or not.
    pub(crate) fn due_to_a_setting(mut self, is_misconfiguration: bool) -> Self {
        self.0.is_misconfiguration = is_misconfiguration;
        self
    }

    pub(crate) fn with_retry_after(mut self, pause: Option<Duration>) -> Self {
        self.0.retry_after = pause;
        self
    }

    pub(crate) fn with_metadata(mut self, metadata: CallMetadata) -> Self {
        self.0.metadata = Some(metadata);
        self
    }

    pub(crate) fn with_last_seen(mut self, seen: Arc<impl Any + Send + Sync>) -> Self {
        self.0.last_seen = Some(seen);
        self
    }

    pub(crate) fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }
}

impl From<InvalidValue> for Error {
    fn from(value: InvalidValue) -> Self {
        Self::invalid_input(value.field(), value.rule())
    }
}

/// The message of a 403 that is not about the token.
pub(crate) const FORBIDDEN: &str = "bunq does not allow the caller to do this";

/// Whether the message of a 403 is bunq's text for a token that it does not accept any more. Any other text means that
/// the caller may not do this.
pub(crate) fn is_token_refusal(message: &str) -> bool {
    let message = message.trim().trim_end_matches('.').to_ascii_lowercase();
    matches!(message.as_str(), "insufficient authentication" | "insufficient authorisation")
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}

#[cfg(test)]
mod tests;
