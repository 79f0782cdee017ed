//! The settings of the receiver.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::certificate::Certificate;
use super::numbers::Counters;
use super::peer::Peers;
use super::place::Place;
use super::ranges::Range;
use super::seldom::Seldom;
use super::service::{Inner, Receiver};
use crate::environment::Environment;
use crate::error::Error;
use crate::types::Secret;
use crate::webhook::{HintJournal, Notification};

/// The largest body that can be set.
const LARGEST: usize = Notification::MAX_LEN;

/// The longest time for a body that can be set. bunq waits for ten seconds.
const LONGEST: Duration = Duration::from_secs(10);

/// Where bunq's calls come from in production. In the sandbox they come from changing addresses.
const BUNQS: &str = "185.40.108.0/22";

/// The settings of a [`Receiver`].
#[derive(Debug)]
pub struct ReceiverBuilder {
    folder: String,
    segments: Vec<Secret>,
    environment: Environment,
    ranges: Option<Vec<String>>,
    trusted_proxies: Vec<String>,
    certificates: Vec<Result<Certificate, Error>>,
    max_body_size: usize,
    body_timeout: Duration,
    max_calls: usize,
}

impl Receiver<()> {
    /// Begins a receiver of bunq's calls from an environment. Their path ends with this secret segment: 22 to 128 letters, digits, `-` and
    /// `_`, chosen at random.
    pub fn builder(environment: Environment, segment: impl Into<Secret>) -> ReceiverBuilder {
        ReceiverBuilder {
            folder: "/".to_owned(),
            segments: vec![segment.into()],
            environment,
            ranges: None,
            trusted_proxies: Vec::new(),
            certificates: Vec::new(),
            max_body_size: 64 * 1024,
            body_timeout: Duration::from_secs(5),
            max_calls: 256,
        }
    }
}

impl ReceiverBuilder {
    /// Where the secret segment follows in the path, with a slash at both ends. The default is `/`. Behind a router that takes a part
    /// of the path away, it is what is left.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<String>) -> Self {
        self.folder = folder.into();
        self
    }

    /// A second segment that is taken too, so that the segment can be changed: take both, change the filters, take the new one alone.
    #[must_use]
    pub fn other_segment(mut self, segment: impl Into<Secret>) -> Self {
        self.segments.truncate(1);
        self.segments.push(segment.into());
        self
    }

    /// The ranges of addresses that calls may come from, such as `185.40.108.0/22`, or single addresses. The default in production is
    /// bunq's own range, `185.40.108.0/22`, which bunq may change; in the sandbox calls may come from anywhere.
    ///
    /// The server says which address a call comes from, as a [`Peer`](crate::webhook::Peer); a call without one is refused. An IPv4
    /// address within IPv6 (`::ffff:192.0.2.7`) counts as IPv4. `["0.0.0.0/0", "::/0"]` is every address.
    #[must_use]
    pub fn from<T: Into<String>>(mut self, ranges: impl IntoIterator<Item = T>) -> Self {
        self.ranges = Some(ranges.into_iter().map(Into::into).collect());
        self
    }

    /// The ranges of the proxies that are yours and hand calls on. The address of a call from one of them is the last one in
    /// `X-Forwarded-For` that is not in these ranges, and each proxy must add the address that it was called from to the end. From
    /// others the header is ignored. By default no proxy is trusted.
    ///
    /// `Forwarded` (RFC 7239) is not read: a proxy that adds to one of the two headers hands the other one on as it came.
    #[must_use]
    pub fn trusted_proxies<T: Into<String>>(mut self, ranges: impl IntoIterator<Item = T>) -> Self {
        self.trusted_proxies = ranges.into_iter().map(Into::into).collect();
        self
    }

    /// The certificate of bunq's client, in PEM or in DER, which bunq hands to the partner. A call from whoever has not shown this one
    /// is refused. By default the certificate does not matter.
    ///
    /// The server asks for it, and hands it over with [`Peer::certificate`](crate::webhook::Peer::certificate). bunq shows one if the
    /// filter asks for the verification type `BUNQ_CERTIFICATE`.
    #[must_use]
    pub fn certificate(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.certificates.clear();
        self.certificates.push(Certificate::read(certificate.into()));
        self
    }

    /// A second certificate that is taken too, for the time in which bunq changes its certificate.
    #[must_use]
    pub fn other_certificate(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.certificates.truncate(1);
        self.certificates.push(Certificate::read(certificate.into()));
        self
    }

    /// The size of the largest body, in bytes. The default, and the most, is 64 KiB: a longer one is no notification.
    #[must_use]
    pub fn max_body_size(mut self, max_body_size: usize) -> Self {
        self.max_body_size = max_body_size;
        self
    }

    /// How long a body may take. The default is five seconds, the most is ten, after which bunq waits no longer.
    #[must_use]
    pub fn body_timeout(mut self, body_timeout: Duration) -> Self {
        self.body_timeout = body_timeout;
        self
    }

    /// How many calls may be in progress. The default is 256.
    #[must_use]
    pub fn max_calls(mut self, max_calls: usize) -> Self {
        self.max_calls = max_calls;
        self
    }

    /// Makes the receiver.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if a setting cannot be. The segments are in no error.
    pub fn build<J: HintJournal>(self, journal: J) -> Result<Receiver<J>, Error> {
        let Self { folder, segments, environment, ranges, trusted_proxies, certificates, .. } = self;
        let Self { max_body_size, body_timeout, max_calls, .. } = self;
        let place = Place::new(&folder, segments)?;
        let ranges = match (ranges, environment) {
            (Some(ranges), _) if ranges.is_empty() => {
                return Err(Error::invalid_input("from", "it has no range, so that no call could come from anywhere"));
            }
            (Some(ranges), _) => ranges,
            (None, Environment::Production) => vec![BUNQS.to_owned()],
            (None, Environment::Sandbox) => Vec::new(),
        };
        let trusted_proxies = Range::parse_all("trusted_proxies", &trusted_proxies)?;
        if trusted_proxies.iter().any(Range::is_everybody) {
            let problem =
                "it trusts everybody, so that anybody could say which address a call is from: name your proxies alone";
            return Err(Error::invalid_input("trusted_proxies", problem));
        }
        let peers = Peers {
            ranges: Range::parse_all("from", &ranges)?,
            trusted_proxies,
            certificates: certificates.into_iter().collect::<Result<_, _>>()?,
        };
        if !(1..=LARGEST).contains(&max_body_size) {
            let problem = format_args!("{max_body_size} is not from 1 to {LARGEST}");
            return Err(Error::invalid_input("max_body_size", problem));
        }
        if body_timeout.is_zero() || body_timeout > LONGEST {
            let problem = format_args!("{body_timeout:?} is not more than zero and at most {LONGEST:?}");
            return Err(Error::invalid_input("body_timeout", problem));
        }
        if !(1..=Semaphore::MAX_PERMITS).contains(&max_calls) {
            return Err(Error::invalid_input("max_calls", format_args!("{max_calls} is not at least 1")));
        }
        let (turns, journal) = (Semaphore::new(max_calls), Arc::new(journal));
        let (seldom, counters, arrivals) = (Seldom::default(), Counters::default(), watch::Sender::new(0));
        let place_of_changes = Arc::new(Semaphore::new(1));
        let inner = Inner {
            place,
            peers,
            seldom,
            max_body_size,
            body_timeout,
            turns,
            journal,
            counters,
            arrivals,
            place_of_changes,
        };
        Ok(Receiver(Arc::new(inner)))
    }
}
