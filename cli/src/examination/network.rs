//! The network path to a server, step by step, over one connection: name, proxy, TCP, and to the bank TLS, a response, the clock. No key
//! is sent.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bunq_partner::jiff::Timestamp;
use bunq_partner::jiff::fmt::rfc2822;
use bunq_partner::reqwest::Url;
use bunq_partner::{Environment, Error, ForwardProxy, HttpConfig};
use http_body_util::Empty;
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, ClientConnection};
use x509_cert::der::Decode as _;

use super::step::{Check, Checks};

/// How long a step may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A clock that is off by more is wrong.
const TOLERANCE: Duration = Duration::from_secs(300);

/// What to do about a proxy that cannot be used.
pub(crate) const PROXY_REMEDY: &str = "set HTTPS_PROXY right, or unset it";

/// No head of a proxy's response is larger.
const MAX_PROXY_HEAD: usize = 16 * 1024;

const NO_ANSWER: &str = "there was no answer in time";

pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// What is known of the network path to a server.
#[derive(Default)]
pub(crate) struct Way {
    pub(crate) steps: Checks,
    /// The way leads to the bank, and what is said on it is private.
    pub(crate) is_open: bool,
    /// The address that connections leave from.
    pub(crate) from: Option<IpAddr>,
    pub(crate) proxy: Option<String>,
}

/// Checks the path to `url` until a step fails.
pub(crate) async fn walk(url: &Url, steps: Checks) -> Way {
    let mut way = Way { steps, ..Way::default() };
    way.is_open = way.try_all(url).await.is_some();
    way
}

/// Makes a step; fails with its problem, or with `late` if it takes too long.
async fn in_time<T, E: Display>(step: impl Future<Output = Result<T, E>>, late: &str) -> Result<T, String> {
    timeout(PATIENCE, step).await.map_or_else(|_| Err(late.to_owned()), |done| done.map_err(|error| error.to_string()))
}

impl Way {
    fn failed<T>(&mut self, name: &'static str, saw: impl Into<String>, remedy: &str) -> Option<T> {
        self.steps.push(Check::failed(name, saw, remedy));
        None
    }

    /// Connects to the host of a URL, through a proxy if the environment names one.
    pub(crate) async fn reach(&mut self, url: &Url) -> Option<Box<dyn ByteStream>> {
        let host = host_of(url)?;
        let port = url.port_or_known_default()?;
        let proxy = self.proxy(url)?;
        let (to, to_port) = match &proxy {
            Some(proxy) => {
                let (host, port) = proxy.address();
                (host.to_owned(), port)
            }
            None => (host.clone(), port),
        };
        let addresses = self.resolve(&to, to_port).await?;
        let tcp = self.connect(&addresses).await?;
        let mut connection: Box<dyn ByteStream> = Box::new(tcp);
        if let Some(proxy) = &proxy {
            if proxy.is_https() {
                connection = self.secure("proxy TLS", connection, &to).await?;
            }
            self.tunnel(&mut connection, proxy, &host, port).await?;
        }
        Some(connection)
    }

    async fn try_all(&mut self, url: &Url) -> Option<()> {
        let host = host_of(url)?;
        let mut connection = self.reach(url).await?;
        if url.scheme() == "https" {
            connection = self.secure("TLS", connection, &host).await?;
        } else {
            let saw = match Environment::is_loopback(url.as_str()) {
                true => "plain HTTP, which is for loopback alone",
                false => "plain HTTP, which --plain-http allows: whoever is on the way can read the API key",
            };
            self.steps.push(Check::skipped("TLS", saw));
        }
        self.ask(connection, url, &host).await
    }

    fn proxy(&mut self, url: &Url) -> Option<Option<ForwardProxy>> {
        let proxy = match proxy_for(url.as_str()) {
            Ok(proxy) => proxy,
            Err(error) => return self.failed("proxy", error.to_string(), PROXY_REMEDY),
        };
        self.steps.push(match &proxy {
            Some(proxy) => {
                self.proxy = Some(proxy.to_string());
                let login = if proxy.authorization().is_some() { ", with a password" } else { "" };
                Check::ok("proxy", format!("{proxy}, which the environment names{login}"))
            }
            None => Check::ok("proxy", "none"),
        });
        Some(proxy)
    }

    async fn resolve(&mut self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        let found = in_time(tokio::net::lookup_host((host, port)), NO_ANSWER).await.map(Vec::from_iter);
        let problem = match found {
            Ok(addresses) if addresses.is_empty() => "it has no address".to_owned(),
            Ok(addresses) => {
                let shown: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
                self.steps.push(Check::ok("DNS", format!("{host} is {}", shown.join(", "))));
                return Some(addresses);
            }
            Err(problem) => problem,
        };
        let remedy = "check the name in the base URL, and the network and the name server of this machine";
        self.failed("DNS", format!("{host}: {problem}"), remedy)
    }

