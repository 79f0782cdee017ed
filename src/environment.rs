//! bunq's two environments and their base URLs.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use reqwest::Url;

use crate::error::Error;

/// One of bunq's environments. An API key belongs to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Environment {
    /// For tests: its keys start with `sandbox_`.
    Sandbox,
    /// With real users and money.
    Production,
}

impl Environment {
    /// The base URL of this environment.
    pub const fn base_url(self) -> &'static str {
        match self {
            Self::Sandbox => "https://partner-api.sandbox.bunq.com/v1",
            Self::Production => "https://api.partner.bunq.com/v1",
        }
    }

    /// Whether a base URL is valid for a client and stays on this machine. Such a URL may be plain HTTP, is reached
    /// without a proxy, and is not a server of bunq's.
    pub fn is_loopback(base_url: &str) -> bool {
        private_url(base_url, None).is_ok_and(|url| is_loopback(&url))
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
        })
    }
}

impl FromStr for Environment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "sandbox" => Ok(Self::Sandbox),
            "production" => Ok(Self::Production),
            other => Err(Error::invalid_input(
                "environment",
                format_args!("`{other}` is neither `sandbox` nor `production`"),
            )),
        }
    }
}

/// The setting that allows plain HTTP to a host.
pub(crate) const PLAIN_HTTP: &str = "allow_plain_http";

/// The domain of bunq's servers.
const BUNQ: &str = "bunq.com";

/// The version of bunq's API that the document describes: the last part of a base URL.
const VERSION: &str = "v1";

/// Parses a base URL: HTTPS, or loopback, or plain HTTP to the one host that it is allowed to, as [`plain_http_host`] returns it. One of
/// bunq's hosts must lead to the API, and no other version may be named.
pub(crate) fn check_base_url(text: &str, plain_http: Option<&str>) -> Result<Url, Error> {
    let url = private_url(text, plain_http)?;
    let last = url.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_version = last.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
    if last != VERSION && (is_version || url.host_str().is_some_and(is_bunqs)) {
        let rule = "the version of bunq's API that this crate speaks";
        return Err(refused(format_args!("`{text}` does not end with `/{VERSION}`, {rule}")));
    }
    Ok(url)
}

fn refused(problem: impl fmt::Display) -> Error {
    Error::invalid_input("base_url", problem)
}

/// Parses a URL on which a key is private, or which may be used although it is not.
fn private_url(text: &str, plain_http: Option<&str>) -> Result<Url, Error> {
    // Do not show a password, even if the rest of the URL parses as a port and a path.
    if text.contains('@') {
        return Err(refused("it holds a user name or a password, which bunq does not take"));
    }
    let url: Url = text.parse().map_err(|_| refused("it is not a URL"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it has a query or a fragment, to which no path can be added"));
    }
    let host = url.host_str().unwrap_or_default();
    if let Some(allowed) = plain_http.filter(|allowed| *allowed != host) {
        let problem = format_args!("plain HTTP is allowed to the host `{allowed}`, but the base URL is of `{host}`");
        return Err(Error::invalid_input(PLAIN_HTTP, problem));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) || plain_http.is_some() => Ok(url),
        _ => Err(refused(format_args!("`{text}` is neither HTTPS nor on loopback"))),
    }
}

/// Reads the host that plain HTTP is allowed to, in the form that it has in a URL: bunq's own servers are none.
pub(crate) fn plain_http_host(text: &str) -> Result<String, Error> {
    let refused = |problem: &str| Error::invalid_input(PLAIN_HTTP, format_args!("`{text}` {problem}"));
    let literal = text.parse::<Ipv6Addr>().map_or_else(|_| text.to_owned(), |address| format!("[{address}]"));
    let is_bracketed = literal.starts_with('[') && literal.ends_with(']');
    let is_more = literal.contains(|c: char| c.is_whitespace() || c.is_control() || "/\\?#@".contains(c))
        || literal.contains(':') && !is_bracketed;
    let url = format!("http://{literal}").parse::<Url>().ok().filter(|_| !is_more);
    let host = url.as_ref().and_then(Url::host_str);
    let host =
        host.ok_or_else(|| refused("is not a host: give its name or IP address, without a scheme and a port"))?;
    if is_bunqs(host) {
        return Err(refused("is bunq's, which is reached by HTTPS alone"));
    }
    Ok(host.to_owned())
}

/// Whether a host, in the form that it has in a URL, is bunq's.
fn is_bunqs(host: &str) -> bool {
    // Dots at the end do not make it another host.
    let name = host.trim_end_matches('.');
    name == BUNQ || name.strip_suffix(BUNQ).is_some_and(|below| below.ends_with('.'))
}

/// Whether a URL is reached without a proxy: on this machine, and by plain HTTP, which a proxy could read.
pub(crate) fn is_direct(url: &Url) -> bool {
    url.scheme() == "http" || is_loopback(url)
}

/// Whether a URL stays on this machine, so that it needs no TLS and no proxy.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}
