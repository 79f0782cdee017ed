//! Which targets are called: those on loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bunq_partner::Environment;
use http::Uri;

/// A target on loopback.
#[derive(PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_tls: bool,
    /// The host as the URL has it, without brackets.
    pub(crate) host: String,
    /// Host and port as the URL has them.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
    /// What is connected to, in this order. Names are not resolved: `localhost` is loopback, whatever a resolver says.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Target {
    /// The target of this URL; `None`: it is not on loopback.
    pub(crate) fn on_loopback(url: &str) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        let is_tls = match url.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = url.authority()?.as_str().to_owned();
        if authority.contains('@') || !Environment::is_loopback(&format!("http://{authority}")) {
            return None;
        }
        let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let hosts: Vec<IpAddr> = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        };
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let addresses = hosts.into_iter().map(|host| SocketAddr::new(host, port)).collect();
        let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Self { is_tls, host, authority, path, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_alone_is_called() {
        test_timeout::start();
        for (url, address, path) in [
            ("https://127.0.0.1:8443/bunq/secret?a=1", "127.0.0.1:8443", "/bunq/secret?a=1"),
            ("http://127.9.9.9", "127.9.9.9:80", "/"),
            ("https://[::1]/a", "[::1]:443", "/a"),
            ("https://localhost:1/a", "127.0.0.1:1", "/a"),
        ] {
            let target = Target::on_loopback(url).unwrap();
            assert!(target.addresses.iter().all(|address| address.ip().is_loopback()));
            assert_eq!((target.addresses[0].to_string().as_str(), target.path.as_str()), (address, path));
            assert_eq!(target.is_tls, url.starts_with("https:"));
        }
        for url in [
            "https://partner.example.com/bunq",
            "https://127.0.0.1.example.com/bunq",
            "https://127.0.0.1@partner.example.com/",
            "https://user@127.0.0.1/",
            "https://0.0.0.0/",
            "https://10.0.0.1/",
            "ftp://127.0.0.1/",
            "https://",
            "127.0.0.1:80",
        ] {
            assert!(Target::on_loopback(url).is_none(), "{url}");
        }
    }
}