    async fn connect(&mut self, addresses: &[SocketAddr]) -> Option<TcpStream> {
        let late = format!("no connection within {} s", PATIENCE.as_secs());
        let problem = match in_time(TcpStream::connect(addresses), &late).await {
            Ok(stream) => {
                self.from = stream.local_addr().ok().map(|address| address.ip());
                let from = self.from.map(|from| format!(" from {from}")).unwrap_or_default();
                let to = stream.peer_addr().map(|to| to.to_string()).unwrap_or_default();
                self.steps.push(Check::ok("TCP", format!("connected to {to}{from}")));
                return Some(stream);
            }
            Err(problem) => problem,
        };
        let to: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let (whose, remedy) = match &self.proxy {
            Some(_) => ("the proxy ", "check the proxy, or set HTTPS_PROXY and NO_PROXY right"),
            None => ("", "check the network; a firewall may allow only connections through a proxy (HTTPS_PROXY)"),
        };
        self.failed("TCP", format!("{whose}{}: {problem}", to.join(", ")), remedy)
    }

    /// Asks the proxy for a tunnel to the bank.
    async fn tunnel(
        &mut self,
        connection: &mut Box<dyn ByteStream>,
        proxy: &ForwardProxy,
        host: &str,
        port: u16,
    ) -> Option<()> {
        let login = proxy.authorization();
        let login = login.map(|login| format!("Proxy-Authorization: {}\r\n", login.expose())).unwrap_or_default();
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n");
        let problem = match in_time(converse(connection, &request), NO_ANSWER).await {
            Ok(status) if status.is_success() => {
                self.steps.push(Check::ok("proxy tunnel", format!("the proxy leads to {host}:{port}")));
                return Some(());
            }
            // Its own words may repeat the password.
            Ok(status) => format!("it says {status}"),
            Err(problem) => problem,
        };
        let remedy = if problem.contains(" 407") {
            "give the proxy its user and password: HTTPS_PROXY=http://user:password@host:port, with %40 for an @ in it, and so on"
        } else {
            "ask whoever runs the proxy to let this machine reach bunq's host"
        };
        self.failed("proxy tunnel", format!("the proxy does not lead to {host}:{port}: {problem}"), remedy)
    }

    async fn secure(
        &mut self,
        name: &'static str,
        connection: Box<dyn ByteStream>,
        host: &str,
    ) -> Option<Box<dyn ByteStream>> {
        let remedy = "whoever opens TLS on its way reads the key: if that is your own network's doing, give its authority \
                      with SSL_CERT_FILE; check the clock if the certificate is said to be out of date";
        let (problem, remedy) = match timeout(PATIENCE, handshake(connection, host)).await {
            Ok(Ok(stream)) => {
                self.steps.push(Check::ok(name, described(stream.get_ref().1)));
                return Some(Box::new(stream));
            }
            Ok(Err(error)) => (error.to_string(), HttpConfig::connection_advice(&*error).unwrap_or(remedy)),
            Err(_) => ("the handshake did not end in time".to_owned(), remedy),
        };
        self.failed(name, format!("{host}: {problem}"), remedy)
    }

    /// Asks for nothing in particular: what counts is who responds, and when.
    async fn ask(&mut self, connection: Box<dyn ByteStream>, url: &Url, host: &str) -> Option<()> {
        let response = match timeout(PATIENCE, request(connection, url, host)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return self.failed("HTTP", error.to_string(), "it is not a server of bunq's: check the base URL");
            }
            Err(_) => return self.failed("HTTP", "there was no response in time", "try again later"),
        };
        let status = response.status().as_u16();
        if response.headers().contains_key("x-bunq-client-response-id") {
            self.steps.push(Check::ok("HTTP", "a response of bunq's"));
        } else {
            let remedy = "check the base URL, which ends in /v1; a gateway or a proxy may be in between";
            self.steps.push(Check::warning(
                "HTTP",
                format!("a response with status {status} that is not bunq's"),
                remedy,
            ));
        }
        let date = response.headers().get("date").and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
        self.steps.push(clock(date, Timestamp::now()));
        Some(())
    }
}

/// The host of a URL: an address of IPv6 without its brackets.
pub(crate) fn host_of(url: &Url) -> Option<String> {
    Some(url.host_str()?.trim_matches(['[', ']']).to_owned())
}

