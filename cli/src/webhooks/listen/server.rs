//! The server around the receiver: that of the guide `webhooks`, which may end TLS itself.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bunq_partner::files;
use bunq_partner::webhook::{HintJournal, Peer, Receiver};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tower_service::Service as _;

use super::super::super::examination::network::ByteStream;
use super::super::super::exit::Failure;
use super::super::super::invocation::Invocation;
use super::super::super::reading;
use super::super::target;

/// How long the handshake of TLS and the headers of a request may each take, and how long a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of a connection is in memory.
const BUFFER: usize = 16 * 1024;

/// How many connections there are. More wait in the kernel.
const CONNECTIONS: usize = 2_000;

/// How long no connection is taken after one could not be, as when the process has too many files open.
const PAUSE: Duration = Duration::from_millis(100);

/// No file with certificates or a key is larger.
const MAX_PEM: usize = 256 * 1024;

pub(super) async fn serve<J: HintJournal>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    receiver: Receiver<J>,
) -> Infallible {
    let mut http = http1::Builder::new();
    // Without a timer the timeout would not count.
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(BUFFER);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((stream, address)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let connection = converse(http.clone(), stream, address, tls.clone(), receiver.clone());
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

/// Serves a connection. One that is cut, or takes too long, is nobody's error.
async fn converse<J: HintJournal>(
    http: http1::Builder,
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    receiver: Receiver<J>,
) {
    let stream: Box<dyn ByteStream> = match tls {
        None => Box::new(stream),
        Some(tls) => match timeout(PATIENCE, tls.accept(stream)).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(_)) | Err(_) => return,
        },
    };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer::new(address.ip()));
        receiver.clone().call(request)
    });
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// What ends TLS, with the certificate and the key in these files.
pub(super) async fn acceptor(invocation: &Invocation, certificate: &Path, key: &Path) -> Result<TlsAcceptor, Failure> {
    let of_certificate =
        |problem: String| Failure::usage(format!("--certificate {}: {problem}", certificate.display()));
    let of_key = |problem: String| Failure::usage(format!("--key {}: {problem}", key.display()));
    let path = certificate.to_owned();
    let pem = reading::bytes(MAX_PEM, move || files::open_public(path)).await;
    let pem = pem.map_err(|error| of_certificate(error.to_string()))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| of_certificate(format!("it is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(of_certificate("it has no certificate in PEM".into()));
    }
    let pem = target::from_file(invocation, "--key", key, MAX_PEM).await.map_err(|error| of_key(error.to_string()))?;
    let private = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes())
        .map_err(|_| of_key("it has no private key in PEM".into()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions();
    let config = config.and_then(|config| config.with_no_client_auth().with_single_cert(chain, private));
    let config = config.map_err(|error| of_key(format!("it is no key for that certificate: {error}")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
