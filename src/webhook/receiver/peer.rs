//! Who calls.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::request::Parts;

use super::certificate::Certificate;
use super::ranges::Range;

/// What a trusted proxy adds the address to that it was called from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Why a call is refused.
const NO_PEER: &str = "the server does not hand over who calls. Have it put a `Peer` into the extensions of each request, as the guide of \
                       webhooks shows";
const WRONG_ADDRESS: &str = "its address is in none of the ranges that calls may come from. If a proxy hands calls on, name it as a trusted \
                             one. If bunq has changed its addresses, set the ranges";
const WRONG_CERTIFICATE: &str = "it has shown none of the certificates that are set. Have the server ask for one and hand it over in the \
                                 `Peer`, and the filter ask for the verification type `BUNQ_CERTIFICATE`";

/// Who has made a call, as the server knows it. The server puts it into the extensions of the request before a
/// [`Receiver`](crate::webhook::Receiver) has it.
///
/// ```
/// use std::net::SocketAddr;
///
/// use bunq_partner::webhook::Peer;
///
/// fn hand_over<B>(request: &mut http::Request<B>, address: SocketAddr) {
///     request.extensions_mut().insert(Peer::new(address.ip()));
/// }
/// ```
///
/// [`guide::webhooks`](crate::guide::webhooks) has it for hyper, axum and rustls.
#[derive(Clone)]
pub struct Peer {
    ip: IpAddr,
    certificate: Option<Vec<u8>>,
}

impl Peer {
    /// The address of the other end of the connection, not what a header says of it. Of a Unix socket it is `127.0.0.1`.
    pub fn new(ip: IpAddr) -> Self {
        Self { ip: ip.to_canonical(), certificate: None }
    }

    /// The certificate that the client has shown, in DER, without those that it is signed with. The handshake must have proven that
    /// the client has its key; whether it is bunq's, the receiver checks.
    #[must_use]
    pub fn certificate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.certificate = Some(der.into());
        self
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("ip", &self.ip).finish_non_exhaustive()
    }
}

/// Who may call.
#[derive(Debug)]
pub(super) struct Peers {
    /// If there is none, the address does not matter.
    pub(super) ranges: Vec<Range>,
    pub(super) trusted_proxies: Vec<Range>,
    /// If there is none, the certificate does not matter.
    pub(super) certificates: Vec<Certificate>,
}

impl Peers {
    /// Whether whoever has sent a request may call, or why not.
    pub(super) fn admit(&self, parts: &Parts) -> Result<(), &'static str> {
        if self.ranges.is_empty() && self.certificates.is_empty() {
            return Ok(());
        }
        let peer = parts.extensions.get::<Peer>().ok_or(NO_PEER)?;
        let address = address(peer.ip, &parts.headers, &self.trusted_proxies);
        if !self.ranges.is_empty() && !address.is_some_and(|address| is_within(&self.ranges, address)) {
            return Err(WRONG_ADDRESS);
        }
        let is_shown = |own: &Certificate| peer.certificate.as_deref().is_some_and(|shown| own.is(shown));
        if !self.certificates.is_empty() && !self.certificates.iter().any(is_shown) {
            return Err(WRONG_CERTIFICATE);
        }
        Ok(())
    }
}

/// The address that a call came from: that of the peer or, if that is a proxy which is trusted, what the proxy has added to the
/// header, and so on. What stands before that may be from anybody. `None` if what it has added is no address.
fn address(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[Range]) -> Option<IpAddr> {
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut added = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let mut address = peer;
    while is_within(trusted_proxies, address) {
        let Some(before) = added.next() else { break };
        address = parse(before)?;
    }
    Some(address)
}

/// Parses an address as proxies write it, some with a port.
fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let address = text.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

fn is_within(ranges: &[Range], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}
