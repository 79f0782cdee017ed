//! The service that takes bunq's calls, as a server calls it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bunq_partner::webhook::{
    Appended, EntryId, FileHintJournal, Hint, HintJournal, HintJournalBounds, Mark, MarkedObject, Receiver,
};
use bunq_partner::{BoxFuture, Environment, Error, ErrorKind};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body::{Body, Frame};
use tower_service::Service as _;

use crate::common::Folder;
use crate::journal::{open, pending};

pub(crate) const SEGMENT: &str = "planted-segment-0123456789";
const OTHER: &str = "planted-segment-9876543210";

/// A call as bunq's, about the provision 123.
pub(crate) fn body() -> String {
    let object = r#"{"PartnerUserProvision":{"id":123,"credential":{"token_value":"planted-token"}}}"#;
    let event = "PARTNER_USER_PROVISION_PROCESS_UPDATED";
    format!(r#"{{"NotificationUrl":{{"category":"PARTNER_USER_PROVISION","event_type":"{event}","object":{object}}}}}"#)
}

pub(crate) fn call<B>(path: &str, body: B) -> Request<B> {
    let request = Request::post(path).header(CONTENT_TYPE, "application/json; charset=utf-8");
    request.body(body).unwrap()
}

pub(crate) async fn answered<J: HintJournal, B>(receiver: &Receiver<J>, request: Request<B>) -> StatusCode
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let response = receiver.clone().call(request).await.unwrap();
    assert_eq!(response.body(), "");
    assert_eq!(response.headers().contains_key(ALLOW), response.status() == StatusCode::METHOD_NOT_ALLOWED);
    response.status()
}

pub(crate) fn path() -> String {
    format!("/{SEGMENT}")
}

#[tokio::test]
async fn a_call_is_answered_when_its_hint_is_kept() {
    test_timeout::start();
    let folder = Folder::new();
    let journal =
        FileHintJournal::open(folder.path("hints"), HintJournalBounds::default().max_entries(2)).await.unwrap();
    let receiver = Receiver::builder(Environment::Sandbox, SEGMENT).build(journal.clone()).unwrap();
    assert!(!format!("{receiver:?}").contains("planted"));
    assert_eq!(answered(&receiver, call(&path(), body())).await, StatusCode::OK);
    assert_eq!(pending(&journal).await, [123]);
    let written = std::fs::read_to_string(folder.path("hints")).unwrap();
    assert!(written.contains("[1,[\"PARTNER_USER_PROVISION\"") && !written.contains("planted"), "{written}");
    // The same again is another call. Then there is no place.
    assert_eq!(answered(&receiver, call(&path(), body())).await, StatusCode::OK);
    assert_eq!(answered(&receiver, call(&path(), body())).await, StatusCode::SERVICE_UNAVAILABLE);
    let (first, _) = journal.pending(None).await.unwrap()[0];
    journal.done(first).await.unwrap();
    assert_eq!(answered(&receiver, call(&path(), body())).await, StatusCode::OK);
}

#[tokio::test]
async fn a_call_that_is_none_of_bunqs_is_refused() {
    test_timeout::start();
    let folder = Folder::new();
    let journal = open(&folder.path("hints")).await;
    let receiver =
        Receiver::builder(Environment::Sandbox, SEGMENT).folder("/bunq/").other_segment(OTHER).max_body_size(1_000);
    let receiver = receiver.build(journal.clone()).unwrap();
    let path = format!("/bunq/{SEGMENT}");
    for other in
        ["/", "/bunq/", "/bunq", &format!("/{SEGMENT}"), &path[..path.len() - 1], &format!("{path}/"), "//bunq"]
    {
        assert_eq!(answered(&receiver, call(other, body())).await, StatusCode::NOT_FOUND, "{other}");
    }
    let mut get = call(&path, body());
    *get.method_mut() = Method::GET;
    assert_eq!(answered(&receiver, get).await, StatusCode::METHOD_NOT_ALLOWED);
    for content_type in [None, Some("text/plain"), Some("application/jsonp"), Some("")] {
        let mut request = call(&path, body());
        request.headers_mut().remove(CONTENT_TYPE);
        if let Some(content_type) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        assert_eq!(answered(&receiver, request).await, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type:?}");
    }
    let mut announced = call(&path, body());
    announced.headers_mut().insert(CONTENT_LENGTH, "1001".parse().unwrap());
    assert_eq!(answered(&receiver, announced).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answered(&receiver, call(&path, " ".repeat(1_001))).await, StatusCode::PAYLOAD_TOO_LARGE);
    for none in ["", "{}", "[", "planted", &" ".repeat(1_000)] {
        assert_eq!(answered(&receiver, call(&path, none.to_owned())).await, StatusCode::BAD_REQUEST, "{none}");
    }
    assert_eq!(answered(&receiver, call(&path, Cut)).await, StatusCode::BAD_REQUEST);
    assert!(pending(&journal).await.is_empty());
    for segment in [SEGMENT, OTHER] {
        assert_eq!(answered(&receiver, call(&format!("/bunq/{segment}"), body())).await, StatusCode::OK);
    }
}

