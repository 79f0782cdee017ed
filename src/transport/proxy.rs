//! The proxy to bunq, from the setting or from the environment.
//!
//! This module reads the setting because reqwest ignores one that it cannot read. Everything before the host counts as
//! a password, even if the setting is malformed: no part of it appears in an error, in `Debug` or in a URL.

use std::ffi::OsString;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper_util::client::proxy::matcher::Matcher;
use percent_encoding::percent_decode_str;
use reqwest::header::HeaderValue;
use reqwest::{NoProxy, Proxy, Url};

use crate::error::Error;
use crate::types::Secret;
use crate::variables::environment_variable;

/// The variables with the proxy for HTTPS, and those with the exceptions. The first that is set counts.
const NAMES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

const RULE: &str = "it is not the URL of a proxy: write `http://host:port` or `https://host:port`, or \
                    `http://user:password@host:port` with `%2F` for a `/` in the password, `%3F` for `?`, `%23` for `#` and \
                    `%40` for `@`";
const SOCKS: &str = "a proxy of SOCKS is not supported: give one over HTTP";
const COLON: &str = "the user has a colon in it, which no proxy can tell from the one before the password";

/// An HTTP proxy for connections to bunq's host: see [`HttpConfig::proxy_for`](crate::HttpConfig::proxy_for).
/// `Display` shows its host, and its port if that is set; neither that nor `Debug` shows its user or password.
#[derive(Clone, PartialEq, Eq)]
pub struct ForwardProxy {
    /// Without user and password.
    url: Url,
    authorization: Option<HeaderValue>,
    exceptions: String,
}

impl ForwardProxy {
    /// The proxy that the environment names, if any. Some hosts may be exempt.
    pub(crate) fn of_environment() -> Result<Option<Self>, Error> {
        Self::of_variables(environment_variable)
    }

    fn of_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, Error> {
        let set = |name| Some((name, variable(name)?));
        let Some((name, setting)) = NAMES.into_iter().find_map(set) else { return Ok(None) };
        let exceptions = EXCEPTIONS.into_iter().find_map(set).map(|(_, exceptions)| exceptions);
        let exceptions = exceptions.unwrap_or_default().to_string_lossy().into_owned();
        let proxy = Self::parse(name, setting.to_str().unwrap_or_default())?;
        Ok(Some(Self { exceptions, ..proxy }))
    }

    /// Parses the setting called `name`.
    pub(crate) fn parse(name: &str, setting: &str) -> Result<Self, Error> {
        read(setting).map_err(|rule| Error::invalid_input(name, rule))
    }

    pub(crate) fn to_reqwest(&self) -> Result<Proxy, Error> {
        let proxy = Proxy::all(self.url.clone()).map_err(|error| Error::internal(error.without_url()))?;
        let proxy = proxy.no_proxy(NoProxy::from_string(&self.exceptions));
        Ok(match &self.authorization {
            Some(login) => proxy.custom_http_auth(login.clone()),
            None => proxy,
        })
    }

    /// Whether the connection to the proxy uses TLS.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The proxy's host, an IPv6 address without brackets, and its port.
    pub fn address(&self) -> (&str, u16) {
        let host = self.url.host_str().unwrap_or_default();
        (host.trim_matches(['[', ']']), self.url.port_or_known_default().unwrap_or_default())
    }

    /// The value of `Proxy-Authorization`, if the setting has a user: `Basic`, and user and password in base64.
    pub fn authorization(&self) -> Option<Secret> {
        Some(self.authorization.as_ref()?.to_str().ok()?.into())
    }

    /// Whether a URL is reached through the proxy: `NO_PROXY` does not list its host.
    pub(super) fn leads_to(&self, url: &Url) -> bool {
        // reqwest cannot be asked, so its rules are used here.
        let rules = Matcher::builder().all("http://proxy").no(self.exceptions.as_str()).build();
        url.as_str().parse().is_ok_and(|uri| rules.intercept(&uri).is_some())
    }
}

impl fmt::Display for ForwardProxy {
    /// Writes the host, and the port if the URL has one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.host_str().unwrap_or_default())?;
        self.url.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForwardProxy").field(&format_args!("{self}")).finish()
    }
}

fn read(setting: &str) -> Result<ForwardProxy, &'static str> {
    let setting = setting.trim();
    if setting.starts_with("socks") && setting.contains("://") {
        return Err(SOCKS);
    }
    // The scheme may be missing, as in `host:port`.
    let has_scheme = setting.contains("://") || ["http:", "https:"].iter().any(|scheme| setting.starts_with(scheme));
    let text = if has_scheme { setting.to_owned() } else { format!("http://{setting}") };
    // The URL parser silently drops line breaks, so control characters are refused first.
    let mut url = text.parse::<Url>().ok().filter(|_| !text.contains(char::is_control)).ok_or(RULE)?;
    // An unencoded `/`, `?` or `#` in a password ends the host too early: the parser takes the rest for a path.
    let is_host_alone = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !is_host_alone || !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(RULE);
    }
    let authorization = authorization(&url)?;
    // These fail only for a URL without a host.
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| RULE)?;
    Ok(ForwardProxy { url, authorization, exceptions: String::new() })
}