/// The proxy that a client takes to this base URL. Plain HTTP goes through none.
pub(crate) fn proxy_for(base_url: &str) -> Result<Option<ForwardProxy>, Error> {
    let is_plain = base_url.parse::<Url>().is_ok_and(|url| url.scheme() == "http");
    if is_plain { Ok(None) } else { HttpConfig::default().proxy_for(base_url) }
}

/// Begins TLS with what a client trusts.
async fn handshake(
    connection: Box<dyn ByteStream>,
    host: &str,
) -> Result<TlsStream<Box<dyn ByteStream>>, Box<dyn std::error::Error>> {
    let connector = connector(Arc::new(verifier()?))?;
    Ok(connector.connect(ServerName::try_from(host.to_owned())?, connection).await?)
}

/// What verifies the certificate of a server as a client does.
pub(crate) fn verifier() -> Result<Verifier, rustls::Error> {
    let roots = HttpConfig::default().certificates_beside_platform().into_iter().map(CertificateDer::from);
    Verifier::new_with_extra_roots(roots, Arc::new(aws_lc_rs::default_provider()))
}

/// What begins TLS, with this verifier.
pub(crate) fn connector(verifier: Arc<dyn ServerCertVerifier>) -> Result<TlsConnector, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions()?.dangerous().with_custom_certificate_verifier(verifier);
    Ok(TlsConnector::from(Arc::new(config.with_no_client_auth())))
}

/// How far the clock of this machine is from the server's.
fn clock(date: Option<Timestamp>, now: Timestamp) -> Check {
    let Some(date) = date else { return Check::skipped("clock", "the response has no date") };
    let difference = now.duration_since(date);
    let seconds = difference.as_secs().unsigned_abs();
    if seconds <= TOLERANCE.as_secs() {
        return Check::ok("clock", format!("within {} s of the server's", seconds.max(1)));
    }
    let far = match seconds {
        0..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    };
    let side = if difference.is_negative() { "behind" } else { "ahead of" };
    let saw = format!("the clock of this machine is {far} {side} the server's");
    Check::failed("clock", saw, "set it: sessions, credentials and certificates have times that it decides by")
}

fn described(tls: &ClientConnection) -> String {
    let version = tls.protocol_version().map(|version| format!("{version:?}").replace("TLSv1_", "TLS 1."));
    let issuer = tls.peer_certificates().and_then(|chain| chain.first());
    let issuer = issuer.and_then(|certificate| x509_cert::Certificate::from_der(certificate).ok());
    let issuer = issuer.map(|certificate| certificate.tbs_certificate.issuer.to_string()).unwrap_or_default();
    format!("{}; the certificate is valid and was issued by {issuer}", version.unwrap_or_default())
}

/// Sends a request to a proxy, and returns the status of the response.
async fn converse(connection: &mut Box<dyn ByteStream>, request: &str) -> std::io::Result<StatusCode> {
    connection.write_all(request.as_bytes()).await?;
    connection.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_PROXY_HEAD {
            return Err(std::io::Error::other("its response does not end"));
        }
        head.push(connection.read_u8().await?);
    }
    let status = head.split(|byte| *byte == b' ').nth(1).and_then(|status| StatusCode::from_bytes(status).ok());
    status.ok_or_else(|| std::io::Error::other("its response is not HTTP"))
}

fn authority(url: &Url, host: &str) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
}

async fn request(
    connection: Box<dyn ByteStream>,
    url: &Url,
    host: &str,
) -> Result<hyper::Response<hyper::body::Incoming>, Box<dyn std::error::Error>> {
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
    let driver = tokio::spawn(driver);
    let request = hyper::Request::get(url.path())
        .header("host", authority(url, host))
        .header("user-agent", concat!("bunq-partner/", env!("CARGO_PKG_VERSION")))
        .header("cache-control", "no-cache")
        .body(Empty::<bytes::Bytes>::new())?;
    let response = sender.send_request(request).await;
    driver.abort();
    Ok(response?)
}

#[cfg(test)]
mod tests {
    use super::super::step::CheckState;
    use super::*;

    #[test]
    fn a_clock_is_held_against_the_servers() {
        test_timeout::start();
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        let seen = |seconds: i64| clock(Timestamp::from_second(2_000_000_000 - seconds).ok(), now);
        assert_eq!((seen(300).state, seen(-300).state), (CheckState::Ok, CheckState::Ok));
        assert_eq!(seen(-2 * 86_400).saw, "the clock of this machine is 2 days behind the server's");
        assert_eq!(seen(3600).saw, "the clock of this machine is 60 min ahead of the server's");
        assert_eq!(seen(3600).state, CheckState::Failed);
        assert_eq!(clock(None, now).state, CheckState::Skipped);
    }
}
