//! The server: accepts connections, and delivers responses as their faults demand.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::sleep;

use crate::wire::exchange::{SharedState, exchange};
use crate::wire::fault::Delivery;
use crate::wire::response::RawResponse;

/// The pause after a connection could not be accepted, for example because there are too many.
const BREATH: Duration = Duration::from_millis(50);

/// How long a connection may stay without a complete head of a request. Clients keep idle connections for a shorter time.
const LONGEST_HEAD_READ: Duration = Duration::from_secs(120);

/// The largest head of a request, in bytes.
const LARGEST_HEAD: usize = 64 * 1024;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The error that closes a connection.
fn hang_up() -> io::Error {
    io::Error::other("the sandbox hangs up")
}

/// Starts a task that serves without end. When it is ended, the connections are too.
///
/// It is no `async fn`: what one spawns is compiled anew, with the whole server, in each program that awaits it.
pub(crate) fn start(listener: TcpListener, shared: Arc<SharedState>) -> AbortHandle {
    tokio::spawn(serve(listener, shared)).abort_handle()
}

async fn serve(listener: TcpListener, shared: Arc<SharedState>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => drop(connections.spawn(connection(stream, peer.ip(), Arc::clone(&shared)))),
            Err(_) => sleep(BREATH).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, from: IpAddr, shared: Arc<SharedState>) {
    // Responses that drip are made of small pieces. Where this cannot be set, they are only later.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        // In a task of its own, an exchange goes to its end even if the caller hangs up.
        let exchange = tokio::spawn(exchange(Arc::clone(&shared), from, request));
        async {
            let (response, delivery) = exchange.await.map_err(io::Error::from)?;
            deliver(response, delivery).await
        }
    });
    // It ends with an error when the caller hangs up, and when the sandbox does.
    let mut http = http1::Builder::new();
    let _ = http
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEAD_READ)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Delivers a response, as the fault demands.
async fn deliver(response: RawResponse, delivery: Delivery) -> io::Result<Response<Body>> {
    match delivery {
        Delivery::Whole => Ok(whole(response)),
        Delivery::HangUp => Err(hang_up()),
        Delivery::Late(delay) => {
            sleep(delay).await;
            Ok(whole(response))
        }
        Delivery::Truncated => {
            let length = response.body.len().max(1);
            let (response, body) = split(response);
            let mut response = with_body(response, StreamBody::new(first_half(body)).boxed_unsync());
            response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
            Ok(response)
        }
        Delivery::Drip(pause) => {
            let (response, body) = split(response);
            Ok(with_body(response, StreamBody::new(drip(body, pause)).boxed_unsync()))
        }
    }
}

fn whole(response: RawResponse) -> Response<Body> {
    let (response, body) = split(response);
    with_body(response, full(body))
}

fn split(mut response: RawResponse) -> (RawResponse, Bytes) {
    let body = std::mem::take(&mut response.body);
    (response, body.into())
}

fn full(body: Bytes) -> Body {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// The response as HTTP, with this body instead of its own. What an edit made of it may be something that HTTP cannot
/// carry.
fn with_body(response: RawResponse, body: Body) -> Response<Body> {
    let is_framing = |name: &str| ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str());
    let headers = response.headers.iter().filter(|(name, _)| !is_framing(name));
    headers
        .fold(Response::builder().status(response.status), |response, (name, value)| {
            response.header(name, value.as_bytes())
        })
        .body(body)
        .unwrap_or_else(|error| {
            let mut response = Response::new(full(format!("The edited response cannot be sent: {error}.").into()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
}

/// The first half of a body, and then the end of the connection.
fn first_half(body: Bytes) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    let half = Frame::data(body.slice(..body.len() / 2));
    let end = async {
        // Lets what was written reach the caller first.
        yield_now().await;
        Err(hang_up())
    };
    stream::iter([Ok(half)]).chain(stream::once(end))
}

/// A body byte by byte with pauses, and after it spaces.
fn drip(body: Bytes, pause: Duration) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    stream::unfold(0_usize, move |position| {
        let byte = body.get(position).copied().unwrap_or(b' ');
        async move {
            if position > 0 {
                sleep(pause).await;
            }
            Some((Ok(Frame::data(Bytes::copy_from_slice(&[byte]))), position.saturating_add(1)))
        }
    })
}