fn authorization(url: &Url) -> Result<Option<HeaderValue>, &'static str> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let mut login: Vec<u8> = percent_decode_str(url.username()).collect();
    if login.contains(&b':') {
        return Err(COLON);
    }
    login.push(b':');
    login.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64.encode(login))).map_err(|_| RULE)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parsed setting: host and port, and user and password.
    fn read_as(setting: &str) -> (String, Option<Vec<u8>>) {
        let proxy = ForwardProxy::parse("proxy", setting).unwrap_or_else(|error| panic!("{setting}: {error}"));
        let login = proxy.authorization().map(|value| value.expose().strip_prefix("Basic ").unwrap().to_owned());
        (proxy.to_string(), login.map(|login| BASE64.decode(login).unwrap()))
    }

    #[test]
    fn what_was_meant_is_sent() {
        test_timeout::start();
        for (setting, host, login) in [
            ("http://proxy.example:3128", "proxy.example:3128", None),
            ("proxy.example:3128", "proxy.example:3128", None),
            (" https://proxy.example/ \n", "proxy.example", None),
            ("http://[::1]:3128", "[::1]:3128", None),
            ("http://user:pass@proxy.example:3128", "proxy.example:3128", Some("user:pass")),
            ("user:pass@proxy.example:3128", "proxy.example:3128", Some("user:pass")),
            ("http:user:pass@proxy.example:3128", "proxy.example:3128", Some("user:pass")),
            ("http://user@proxy.example", "proxy.example", Some("user:")),
            ("http://:pass@proxy.example", "proxy.example", Some(":pass")),
            ("http://user:p%40%2F%3A%3f%23%25s@proxy.example", "proxy.example", Some("user:p@/:?#%s")),
            ("http://user%40acme:p@ss:w@rd@proxy.example", "proxy.example", Some("user@acme:p@ss:w@rd")),
            (
                "http://user:100%sure p\u{e4}ss|\"<>^`{}@proxy.example",
                "proxy.example",
                Some("user:100%sure p\u{e4}ss|\"<>^`{}"),
            ),
        ] {
            assert_eq!(read_as(setting), (host.to_owned(), login.map(|login| login.as_bytes().to_vec())), "{setting}");
        }
        assert_eq!(read_as("http://user:%ff@proxy.example").1, Some(b"user:\xff".to_vec()));
    }

    #[test]
    fn nothing_before_the_host_is_told_of_a_setting_that_cannot_be_read() {
        test_timeout::start();
        for (setting, rule) in [
            ("http://user:1/planted@proxy.example:3128", RULE),
            ("http://user:1#planted@proxy.example:3128", RULE),
            ("http://user:1?planted@proxy.example:3128", RULE),
            ("http://user:1\\planted@proxy.example:3128", RULE),
            ("http://planted/1@proxy.example:3128", RULE),
            ("http://user:planted", RULE),
            ("user:planted", RULE),
            ("http://user:planted@", RULE),
            ("http://user:planted@proxy.example:99999", RULE),
            ("http://user:planted@proxy example", RULE),
            ("http://user:plan\nted@proxy.example", RULE),
            ("http://user:planted@[::1:3128", RULE),
            ("planted://user@proxy.example", RULE),
            ("user:planted://x@proxy.example", RULE),
            ("socks5h://user:planted@proxy.example", SOCKS),
            ("http://user%3aplanted:pass@proxy.example", COLON),
            ("", RULE),
            (" ", RULE),
        ] {
            let error = ForwardProxy::parse("HTTPS_PROXY", setting).unwrap_err();
            assert!(error.to_string().contains(&format!("HTTPS_PROXY: {rule}")), "{setting}: {error}");
            assert!(!format!("{error:?}").contains("plan"), "{setting}: {error:?}");
        }
        let proxy = ForwardProxy::parse("proxy", "http://user:planted@proxy.example:3128").unwrap();
        assert_eq!(format!("{proxy:?}"), "ForwardProxy(proxy.example:3128)");
        assert!(!format!("{:?}", proxy.to_reqwest().unwrap()).contains("planted"));
    }

    /// `tests/transport/network.rs` has empty variables and exceptions.
    #[test]
    fn the_first_variable_counts() {
        test_timeout::start();
        let of = |set: &[(&str, &str)]| {
            let variable =
                |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value));
            ForwardProxy::of_variables(variable)
        };
        let first = of(&[("HTTPS_PROXY", "a"), ("https_proxy", "b"), ("ALL_PROXY", "c")]).unwrap().unwrap();
        assert_eq!(first.to_string(), "a");
        let error = of(&[("https_proxy", "http://"), ("ALL_PROXY", "c")]).unwrap_err().to_string();
        assert!(error.contains("https_proxy: it is not"), "{error}");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt as _;
            let not_text = |name: &str| (name == "HTTPS_PROXY").then(|| OsString::from_vec(b"http://\xff".to_vec()));
            assert!(ForwardProxy::of_variables(not_text).is_err());
        }
    }
}
