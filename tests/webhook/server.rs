//! Real servers and real connections, with the settings of the guide.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use axum::Router;
use bunq_partner::Environment;
use bunq_partner::webhook::{HintJournalBounds, MemoryHintJournal, Peer, Receiver, ReceiverBuilder};
use futures_util::future::join_all;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, crypto};
use tower_service::Service as _;

use crate::receiver::{SEGMENT, body};
use crate::serve::serve;
use crate::tls::{Authority, listener};

/// Of production, so that the server has to hand over who calls.
fn production() -> ReceiverBuilder {
    Receiver::builder(Environment::Production, SEGMENT).folder("/bunq/").from(["127.0.0.0/8"])
}

fn built(builder: ReceiverBuilder) -> Receiver<MemoryHintJournal> {
    builder.build(memory()).unwrap()
}

fn memory() -> MemoryHintJournal {
    MemoryHintJournal::new(HintJournalBounds::default()).unwrap()
}

async fn served(receiver: Receiver<MemoryHintJournal>) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(serve(listener, receiver));
    address
}

fn path() -> String {
    format!("/bunq/{SEGMENT}")
}

/// The head of a call whose body has this length.
fn head(path: &str, len: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n")
}

fn whole(path: &str) -> String {
    head(path, body().len()) + &body()
}

async fn opened(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Returns the status of the next response, which has no body.
async fn status(stream: &mut (impl AsyncRead + Unpin)) -> u16 {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("\r\ncontent-length: 0\r\n"), "{answer}");
    answer.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap()
}

async fn sent(address: SocketAddr, text: &str) -> u16 {
    status(&mut opened(address, text).await).await
}

/// What else comes until the server closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    // Data that the server has not read makes it a reset.
    let _ = stream.read_to_end(&mut rest).await;
    String::from_utf8(rest).unwrap()
}

#[test]
fn the_guide_has_the_server_of_these_tests() {
    test_timeout::start();
    assert!(include_str!("../../docs/webhooks.md").contains(include_str!("../../sandbox/examples/webhooks/serve.rs")));
}

#[tokio::test]
async fn hyper_gives_it_calls() {
    test_timeout::start();
    let receiver = built(production().max_body_size(10_000));
    calls_are_answered(served(receiver.clone()).await, &receiver).await;
}

#[tokio::test]
async fn axum_gives_it_calls() {
    test_timeout::start();
    let receiver = built(production().max_body_size(10_000));
    let (listener, address) = listener().await;
    tokio::spawn(serve(listener, Router::new().route_service("/bunq/{segment}", receiver.clone())));
    calls_are_answered(address, &receiver).await;
}

