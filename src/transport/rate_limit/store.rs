//! Where the permits of a rate limit come from, if other clients share it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::operation::{Operation, RateLimit};
use crate::transport::credentials::BoxFuture;

/// What a permit is asked for: an operation, who calls it, and how often it may be called.
///
/// bunq counts calls by who makes them. Whether that is the API key, the address or both, the store decides.
#[derive(Clone)]
#[non_exhaustive]
pub struct PermitWindow {
    /// The operation. bunq counts the calls of each apart.
    pub operation: &'static Operation,
    /// The limit that the client keeps.
    pub limit: RateLimit,
    /// The base URL of the bank, without a slash at its end.
    pub base_url: Arc<str>,
    /// The [fingerprint](crate::Client::api_key_fingerprint) of the API key.
    pub api_key_fingerprint: Arc<str>,
}

impl fmt::Debug for PermitWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, limit, base_url, .. } = self;
        let mut shown = f.debug_struct("PermitWindow");
        shown
            .field("operation", &operation.id)
            .field("limit", limit)
            .field("base_url", base_url)
            .finish_non_exhaustive()
    }
}

/// What a [`PermitStore`] says to a call that asks for a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Taken {
    /// The call may be sent now.
    Granted(Grant),
    /// There is no permit before this time has passed. The call asks again then. A permit that is held may be settled now, so
    /// that it is free after the length of the window: its lease is no reason to wait for longer.
    NotBefore(Duration),
}

/// A permit that a [`PermitStore`] has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The store's own number of the permit: that of a row, or a fencing token.
    pub id: u128,
    /// How long after it was asked for the permit may be used. A call that is later asks again. `None`: at any time.
    pub send_within: Option<Duration>,
}

impl Grant {
    /// Makes a grant with this number that may be used at any time.
    pub fn new(id: u128) -> Self {
        Self { id, send_within: None }
    }

    /// Sets how long after it was asked for the permit may be used. It is less than the lease: what is sent at the last
    /// moment must arrive within it.
    #[must_use]
    pub fn send_within(mut self, time: Duration) -> Self {
        self.send_within = Some(time);
        self
    }
}

/// What became of a call that had a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settlement {
    /// bunq has admitted the call. It counts for the length of the window from now on, and all earlier claims are over.
    Admitted,
    /// bunq has refused the call with 429. It counts too, and after it one call goes at a time until bunq admits one.
    Refused(Refusal),
    /// There is no complete response, or it is not bunq's. The call may have arrived, so it counts.
    Unknown,
}

/// What a 429 means for all that share the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// How long no call is sent.
    pub pause: Duration,
    /// The limit that bunq has named with its signature. It holds from now on, beside [that of the
    /// window](PermitWindow::limit), and in place of one that was named before.
    pub limit: Option<RateLimit>,
    /// What the refusal asks for without bunq's signature.
    pub claim: Option<Claim>,
}

/// What a 429 asks for that bunq has not signed. It is kept until bunq admits a call, and for a minute at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// How long no call is sent.
    pub pause: Duration,
    /// The limit that it names.
    pub limit: Option<RateLimit>,
}

/// Where the permits of rate limits come from that several clients share: those of many machines behind one address, for
/// example.
///
/// [`MemoryPermits`](crate::MemoryPermits) is for the clients of one process. Write one of your own over a database for more, and set it with
/// [`ClientBuilder::permits`](crate::ClientBuilder::permits). The calls of a client still queue in the client: a call asks
/// when it is its turn by what the client knows, and only the first of each operation asks.
///
/// A permit counts from when it is given, and for the length of the window after it is settled. One whose client has died
/// must come free by itself: give each a lease, renew it until the permit is settled or abandoned, and let it count for the
/// length of the window after the lease has ended.
///
/// Errors are made with [`Error::permits`]. `Debug` shows nothing secret. No method blocks its thread.
pub trait PermitStore: fmt::Debug + Send + Sync + 'static {
    /// Takes a permit, if there is one. `waited` is how long ago the call began: of two that ask, the older one goes first.
    ///
    /// The future may be dropped, with the call or at its deadline. A permit that it has taken then ends with its lease.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Permits`](crate::ErrorKind::Permits) if it cannot be known whether there is one. The call fails with the error
    /// and is not sent.
    fn take<'a>(&'a self, window: &'a PermitWindow, waited: Duration) -> BoxFuture<'a, Result<Taken, Error>>;

    /// Ends the permit with this [id](Grant::id), when its call is over. The call waits for it, but for a second at most;
    /// then, or when the call is dropped meanwhile, the future is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Permits`](crate::ErrorKind::Permits) if it cannot be written, or the permit has ended. The error is logged, and
    /// the call does not fail. The lease ends the permit.
    fn settle<'a>(
        &'a self,
        window: &'a PermitWindow,
        id: u128,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// The future of the call was dropped before its permit was settled; the call may have been sent. It is called while
    /// the future is dropped, so it must return at once. By default it does nothing, and the lease ends the permit.
    fn abandon(&self, window: &PermitWindow, id: u128) {
        let _ = (window, id);
    }
}

impl<T: PermitStore + ?Sized> PermitStore for Arc<T> {
    fn take<'a>(&'a self, window: &'a PermitWindow, waited: Duration) -> BoxFuture<'a, Result<Taken, Error>> {
        (**self).take(window, waited)
    }

    fn settle<'a>(
        &'a self,
        window: &'a PermitWindow,
        id: u128,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<(), Error>> {
        (**self).settle(window, id, settlement)
    }

    fn abandon(&self, window: &PermitWindow, id: u128) {
        (**self).abandon(window, id);
    }
}
