//! bunq's two environments and their base URLs.

use std::fmt;
use std::net::IpAddr;
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
        check_base_url(base_url).is_ok_and(|url| is_loopback(&url))
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

/// Parses a base URL: HTTPS, or loopback.
pub(crate) fn check_base_url(text: &str) -> Result<Url, Error> {
    let refused = |problem: &str| Error::invalid_input("base_url", problem);
    // Do not show a password, even if the rest of the URL parses as a port and a path.
    if text.contains('@') {
        return Err(refused("it holds a user name or a password, which bunq does not take"));
    }
    let url: Url = text.parse().map_err(|_| refused("it is not a URL"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it has a query or a fragment, to which no path can be added"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err(refused(&format!("`{text}` is neither HTTPS nor on loopback"))),
    }
}

/// Whether a URL stays on this machine, so that it needs no TLS and no proxy.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}
