//! The service that a server gives bunq's calls to.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf as _;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tower_service::Service;

use super::numbers::{Counters, Outcome, ReceiverNumbers};
use super::peer::Peers;
use super::place::Place;
use super::seldom::Seldom;
use crate::transport::credentials::BoxFuture;
use crate::types::Timestamp;
use crate::webhook::{Appended, HintJournal, Notification};

/// Takes bunq's calls, and keeps what may be kept of each in a [`HintJournal`] before it answers with 200. Clones share it.
///
/// It is a service of `tower` over the types of `http`, for any body. hyper calls it in a
/// `service_fn(move |request| receiver.clone().call(request))`.
///
/// | Answer | When |
/// |---|---|
/// | 200 | the hint of the call is safe in the journal |
/// | 404 | the path is another one, or who calls is not bunq; nothing else is said to them |
/// | 405, 415 | it is no `POST`, or no JSON |
/// | 413, 408 | the body is too large, or takes too long |
/// | 400 | the body breaks off, or is no notification |
/// | 503 | the journal is full or cannot be written, or too many calls are in progress |
///
/// bunq calls again after each answer but 200, six times in all, a minute apart. Nothing of a body or of the path is in an answer, in
/// `Debug` or in the log.
///
/// Who calls is told by the server, as a [`Peer`](crate::webhook::Peer). In production, calls are taken from bunq's addresses alone, so
/// that without a `Peer` all are refused. The log says why a call on the right path was refused because of who calls, and why one was
/// answered with 503: each reason once an hour, with the number of such calls.
///
/// Connections are the server's: that an idle one ends, how many there are, and how long its headers may take.
/// [`guide::webhooks`](crate::guide::webhooks) has the settings.
#[derive(Debug)]
pub struct Receiver<J>(pub(super) Arc<Inner<J>>);

impl<J> Clone for Receiver<J> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
pub(super) struct Inner<J> {
    pub(super) place: Place,
    pub(super) peers: Peers,
    pub(super) seldom: Seldom,
    pub(super) max_body_size: usize,
    pub(super) body_timeout: Duration,
    /// One for each call that may be in progress.
    pub(super) turns: Semaphore,
    pub(super) journal: Arc<J>,
    pub(super) counters: Counters,
    /// How many hints were kept.
    pub(super) arrivals: watch::Sender<u64>,
    /// One, which the task has that takes the hints.
    pub(super) place_of_changes: Arc<Semaphore>,
}

impl<J> Receiver<J> {
    /// How many calls it has answered so far, by what became of them.
    pub fn numbers(&self) -> ReceiverNumbers {
        self.0.counters.get()
    }

    /// How many hints it has kept: a change wakes whoever waits for hints in the journal.
    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.0.arrivals.subscribe()
    }

    pub(crate) fn journal(&self) -> &Arc<J> {
        &self.0.journal
    }

    /// The place of the one task that takes the hints.
    pub(crate) fn place_of_changes(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.place_of_changes)
    }
}

impl<J: HintJournal> Inner<J> {
    async fn take<B: Body>(&self, parts: Parts, body: B) -> Outcome {
        // Both are checked, whatever the other says: the time does not tell whether the path is right.
        let (is_place, admitted) = (self.place.is(parts.uri.path()), self.peers.admit(&parts));
        if !is_place {
            return Outcome::WrongPath;
        }
        if let Err(problem) = admitted {
            if let Some(count) = self.seldom.count(problem) {
                tracing::error!(count, "a call on the right path was answered with 404: {problem}");
            }
            return Outcome::WrongPeer;
        }
        if parts.method != Method::POST {
            return Outcome::WrongMethod;
        }
        if !parts.headers.get(CONTENT_TYPE).is_some_and(is_json) {
            return Outcome::WrongType;
        }
        let len = parts.headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<usize>().ok());
        if len.is_some_and(|len| len > self.max_body_size) {
            return Outcome::TooLarge;
        }
        let Ok(_turn) = self.turns.try_acquire() else {
            self.warn("too many calls are in progress");
            return Outcome::Busy;
        };
        let arrived = Timestamp::from(jiff::Timestamp::now());
        let body = match timeout(self.body_timeout, self.read(body)).await {
            Ok(Ok(body)) => body,
            Ok(Err(refused)) => return refused,
            Err(_) => return Outcome::TooSlow,
        };
        let Ok(notification) = Notification::from_bytes(&body) else { return Outcome::NotNotification };
        match self.journal.append(notification.hint(arrived)).await {
            Ok(Appended::Kept(_)) => {
                self.arrivals.send_modify(|count| *count += 1);
                Outcome::Kept
            }
            Ok(Appended::Full) => {
                self.warn("the journal is full");
                Outcome::Full
            }
            Err(error) => {
                let problem = "the journal cannot be written";
                if let Some(count) = self.seldom.count(problem) {
                    tracing::error!(count, %error, "a notification was answered with 503: {problem}");
                }
                Outcome::Failed
            }
        }
    }

    fn warn(&self, problem: &'static str) {
        if let Some(count) = self.seldom.count(problem) {
            tracing::warn!(count, "a notification was answered with 503: {problem}");
        }
    }

    /// Reads a body up to the largest size.
    async fn read<B: Body>(&self, body: B) -> Result<zeroize::Zeroizing<Vec<u8>>, Outcome> {
        let mut body = pin!(body);
        // A buffer that grows leaves copies of the keys in memory.
        let mut read = zeroize::Zeroizing::new(Vec::with_capacity(self.max_body_size));
        while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
            let Ok(mut data) = frame.map_err(|_| Outcome::Broken)?.into_data() else { continue };
            if data.remaining() > self.max_body_size - read.len() {
                return Err(Outcome::TooLarge);
            }
            while data.has_remaining() {
                let chunk = data.chunk();
                read.extend_from_slice(chunk);
                let len = chunk.len();
                data.advance(len);
            }
        }
        Ok(read)
    }
}

/// Whether a content type is JSON, whatever its parameters are.
fn is_json(content_type: &HeaderValue) -> bool {
    let media_type = content_type.to_str().ok().and_then(|text| text.split(';').next());
    media_type.is_some_and(|text| text.trim().eq_ignore_ascii_case("application/json"))
}

impl<J, B> Service<Request<B>> for Receiver<J>
where
    J: HintJournal,
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<String>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let outcome = inner.take(parts, body).await;
            inner.counters.count(outcome);
            let mut response = Response::new(String::new());
            *response.status_mut() = outcome.status();
            if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Ok(response)
        })
    }
}
