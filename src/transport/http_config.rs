//! How a client reaches bunq: proxy, certificates and addresses, and the headers that you can choose.
//!
//! The settings are checked when the client is built. What security depends on cannot be set: HTTPS, checked
//! certificates, no proxy to loopback or for plain HTTP, and no redirect, retry or compression below the signatures.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity, Url, retry, tls};

use super::certificates;
use super::connections::Reuse;
use super::proxy::ForwardProxy;
use crate::environment::{check_base_url, is_direct};
use crate::error::Error;
use crate::types::{Language, Secret};

/// The lowest version of TLS that a connection may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Which proxy the connections go through.
#[derive(Debug, Clone, Default)]
enum ProxyConfig {
    /// The proxy that the environment names.
    #[default]
    FromEnvironment,
    /// No proxy.
    Direct,
    /// The proxy with this URL, which may contain a password.
    Through(Secret),
}

/// The default limit of the time to connect.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The range that operating systems accept, in seconds.
const TCP_KEEPALIVE: RangeInclusive<u64> = 1..=9 * 3600;

/// Changes the builder of the HTTP client.
type Customize = dyn Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync;

/// How a client reaches bunq: see [`ClientBuilder::http`](crate::ClientBuilder::http).
///
/// Without any setting, connections use the proxy that the environment names (`HTTPS_PROXY` or `ALL_PROXY`, unless
/// `NO_PROXY` has the host; a value that cannot be read is an error) and trust the platform's certificates. On Linux
/// those are the system's certificate store, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name in its place; empty
/// variables name nothing. Plain HTTP on loopback needs none. No certificate is pinned: bunq does not announce when its
/// certificates change, and a program that pins one stops on that day. A signature proves each of bunq's responses; the
/// client got the key for it with the installation.
///
/// ```
/// use bunq_partner::types::Language;
/// use bunq_partner::{Client, Environment, HttpConfig, TlsVersion};
///
/// # fn example() -> Result<(), bunq_partner::Error> {
/// let http = HttpConfig::default()
///     .proxy("http://user:password@proxy.example:3128")
///     .min_tls_version(TlsVersion::V1_3)
///     .user_agent_suffix("acme-onboarding/2.1")
///     .language(Language::NlNl);
/// let client = Client::builder(Environment::Sandbox).api_key("sandbox_0123456789").http(http).build()?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Default)]
#[must_use = "the settings do nothing until a client is built with them"]
pub struct HttpConfig {
    proxy: ProxyConfig,
    root_certificates: Vec<u8>,
    client_certificate: Option<Secret>,
    local_address: Option<IpAddr>,
    min_tls_version: TlsVersion,
    idle_timeout: Option<Duration>,
    tcp_keepalive: Option<Duration>,
    user_agent_suffix: Option<String>,
    pub(super) language: Option<Language>,
    customize: Option<Arc<Customize>>,
}

impl HttpConfig {
    /// Sets the proxy, in place of the one that the environment names: `http://` or `https://`, host and port, and a
    /// user and a password if the proxy requires them, percent-encoded (`%2F` for `/`, `%3F` for `?`, `%23` for `#`,
    /// `%40` for `@`). The proxy sees the name of bunq's host, and none of the traffic in clear.
    ///
    /// A base URL on loopback is never reached through a proxy, nor is one of [plain
    /// HTTP](crate::ClientBuilder::allow_plain_http). SOCKS is not supported, neither here nor in
    /// `ALL_PROXY`.
    pub fn proxy(mut self, url: impl Into<Secret>) -> Self {
        self.proxy = ProxyConfig::Through(url.into());
        self
    }

    /// Uses no proxy, even if the environment names one.
    pub fn no_proxy(mut self) -> Self {
        self.proxy = ProxyConfig::Direct;
        self
    }

