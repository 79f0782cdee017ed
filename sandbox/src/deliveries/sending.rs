//! One try: the connection, the certificates of both sides, the request and the status of the response.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bunq_partner::Secret;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{Request, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::fault::DeliveryFault;
use super::message::Call;
use super::sent_log::NotificationOutcome;
use super::target::Target;

/// How long a target has to respond.
const LONGEST_TRY: Duration = Duration::from_secs(10);

/// How long a connection may take to end, after which nobody waits for it.
const LONGEST_END: Duration = Duration::from_secs(1);

/// How much of what a target sends is read before a connection is cut.
const LARGEST_UNREAD: u64 = 64 * 1024;

type Outcome = Result<NotificationOutcome, Box<dyn Error + Send + Sync>>;

/// How targets are called with TLS: with a client certificate or without one.
pub(crate) struct Tls {
    plain: TlsConnector,
    certified: Option<TlsConnector>,
}

impl Tls {
    /// An error says why the client certificate, which is in PEM form with its key, cannot be used.
    pub(crate) fn new(client_certificate: Option<&Secret>) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = || {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
            let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
            let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
            Ok::<_, String>(builder.dangerous().with_custom_certificate_verifier(verifier))
        };
        let plain = TlsConnector::from(Arc::new(builder()?.with_no_client_auth()));
        let certified = match client_certificate {
            Some(pem) => {
                let chain = certificates(pem.expose());
                let key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes());
                let key = key.map_err(|_| "it has no private key in PEM form".to_owned())?;
                let config = builder()?.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?;
                Some(TlsConnector::from(Arc::new(config)))
            }
            None => None,
        };
        Ok(Self { plain, certified })
    }
}

/// The certificates of a text in PEM form.
fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

/// Makes one try of a call. `pins` are the chains that the user of the filter has pinned, in PEM form: if there are any, the target must
/// show one of them.
pub(crate) async fn send(tls: &Tls, call: &Call, pins: &[String], fault: Option<DeliveryFault>) -> NotificationOutcome {
    let Some(target) = Target::on_loopback(&call.target) else { return NotificationOutcome::NotLoopback };
    let pace = match fault {
        Some(DeliveryFault::Slow(pause)) => pause.saturating_mul(call.body.len().try_into().unwrap_or(u32::MAX)),
        _ => Duration::ZERO,
    };
    match timeout(LONGEST_TRY.saturating_add(pace), attempt(tls, &target, call, pins, fault)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => NotificationOutcome::Failed(error.to_string()),
        Err(_) => {
            NotificationOutcome::Failed(format!("Connection timed out after {} milliseconds", LONGEST_TRY.as_millis()))
        }
    }
}

async fn attempt(tls: &Tls, target: &Target, call: &Call, pins: &[String], fault: Option<DeliveryFault>) -> Outcome {
    let connector = match (&tls.certified, call.asks_for_certificate) {
        (_, false) => &tls.plain,
        (Some(certified), true) if target.is_tls => certified,
        (_, true) => return Ok(NotificationOutcome::NoClientCertificate),
    };
    if !target.is_tls && !pins.is_empty() {
        return Ok(NotificationOutcome::PinMismatch);
    }
    let stream = TcpStream::connect(&*target.addresses).await?;
    stream.set_nodelay(true)?;
    if !target.is_tls {
        return exchange(stream, target, call, fault).await;
    }
    let stream = connector.connect(ServerName::try_from(target.host.clone())?, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    if !pins.is_empty() && !pins.iter().any(|pin| fits(&certificates(pin), shown)) {
        return Ok(NotificationOutcome::PinMismatch);
    }
    exchange(stream, target, call, fault).await
}

/// Whether a target shows a pinned chain: one is how the other begins, because servers may leave out the authority.
fn fits(pinned: &[CertificateDer<'_>], shown: &[CertificateDer<'_>]) -> bool {
    !pinned.is_empty() && !shown.is_empty() && pinned.iter().zip(shown).all(|(pinned, shown)| pinned == shown)
}

async fn exchange<S>(stream: S, target: &Target, call: &Call, fault: Option<DeliveryFault>) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let whole = call.body.clone();
    let request = Request::post(&target.path)
        .header(header::HOST, &target.authority)
        .header(header::USER_AGENT, "bunq-partner-sandbox")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, whole.len());
    let body: UnsyncBoxBody<Bytes, io::Error> = match fault {
        Some(DeliveryFault::Cut) => return cut(stream, &request.body(whole)?).await,
        Some(DeliveryFault::Slow(pause)) => StreamBody::new(byte_by_byte(whole, pause)).boxed_unsync(),
        _ => Full::new(whole).map_err(|never: Infallible| match never {}).boxed_unsync(),
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with this future at the latest.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request.body(body)?).await?;
    let status = response.status().as_u16();
    // What the target has in its body interests nobody.
    drop((response, sender));
    let _ = timeout(LONGEST_END, driver.join_next()).await;
    Ok(NotificationOutcome::Responded(status))
}

/// Sends half of the body, and ends the connection so that all of it arrives: what is closed with something unread is reset.
async fn cut<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &Request<Bytes>) -> Outcome {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri()).into_bytes();
    for (name, value) in request.headers() {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    stream.write_all(&[&head, &b"\r\n"[..], &request.body()[..request.body().len() / 2]].concat()).await?;
    stream.shutdown().await?;
    let mut unread = stream.take(LARGEST_UNREAD);
    let _ = timeout(LONGEST_END, copy(&mut unread, &mut sink())).await;
    Err("the sandbox has closed the connection in the middle of the body".into())
}

fn byte_by_byte(body: Bytes, pause: Duration) -> impl Stream<Item = io::Result<Frame<Bytes>>> {
    stream::unfold(0_usize, move |position| {
        let byte = (position < body.len()).then(|| body.slice(position..=position));
        async move {
            let byte = byte?;
            if position > 0 {
                sleep(pause).await;
            }
            Some((Ok(Frame::data(byte)), position + 1))
        }
    })
}

/// Takes every certificate of a target on loopback, whose key it must have. Which are right, the pinned chains say.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