async fn calls_are_answered(address: SocketAddr, receiver: &Receiver<MemoryHintJournal>) {
    let (body, path) = (body(), path());
    // A connection is used again.
    let mut stream = opened(address, &(whole(&path) + &whole(&path))).await;
    assert_eq!((status(&mut stream).await, status(&mut stream).await), (200, 200));
    let chunked = head(&path, 0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let (first, second) = body.split_at(50);
    stream
        .write_all(format!("{chunked}32\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", second.len()).as_bytes())
        .await
        .unwrap();
    assert_eq!(status(&mut stream).await, 200);
    // Nothing tells what is forged: it is a hint too.
    let forged = body.replace("123", "999");
    assert_eq!(sent(address, &(head(&path, forged.len()) + &forged)).await, 200);
    assert_eq!(sent(address, &whole("/bunq/another")).await, 404);
    assert_eq!(sent(address, &whole(&path).replacen("POST", "PUT", 1)).await, 405);
    assert_eq!(sent(address, &whole(&path).replacen("application/json", "text/plain", 1)).await, 415);
    assert_eq!(sent(address, &head(&path, 10_001)).await, 413);
    assert_eq!(sent(address, &format!("{chunked}2711\r\n{}\r\n", " ".repeat(10_001))).await, 413);
    assert_eq!(sent(address, &(head(&path, 4) + "null")).await, 400);
    // Headers that are longer than what is kept of a connection.
    let long = whole(&path).replacen("Host: a", &format!("Host: a\r\nX: {}", "x".repeat(20_000)), 1);
    let answer = rest(opened(address, &long).await).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    // What is cut keeps nothing.
    let mut cut = opened(address, &(head(&path, body.len() + 1) + &body)).await;
    cut.shutdown().await.unwrap();
    rest(cut).await;
    let numbers = receiver.numbers();
    let counted = [
        numbers.kept,
        numbers.wrong_path,
        numbers.wrong_peer,
        numbers.wrong_method,
        numbers.wrong_type,
        numbers.too_large,
        numbers.not_notification,
    ];
    assert_eq!(counted, [4, 1, 0, 1, 1, 2, 1], "{numbers:?}");
}

/// Whoever is slow has its time, and others do not wait for it.
#[tokio::test]
async fn what_is_half_open_ends() {
    test_timeout::start();
    let receiver = built(production());
    let address = served(receiver.clone()).await;
    let (path, len) = (path(), body().len());
    let silent = opened(address, "").await;
    let half_head = opened(address, &head(&path, len)[..40]).await;
    let mut idle = opened(address, &whole(&path)).await;
    let mut half_body = opened(address, &(head(&path, len) + &body()[..20])).await;
    let mut stranger = opened(address, &(head("/bunq/another", len) + &body()[..20])).await;
    assert_eq!(status(&mut idle).await, 200);
    assert_eq!(status(&mut stranger).await, 404);
    assert_eq!(rest(stranger).await, "");
    assert_eq!(sent(address, &whole(&path)).await, 200);
    assert_eq!(status(&mut half_body).await, 408);
    for stream in [silent, half_head, idle, half_body] {
        assert_eq!(rest(stream).await, "");
    }
    let numbers = receiver.numbers();
    assert_eq!((numbers.kept, numbers.too_slow, numbers.wrong_path), (2, 1, 1), "{numbers:?}");
}

/// The certificate that a client shows comes from the handshake.
#[tokio::test]
async fn the_certificate_of_a_handshake_is_checked() {
    test_timeout::start();
    let authority = Authority::new();
    let (bunqs, others) = (authority.client_pem(), authority.client_pem());
    let der = CertificateDer::from_pem_slice(bunqs.as_bytes()).unwrap();
    let receiver = built(production().certificate(der.to_vec()));
    let acceptor = authority.server(&["localhost"], true, ALL_VERSIONS);
    let (listener, address) = listener().await;
    let served = receiver.clone();
    tokio::spawn(async move {
        loop {
            let (stream, address) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            let chain = stream.get_ref().1.peer_certificates().unwrap();
            let peer = Peer::new(address.ip()).certificate(chain[0].to_vec());
            let receiver = served.clone();
            let service = service_fn(move |mut request| {
                hyper::Request::extensions_mut(&mut request).insert(peer.clone());
                receiver.clone().call(request)
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    for (pem, expected) in [(&bunqs, 200), (&others, 404), (&bunqs, 200)] {
        let mut stream = over_tls(&authority, pem, address).await;
        stream.write_all(whole(&path()).as_bytes()).await.unwrap();
        assert_eq!(status(&mut stream).await, expected);
    }
    assert_eq!((receiver.numbers().kept, receiver.numbers().wrong_peer), (2, 1));
}

/// Connects as a client with this certificate and its key.
async fn over_tls(
    authority: &Authority,
    pem: &str,
    address: SocketAddr,
) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let config = ClientConfig::builder_with_provider(crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap(),
        )
        .unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(std::sync::Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await.unwrap()
}

/// How many connections send nothing, and how many do not end their bodies.
const SILENT: usize = 1_000;
const HALF: usize = 200;

/// How many connect at once: the kernel drops those that the queue of a listener has no room for.
const TOGETHER: usize = 100;

/// How much memory they may take together, in KiB.
const MOST: u64 = 30_000;

/// They take little memory, right calls are answered meanwhile, and they end.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_thousand_connections_that_send_nothing_are_bounded() {
    test_timeout::start();
    raise_open_files();
    let mut server = Server(
        Command::new(std::env::current_exe().unwrap())
            .args(["server::a_server", "--exact", "--ignored", "--nocapture"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.0.stderr.take().unwrap()), &mut line).unwrap();
    let address: SocketAddr = line.trim().parse().unwrap();
    assert_eq!(sent(address, &whole(&path())).await, 200);
    let idle = server.memory("VmRSS:");
    let half = head(&path(), body().len()) + &body()[..20];
    let mut connections = Vec::new();
    for (text, count) in [("", SILENT), (&half, HALF)] {
        for _ in 0..count / TOGETHER {
            connections.extend(join_all((0..TOGETHER).map(|_| opened(address, text))).await);
            // The server accepts in order, so that those before are there.
            assert_eq!(sent(address, &whole(&path())).await, 200);
        }
    }
    let more = server.memory("VmHWM:") - idle;
    assert!(more <= MOST, "{more} KiB");
    eprintln!("{SILENT} connections that send nothing and {HALF} half calls take {more} KiB over {idle}");
    let ended = join_all(connections.into_iter().map(rest)).await;
    assert!(ended[..SILENT].iter().all(String::is_empty));
    assert!(ended[SILENT..].iter().all(|answer| answer.starts_with("HTTP/1.1 408 ")), "{:?}", ended[SILENT]);
    assert_eq!(sent(address, &whole(&path())).await, 200);
}

/// The process of a server, which ends when this is dropped.
struct Server(Child);

impl Server {
    /// A number of its memory, in KiB.
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "another test starts it"]
async fn a_server() {
    test_timeout::start();
    raise_open_files();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    eprintln!("{}", listener.local_addr().unwrap());
    serve(listener, built(production())).await;
}

/// Lets this process have as many open files as it may.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}