    /// Trusts these certificates in addition to the platform's: one or more in PEM. It is for networks that intercept
    /// TLS, and for a gateway of your own.
    ///
    /// Whoever has the key of such a certificate can read everything that is sent, including the API key.
    pub fn root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.root_certificates.extend_from_slice(pem.as_ref());
        self.root_certificates.push(b'\n');
        self
    }

    /// Sets the client's own certificate for servers that ask for one: the certificate, the intermediates up to its
    /// root, and the private key, in one PEM.
    pub fn client_certificate(mut self, pem: impl Into<Secret>) -> Self {
        self.client_certificate = Some(pem.into());
        self
    }

    /// Makes all connections from this address of the machine. bunq binds an API key to addresses.
    pub fn local_address(mut self, address: impl Into<IpAddr>) -> Self {
        self.local_address = Some(address.into());
        self
    }

    /// Sets the lowest version of TLS that a connection may use. The default is 1.2.
    pub fn min_tls_version(mut self, version: TlsVersion) -> Self {
        self.min_tls_version = version;
        self
    }

    /// Sets how long an idle connection is kept open for the next call; zero keeps none. The default is 90 seconds. Set
    /// it below the time after which a firewall or a gateway on the way drops idle connections.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Sets how often TCP probes an idle connection, in whole seconds, from 1 second to 9 hours. The default is every
    /// 15 seconds.
    pub fn tcp_keepalive(mut self, interval: Duration) -> Self {
        self.tcp_keepalive = Some(interval);
        self
    }

    /// Adds the name and version of your program to `User-Agent`, after those of this crate.
    pub fn user_agent_suffix(mut self, suffix: impl Into<String>) -> Self {
        self.user_agent_suffix = Some(suffix.into());
        self
    }

    /// Sets the language of bunq's messages for users. The default is English.
    pub fn language(mut self, language: Language) -> Self {
        self.language = Some(language);
        self
    }

    /// Changes the builder of the HTTP client, for options that have no setting here. The function is called when the
    /// client is built, and again whenever the client gives up its connections.
    ///
    /// The client sets everything that security depends on after this, so it cannot be changed: HTTPS, checked
    /// certificates, no proxy to loopback or for plain HTTP, no redirect, no retry, no decompression, and no log of the
    /// traffic or of TLS keys; and your own settings [`min_tls_version`](Self::min_tls_version), [`proxy`](Self::proxy)
    /// and [`no_proxy`](Self::no_proxy). A proxy that the function adds takes precedence over the environment's. A TLS
    /// configuration of your own is not used. With a function, unset an `SSL_CERT_FILE` that is empty: it counts as a file.
    ///
    /// The builder is that of [`reqwest`](crate::reqwest), whose version is part of this feature: a new version is a
    /// breaking change.
    ///
    /// ```
    /// use bunq_partner::HttpConfig;
    ///
    /// let http = HttpConfig::default().customize(|builder| builder.pool_max_idle_per_host(4));
    /// ```
    #[cfg(feature = "reqwest-builder")]
    pub fn customize(
        mut self,
        customize: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        self.customize = Some(Arc::new(customize));
        self
    }

    /// Makes the HTTP client that a [`Client`](crate::Client) with these settings uses for this base URL, for requests
    /// that this crate does not make. It takes the same proxy and trusts the same certificates. It adds no headers of
    /// bunq's, does not sign or verify, and keeps to no rate limit. Connecting may take at most 10 seconds; a request
    /// has no timeout.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the base URL or a setting cannot be used.
    #[cfg(feature = "reqwest-builder")]
    pub fn reqwest_client(&self, base_url: &str) -> Result<reqwest::Client, Error> {
        self.client(&check_base_url(base_url, None)?, CONNECT_TIMEOUT, Reuse::Allowed)
    }

    /// The proxy through which a client with these settings reaches this base URL; `None` if it needs none. A proxy
    /// that `customize` adds is not taken into account.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the base URL or the setting cannot be read.
    pub fn proxy_for(&self, base_url: &str) -> Result<Option<ForwardProxy>, Error> {
        let url = check_base_url(base_url, None)?;
        if is_direct(&url) {
            return Ok(None);
        }
        Ok(self.named_proxy()?.filter(|proxy| proxy.leads_to(&url)))
    }

    /// What must be changed so that a connection can be made that has failed with this error, in words for an error message;
    /// `None` if that is not known. The error is that of [`reqwest_client`](Self::reqwest_client), or of rustls.
    #[cfg(feature = "reqwest-builder")]
    pub fn connection_advice(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
        certificates::wrong_setting(error).flatten()
    }

    /// The certificates, in DER, that a client trusts beside those that the platform's verifier finds: on Linux the
    /// system's, if `SSL_CERT_FILE` is empty. The verifier takes an empty variable for a file.
    #[cfg(feature = "reqwest-builder")]
    pub fn certificates_beside_platform(&self) -> Vec<Vec<u8>> {
        certificates::unread_by_platform().iter().map(|certificate| certificate.to_vec()).collect()
    }

    /// The proxy that is set, or that the environment names.
    fn named_proxy(&self) -> Result<Option<ForwardProxy>, Error> {
        match &self.proxy {
            ProxyConfig::FromEnvironment => ForwardProxy::of_environment(),
            ProxyConfig::Direct => Ok(None),
            ProxyConfig::Through(url) => ForwardProxy::parse("proxy", url.expose()).map(Some),
        }
    }

    /// The value of `User-Agent`.
    pub(crate) fn user_agent(&self) -> Result<HeaderValue, Error> {
        let own = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        let Some(suffix) = &self.user_agent_suffix else { return Ok(HeaderValue::from_static(own)) };
        let is_fit = !suffix.trim().is_empty() && suffix.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        let value = HeaderValue::from_str(&format!("{own} {suffix}")).ok().filter(|_| is_fit && suffix.len() <= 256);
        let rule = "write it as `name/version`, in printable ASCII of at most 256 characters";
        value.ok_or_else(|| Error::invalid_input("user_agent_suffix", rule))
    }

    /// Makes an HTTP client for a server at this URL.
    pub(crate) fn client(
        &self,
        base_url: &Url,
        connect_timeout: Duration,
        reuse: Reuse,
    ) -> Result<reqwest::Client, Error> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .local_address(self.local_address)
            .tls_version_min(tls::Version::TLS_1_2);
        // Plain HTTP needs no certificates, and to read those of the system takes longer than everything else here.
        builder = match base_url.scheme() {
            "http" => builder.tls_certs_only(self.trusted()?),
            _ => {
                certificates::check_file()?;
                builder.tls_certs_merge(self.trusted()?).tls_certs_merge(self.unread_by_platform())
            }
        };
        if let Some(pem) = &self.client_certificate {
            builder = builder.identity(identity(pem)?);
        }
        if let Some(timeout) = self.idle_timeout {
            builder = builder.pool_idle_timeout(timeout);
        }
        if let Some(interval) = self.tcp_keepalive {
            if !TCP_KEEPALIVE.contains(&interval.as_secs()) {
                return Err(Error::invalid_input("tcp_keepalive", "it is not between 1 second and 9 hours"));
            }
            builder = builder.tcp_keepalive(interval).tcp_keepalive_interval(interval);
        }
        if let Some(customize) = &self.customize {
            builder = customize(builder);
        }
        if reuse == Reuse::Never {
            builder = builder.pool_max_idle_per_host(0);
        }
        // What follows is for security, and overrides whatever the function has set.
        builder = match self.min_tls_version {
            TlsVersion::V1_2 => builder,
            TlsVersion::V1_3 => builder.tls_version_min(tls::Version::TLS_1_3),
        };
        let is_from_environment = matches!(self.proxy, ProxyConfig::FromEnvironment);
        if !is_from_environment {
            builder = builder.no_proxy();
        }
        if !(is_from_environment && is_direct(base_url))
            && let Some(proxy) = self.named_proxy()?
        {
            builder = builder.proxy(proxy.to_reqwest()?);
        }
        secured(builder, base_url).build().map_err(|error| self.unusable(&error))
    }

    /// The system's certificates, if the platform does not read them.
    fn unread_by_platform(&self) -> Vec<Certificate> {
        // The function may set that no others are trusted than its own.
        let certificates = if self.customize.is_none() { certificates::unread_by_platform() } else { Vec::new() };
        certificates.iter().filter_map(|certificate| Certificate::from_der(certificate).ok()).collect()
    }

    /// Explains why the HTTP client could not be made.
    fn unusable(&self, error: &reqwest::Error) -> Error {
        let cause = root_cause(error);
        // rustls-platform-verifier has no type for it.
        if let Some(problem) = certificates::problem().filter(|_| cause.contains("No CA certificates were loaded")) {
            return problem;
        }
        let settings = [
            ("root_certificates", !self.root_certificates.is_empty()),
            ("client_certificate", self.client_certificate.is_some()),
            ("customize", self.customize.is_some()),
        ];
        let set: Vec<_> = settings.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect();
        if set.is_empty() {
            return Error::internal(format_args!("HTTP and TLS could not be set up: {cause}"));
        }
        Error::invalid_input(&set.join(", "), format_args!("HTTP and TLS cannot be set up with this: {cause}"))
    }

    fn trusted(&self) -> Result<Vec<Certificate>, Error> {
        let certificates = Certificate::from_pem_bundle(&self.root_certificates).unwrap_or_default();
        if certificates.is_empty() && !self.root_certificates.is_empty() {
            let rule =
                "there is no certificate in it that can be read: give PEM, `-----BEGIN CERTIFICATE-----` and so on";
            return Err(Error::invalid_input("root_certificates", rule));
        }
        Ok(certificates)
    }
}

