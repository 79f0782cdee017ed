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
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower_service::Service;

use super::place::Place;
use crate::error::Error;
use crate::transport::credentials::BoxFuture;
use crate::types::{Secret, Timestamp};
use crate::webhook::{Appended, HintJournal, Notification};

/// The largest body that can be set.
const LARGEST: usize = Notification::MAX_LEN;

/// The longest time for a body that can be set. bunq waits for ten seconds.
const LONGEST: Duration = Duration::from_secs(10);

/// Takes bunq's calls, and keeps what may be kept of each in a [`HintJournal`] before it answers with 200. Clones share it.
///
/// It is a service of `tower` over the types of `http`, for any body. hyper calls it in a
/// `service_fn(move |request| receiver.clone().call(request))`.
///
/// | Answer | When |
/// |---|---|
/// | 200 | the hint of the call is safe in the journal |
/// | 404 | the path is another one; nothing else is said to whoever does not know it |
/// | 405, 415 | it is no `POST`, or no JSON |
/// | 413, 408 | the body is too large, or takes too long |
/// | 400 | the body breaks off, or is no notification |
/// | 503 | the journal is full or cannot be written, or too many calls are in progress |
///
/// bunq calls again after each answer but 200, six times in all, a minute apart. Nothing of a body or of the path is in an answer, in
/// `Debug` or in the log.
///
/// Connections are the server's: that an idle one ends, how many there are, and how long its headers may take.
#[derive(Debug)]
pub struct Receiver<J>(Arc<Inner<J>>);

impl<J> Clone for Receiver<J> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Inner<J> {
    place: Place,
    max_body_size: usize,
    body_timeout: Duration,
    /// One for each call that may be in progress.
    turns: Semaphore,
    journal: J,
}

/// The settings of a [`Receiver`].
#[derive(Debug)]
pub struct ReceiverBuilder {
    folder: String,
    segments: Vec<Secret>,
    max_body_size: usize,
    body_timeout: Duration,
    max_calls: usize,
}

impl ReceiverBuilder {
    /// Where the secret segment follows in the path, with a slash at both ends. The default is `/`. Behind a router that takes a part
    /// of the path away, it is what is left.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<String>) -> Self {
        self.folder = folder.into();
        self
    }

    /// A second segment that is taken too, so that the segment can be changed: take both, change the filters, take the new one alone.
    #[must_use]
    pub fn other_segment(mut self, segment: impl Into<Secret>) -> Self {
        self.segments.truncate(1);
        self.segments.push(segment.into());
        self
    }

    /// The size of the largest body, in bytes. The default, and the most, is 64 KiB: a longer one is no notification.
    #[must_use]
    pub fn max_body_size(mut self, max_body_size: usize) -> Self {
        self.max_body_size = max_body_size;
        self
    }

    /// How long a body may take. The default is five seconds, the most is ten, after which bunq waits no longer.
    #[must_use]
    pub fn body_timeout(mut self, body_timeout: Duration) -> Self {
        self.body_timeout = body_timeout;
        self
    }

    /// How many calls may be in progress. The default is 256.
    #[must_use]
    pub fn max_calls(mut self, max_calls: usize) -> Self {
        self.max_calls = max_calls;
        self
    }

    /// Makes the receiver.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if a setting cannot be. The segments are in no error.
    pub fn build<J: HintJournal>(self, journal: J) -> Result<Receiver<J>, Error> {
        let Self { folder, segments, max_body_size, body_timeout, max_calls } = self;
        let place = Place::new(&folder, segments)?;
        if !(1..=LARGEST).contains(&max_body_size) {
            let problem = format_args!("{max_body_size} is not from 1 to {LARGEST}");
            return Err(Error::invalid_input("max_body_size", problem));
        }
        if body_timeout.is_zero() || body_timeout > LONGEST {
            let problem = format_args!("{body_timeout:?} is not more than zero and at most {LONGEST:?}");
            return Err(Error::invalid_input("body_timeout", problem));
        }
        if !(1..=Semaphore::MAX_PERMITS).contains(&max_calls) {
            return Err(Error::invalid_input("max_calls", format_args!("{max_calls} is not at least 1")));
        }
        let turns = Semaphore::new(max_calls);
        Ok(Receiver(Arc::new(Inner { place, max_body_size, body_timeout, turns, journal })))
    }
}

impl Receiver<()> {
    /// Begins a receiver whose path ends with this secret segment: 22 to 128 letters, digits, `-` and `_`, chosen at random.
    pub fn builder(segment: impl Into<Secret>) -> ReceiverBuilder {
        ReceiverBuilder {
            folder: "/".to_owned(),
            segments: vec![segment.into()],
            max_body_size: 64 * 1024,
            body_timeout: Duration::from_secs(5),
            max_calls: 256,
        }
    }
}

impl<J: HintJournal> Inner<J> {
    async fn answer<B: Body>(&self, parts: Parts, body: B) -> StatusCode {
        if !self.place.is(parts.uri.path()) {
            return StatusCode::NOT_FOUND;
        }
        if parts.method != Method::POST {
            return StatusCode::METHOD_NOT_ALLOWED;
        }
        if !parts.headers.get(CONTENT_TYPE).is_some_and(is_json) {
            return StatusCode::UNSUPPORTED_MEDIA_TYPE;
        }
        let len = parts.headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<usize>().ok());
        if len.is_some_and(|len| len > self.max_body_size) {
            return StatusCode::PAYLOAD_TOO_LARGE;
        }
        let Ok(_turn) = self.turns.try_acquire() else {
            tracing::warn!("a notification was answered with 503: too many calls are in progress");
            return StatusCode::SERVICE_UNAVAILABLE;
        };
        let arrived = Timestamp::from(jiff::Timestamp::now());
        let body = match timeout(self.body_timeout, self.read(body)).await {
            Ok(Ok(body)) => body,
            Ok(Err(refusal)) => return refusal,
            Err(_) => return StatusCode::REQUEST_TIMEOUT,
        };
        let Ok(notification) = Notification::from_bytes(&body) else { return StatusCode::BAD_REQUEST };
        match self.journal.append(notification.hint(arrived)).await {
            Ok(Appended::Kept(_)) => StatusCode::OK,
            Ok(Appended::Full) => {
                tracing::warn!("a notification was answered with 503: the journal is full");
                StatusCode::SERVICE_UNAVAILABLE
            }
            Err(error) => {
                tracing::error!(%error, "a notification was answered with 503: the journal cannot be written");
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Reads a body up to the largest size.
    async fn read<B: Body>(&self, body: B) -> Result<zeroize::Zeroizing<Vec<u8>>, StatusCode> {
        let mut body = pin!(body);
        // A buffer that grows leaves copies of the keys in memory.
        let mut read = zeroize::Zeroizing::new(Vec::with_capacity(self.max_body_size));
        while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
            let Ok(mut data) = frame.map_err(|_| StatusCode::BAD_REQUEST)?.into_data() else { continue };
            if data.remaining() > self.max_body_size - read.len() {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
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
            let mut response = Response::new(String::new());
            *response.status_mut() = inner.answer(parts, body).await;
            if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Ok(response)
        })
    }
}
