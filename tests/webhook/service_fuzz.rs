//! Calls from anybody, to the service. `fuzz.rs` says how many, and how to have more.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bunq_partner::Environment;
use bunq_partner::webhook::{HintJournal, HintJournalBounds, MemoryHintJournal, Notification, Peer, Receiver};
use bytes::Bytes;
use fastrand::Rng;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body::{Body, Frame};
use tokio::runtime::{Builder, Runtime};

use crate::fuzz::{any_piece, documented, each, mutated_text};
use crate::receiver::{SEGMENT, answered};

const MAX_BODY_SIZE: usize = 5_000;

/// A body in chunks, which may break off.
struct Chunks(VecDeque<Option<Bytes>>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = self.0.pop_front();
        Poll::Ready(next.map(|chunk| chunk.map(Frame::data).ok_or_else(|| io::ErrorKind::ConnectionReset.into())))
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

/// One of these, the first most often.
fn usually<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[if rng.u8(..4) > 0 { 0 } else { rng.usize(..of.len()) }]
}

fn chunks(rng: &mut Rng, text: &[u8]) -> VecDeque<Option<Bytes>> {
    let mut rest = text;
    let mut chunks = VecDeque::new();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rng.usize(1..=rest.len()));
        chunks.push_back(Some(Bytes::copy_from_slice(chunk)));
        rest = after;
    }
    if rng.u8(..16) == 0 {
        chunks.push_back(None);
    }
    chunks
}

/// What such a call is answered with, by the rules alone.
fn expected(request: &Request<Chunks>, text: &[u8], is_bunqs: bool) -> StatusCode {
    if request.uri().path() != format!("/bunq/{SEGMENT}") || !is_bunqs {
        return StatusCode::NOT_FOUND;
    }
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    if !request.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json")) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let announced = request.headers().get(CONTENT_LENGTH).map_or(0, |len| len.to_str().unwrap().parse().unwrap_or(0));
    if announced.max(text.len()) > MAX_BODY_SIZE {
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    if request.body().0.contains(&None) || Notification::from_bytes(text).is_err() {
        return StatusCode::BAD_REQUEST;
    }
    StatusCode::OK
}

#[test]
fn any_call_is_answered_by_the_rules() {
    test_timeout::start();
    let bodies: Vec<_> = documented().iter().map(ToString::to_string).collect();
    let journal = MemoryHintJournal::new(HintJournalBounds::default()).unwrap();
    let receiver = Receiver::builder(Environment::Production, SEGMENT).folder("/bunq/").max_body_size(MAX_BODY_SIZE);
    let receiver = receiver.trusted_proxies(["127.0.0.1"]).build(journal.clone()).unwrap();
    each(|rng| {
        let text = match rng.u8(..4) {
            0 => mutated_text(&bodies, rng),
            _ => bodies[rng.usize(..bodies.len())].clone().into_bytes(),
        };
        let (whole, cut) = (format!("/bunq/{SEGMENT}"), format!("/bunq/{}", &SEGMENT[1..]));
        let path = usually(rng, &[&*whole, &cut, "/bunq/", "/", "*", "/bunq/%00", "//bunq"]);
        let query = usually(rng, &["", "?", "?a=b"]);
        let mut request = Request::builder()
            .method(usually(rng, &["POST", "GET", "post", "X"]))
            .uri(if path == "*" { path.to_owned() } else { format!("{path}{query}") })
            .body(Chunks(chunks(rng, &text)))
            .unwrap();
        let mut header = |name, value: &[u8]| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                request.headers_mut().insert(name, value);
            }
        };
        let json = &b"application/json"[..];
        header(CONTENT_TYPE, usually(rng, &[json, b"application/json;x", b"", b"text/json", b"\xff"]));
        header(CONTENT_LENGTH, usually(rng, &[b"0", b"5000", b"5001", b"-1", b"99999999999999999999999"]));
        for _ in 0..rng.u8(..3) {
            header("x-forwarded-for".parse().unwrap(), any_piece(rng));
        }
        let ip = usually(rng, &["185.40.111.255", "::ffff:185.40.108.0", "127.0.0.1", "192.0.2.1", "::1"]);
        request.extensions_mut().insert(Peer::new(ip.parse().unwrap()));
        let expected = expected(&request, &text, ip.contains("185.40."));
        RUNTIME.with(|runtime| {
            runtime.block_on(async {
                assert_eq!(answered(&receiver, request).await, expected);
                for (entry, _) in journal.pending(None).await.unwrap() {
                    journal.done(entry).await.unwrap();
                }
            });
        });
    });
    let numbers = receiver.numbers();
    assert!(numbers.kept > 0 && (numbers.full, numbers.failed, numbers.busy) == (0, 0, 0), "{numbers:?}");
}