impl fmt::Debug for HttpConfig {
    /// Leaves out the certificates and the function.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("proxy", &self.proxy)
            .field("local_address", &self.local_address)
            .field("min_tls_version", &self.min_tls_version)
            .finish_non_exhaustive()
    }
}

/// Sets what holds for every client, whatever was set before.
fn secured(builder: reqwest::ClientBuilder, base_url: &Url) -> reqwest::ClientBuilder {
    let builder = builder
        // A redirect would carry the token elsewhere, and a retried request would reuse its id.
        .redirect(Policy::none())
        .retry(retry::never())
        .referer(false)
        // The signature covers the bytes as received, even if other crates enable decompression in reqwest.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        // A TLS configuration made elsewhere might check nothing.
        .tls_backend_rustls()
        .tls_danger_accept_invalid_certs(false)
        .tls_danger_accept_invalid_hostnames(false)
        // Both would record the traffic, including tokens and the API key.
        .tls_sslkeylogfile(false)
        .connection_verbose(false);
    let builder = if is_direct(base_url) { builder.no_proxy() } else { builder };
    if base_url.scheme() == "https" {
        builder.https_only(true)
    } else {
        // Plain HTTP to this name must stay on this machine, whatever name resolution says.
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        builder.resolve_to_addrs("localhost", &loopback.map(|ip| SocketAddr::new(ip, 0)))
    }
}

fn identity(pem: &Secret) -> Result<Identity, Error> {
    let rule = "it is not PEM with a certificate and its private key, which must not be encrypted";
    Identity::from_pem(pem.expose().as_bytes()).map_err(|_| Error::invalid_input("client_certificate", rule))
}

/// The innermost cause: reqwest's own message is only "builder error".
fn root_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root_cause)
}