/// A body that never comes.
struct Silent;

impl Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// A body that breaks off.
struct Cut;

impl Body for Cut {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_has_its_time_and_its_turn() {
    test_timeout::start();
    let receiver = Receiver::builder(Environment::Sandbox, SEGMENT).max_calls(2).build(Arc::new(Broken)).unwrap();
    let slow: Vec<_> = (0..2).map(|_| receiver.clone().call(call(&path(), Silent))).map(tokio::spawn).collect();
    tokio::task::yield_now().await;
    let start = tokio::time::Instant::now();
    // Who does not know the path takes no turn, and is told nothing of it.
    assert_eq!(answered(&receiver, call("/", Silent)).await, StatusCode::NOT_FOUND);
    assert_eq!(answered(&receiver, call(&path(), Silent)).await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(start.elapsed().is_zero());
    for slow in slow {
        assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    }
    assert_eq!(start.elapsed().as_secs(), 5);
    // Their turns are free, and this one comes as far as the journal.
    assert_eq!(answered(&receiver, call(&path(), body())).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answered(&receiver, call(&path(), String::new())).await, StatusCode::BAD_REQUEST);
}

/// A journal that cannot be written.
#[derive(Debug)]
struct Broken;

impl HintJournal for Broken {
    fn name(&self) -> String {
        "the journal of this test".into()
    }

    fn append(&self, _hint: Hint) -> BoxFuture<'_, Result<Appended, Error>> {
        Box::pin(async { Err(Error::storage("the journal of this test: it is broken")) })
    }

    fn done(&self, _id: EntryId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn pending(&self, _after: Option<EntryId>) -> BoxFuture<'_, Result<Vec<(EntryId, Hint)>, Error>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn mark(&self, _mark: Mark) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Err(Error::storage("the journal of this test: it is broken")) })
    }

    fn mark_of<'a>(&'a self, _object: &'a MarkedObject) -> BoxFuture<'a, Result<Option<Mark>, Error>> {
        Box::pin(async { Ok(None) })
    }

    fn marks<'a>(&'a self, _after: Option<&'a MarkedObject>) -> BoxFuture<'a, Result<Vec<Mark>, Error>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    test_timeout::start();
    let builder = || Receiver::builder(Environment::Sandbox, SEGMENT);
    for (builder, problem) in [
        (
            Receiver::builder(Environment::Sandbox, "planted"),
            "segment: it has not 22 to 128 letters, digits, `-` and `_`",
        ),
        (Receiver::builder(Environment::Sandbox, "planted/segment-0123456789"), "segment: it has not"),
        (builder().other_segment("planted"), "segment: it has not"),
        (builder().folder("bunq/"), "folder: it is not a path that begins and ends with a slash"),
        (builder().folder("/bunq"), "folder: it is not a path"),
        (builder().max_body_size(0), "max_body_size: 0 is not from 1 to 65536"),
        (builder().body_timeout(Duration::from_secs(11)), "body_timeout: 11s is not more than zero and at most 10s"),
        (builder().max_calls(0), "max_calls: 0 is not at least 1"),
    ] {
        assert!(!format!("{builder:?}").contains("planted"));
        let error = builder.build(Broken).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            error.kind() == ErrorKind::InvalidInput && text.contains(problem) && !text.contains("planted"),
            "{text}"
        );
    }
}
