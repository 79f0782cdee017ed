//! Calls that a web page makes, in a browser that can reach the sandbox. They are refused before anything else is done.
//!
//! Browsers send `Origin` with what changes something, and with what another origin's page wants to read. `Sec-Fetch-Site` says that
//! a page has made the call, except with `none`: then a person has typed the address. A page whose own name is made to resolve to loopback
//! (DNS rebinding) calls the sandbox by that name, which `Host` shows. A sandbox that is reachable from other machines is called by
//! names that it does not know, so there any `Host` is right.

use bunq_partner::Environment;

use crate::wire::call::ReceivedCall;

/// Why a call is refused as one of a web page; `None`: it may be a client's.
pub(crate) fn refusal(call: &ReceivedCall, is_on_loopback: bool) -> Option<String> {
    let values =
        |name: &'static str| call.headers.iter().filter(move |(other, _)| other == name).map(|(_, value)| value);
    let is_loopback = |host: &str| Environment::is_loopback(&format!("http://{host}"));
    if values("origin").next().is_some() {
        return Some("It has an Origin: the sandbox is not for web pages.".to_owned());
    }
    if values("sec-fetch-site").any(|site| site != "none") {
        return Some("It has a Sec-Fetch-Site: the sandbox is not for web pages.".to_owned());
    }
    let host = values("host").find(|host| is_on_loopback && !is_loopback(host))?;
    Some(format!(
        "The sandbox listens on loopback, and {host} is not loopback: call it by the base URL that it has printed."
    ))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use bytes::Bytes;

    use super::*;

    #[test]
    fn calls_of_web_pages_are_known_by_their_headers() {
        test_timeout::start();
        let refused = |headers: &[(&str, &str)], is_on_loopback| {
            let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            let (method, path) = ("GET".to_owned(), "/v1".to_owned());
            let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let call = ReceivedCall { from, method, path, query: None, headers, body: Bytes::new() };
            refusal(&call, is_on_loopback).is_some()
        };
        for host in ["127.0.0.1:80", "127.9.9.9", "[::1]:8080", "localhost", "LocalHost:1"] {
            assert!(!refused(&[("host", host)], true), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil.example#@127.0.0.1",
            "127.0.0.1@evil.example",
            "0.0.0.0:80",
            "10.0.0.1",
            "",
        ] {
            assert!(refused(&[("host", host)], true), "{host}");
            assert!(refused(&[("host", "127.0.0.1"), ("host", host)], true), "{host}");
            assert!(!refused(&[("host", host)], false), "{host}");
        }
        assert!(!refused(&[], true), "a browser always sends a Host");
        for is_on_loopback in [true, false] {
            for origin in ["https://evil.example", "null", "", "http://127.0.0.1"] {
                assert!(refused(&[("host", "127.0.0.1"), ("origin", origin)], is_on_loopback), "{origin}");
            }
            for (site, expected) in [("cross-site", true), ("same-site", true), ("same-origin", true), ("none", false)]
            {
                assert_eq!(refused(&[("host", "127.0.0.1"), ("sec-fetch-site", site)], is_on_loopback), expected);
            }
        }
    }
}
