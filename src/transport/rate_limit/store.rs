//! The interface of a store of permits for clients that share a rate limit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::scope::LimitScope;
use crate::error::Error;
use crate::operation::{Operation, RateLimit};
use crate::transport::credentials::BoxFuture;

/// The window that a permit belongs to: the operation, who calls it, and how often it may be called.
///
/// The store may have a rule of its own for what counts together, such as an address that several partners share.
#[derive(Clone)]
#[non_exhaustive]
pub struct PermitWindow {
    /// The operation. bunq counts the calls of each operation separately.
    pub operation: &'static Operation,
    /// The limit that the client keeps to.
    pub limit: RateLimit,
    /// What counts together: if it is [`Session`](LimitScope::Session), the calls with this fingerprint.
    pub scope: LimitScope,
    /// The base URL of the bank, without a slash at its end.
    pub base_url: Arc<str>,
    /// The [fingerprint](crate::Client::api_key_fingerprint) of the API key; for a user, that of its partner's, a slash, and the id of
    /// its provision.
    pub api_key_fingerprint: Arc<str>,
}

impl fmt::Debug for PermitWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, limit, scope, base_url, .. } = self;
        let mut shown = f.debug_struct("PermitWindow");
        shown
            .field("operation", &operation.id)
            .field("limit", limit)
            .field("scope", scope)
            .field("base_url", base_url)
            .finish_non_exhaustive()
    }
}

/// How soon a call must have its permit, among all calls that ask for one of the same window.
///
/// Those that are [urgent](Self::is_urgent) go first, then those with a [deadline](Self::deadline), the earliest first, then the
/// others, the one that has [waited](Self::waited) longest first. All times are from the request for the permit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Priority {
    /// How long ago the call began.
    pub waited: Duration,
    /// The call opens the partner's own session, without which all its other calls stand still.
    pub is_urgent: bool,
    /// In how long the session of a user must be open at the latest, which this call opens.
    pub deadline: Option<Duration>,
}

/// The answer of a [`PermitStore`] to a call that asks for a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Taken {
    /// The call may be sent, now or [a little later](Grant::send_after).
    Granted(Grant),
    /// There is no permit before this time has passed; then the call asks again. Do not make it longer because of a lease:
    /// a permit that is held may be settled at any time, and is free one window later.
    NotBefore(Duration),
}

/// A permit that a [`PermitStore`] has granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The store's own number of the permit, such as a row's or a fencing token.
    pub id: u128,
    /// How long after the answer the permit is free: the call waits until then, and is sent without asking again.
    pub send_after: Duration,
    /// How long after the request for it the permit may be used. It is checked directly before the call is sent; if the time has
    /// passed, the permit is [withdrawn](PermitStore::withdraw), and the call asks again. So it is if no call uses it, because none is
    /// polled. `None`: at any time.
    pub send_within: Option<Duration>,
}

impl Grant {
    /// Makes a grant with this number that may be used at any time from now on.
    pub fn new(id: u128) -> Self {
        Self { id, send_after: Duration::ZERO, send_within: None }
    }

    /// Sets how long after the answer the permit is free. So a store promises what is free a little later, and no time passes
    /// between its being free and the call. Keep it short: a promise is not taken back when bunq refuses another call.
    #[must_use]
    pub fn send_after(mut self, time: Duration) -> Self {
        self.send_after = time;
        self
    }

    /// Sets how long after the request for it the permit may be used. Make it shorter than the lease: a call that is sent
    /// at the last moment must arrive within the lease.
    #[must_use]
    pub fn send_within(mut self, time: Duration) -> Self {
        self.send_within = Some(time);
        self
    }
}

/// The outcome of a call that had a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settlement {
    /// bunq has accepted the call, whatever its response. It counts for one window from now on, and all earlier claims end.
    Admitted,
    /// bunq has refused the call with 429. It counts too, and calls are then sent one at a time until bunq accepts one.
    Refused(Refusal),
    /// There is no complete response, or none of bunq's. The call may have arrived, so it counts.
    Unknown,
}

/// What a 429 means for all clients that share the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// How long no call is sent.
    pub pause: Duration,
    /// The limit that bunq has named, if the refusal is signed. It applies from now on, in addition to [that of the
    /// window](PermitWindow::limit) and in place of one that was named before.
    pub limit: Option<RateLimit>,
    /// What the refusal asks for, if it is not signed.
    pub claim: Option<Claim>,
}

/// What an unsigned 429 asks for. It is kept until bunq accepts a call, and for at most a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// How long no call is sent.
    pub pause: Duration,
    /// The limit that it names.
    pub limit: Option<RateLimit>,
}

/// The sessions of users that a client has waiting, as it announces them to the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitingSessions {
    /// Identifies the client. What it has announced last counts.
    pub client: u128,
    /// The number of the announcement. One with a smaller number than the last of its client has come late, and changes nothing.
    pub number: u64,
    /// In how long each session must be open at the latest.
    pub deadlines: Vec<Duration>,
    /// The same of one that is to be added, if it can be in time beside those of all clients.
    pub candidate: Option<Duration>,
    /// How long the announcement counts. It is repeated before that, as long as sessions wait.
    pub lease: Duration,
}

/// What the other clients have waiting, and when the window has room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherSessions {
    /// In how long each session of the other clients must be open at the latest.
    pub deadlines: Vec<Duration>,
    /// The same of those that they may add.
    pub candidates: Vec<Duration>,
    /// There is no permit before this time has passed, whoever asks.
    pub not_before: Duration,
}

impl OtherSessions {
    /// Makes the answer of a store whose window has room.
    pub fn new(deadlines: Vec<Duration>, candidates: Vec<Duration>) -> Self {
        Self { deadlines, candidates, not_before: Duration::ZERO }
    }

    /// Sets the time before which there is no permit, whoever asks.
    #[must_use]
    pub fn not_before(mut self, time: Duration) -> Self {
        self.not_before = time;
        self
    }
}

/// A store of permits for rate limits that several clients share: for example, the clients of many machines behind one
/// address.
///
/// [`MemoryPermits`](crate::MemoryPermits) is for the clients of one process. For more, use `PostgresPermits` of the crate
/// `bunq-partner-postgres`, or write one of your own over a database, and set it with
/// [`ClientBuilder::permits`](crate::ClientBuilder::permits). The calls of a client still queue in the client: only the first call of each
/// operation that has no permit yet asks, when the client's own window has room, and no other asks meanwhile. A permit belongs to the
/// window, not to the call that has asked: if another call of the client is the first when the permit is free, that one uses it.
///
/// A permit counts from the time of its grant until one window after it is settled. If a client dies, its permits must
/// become free by themselves: give each a lease, renew it until the permit is settled or abandoned, and let the permit
/// count for one window after the end of the lease.
///
/// Make errors with [`Error::permits`]. `Debug` must not show a secret. No method may block its thread.
pub trait PermitStore: fmt::Debug + Send + Sync + 'static {
    /// Takes a permit, if there is one. `priority` says which of the calls that ask goes first.
    ///
    /// The future may be dropped with the call, or at the deadline. A permit that it has taken then ends with its lease.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Permits`](crate::ErrorKind::Permits) if the store cannot be read or written. The call fails with the
    /// error and is not sent.
    fn take<'a>(&'a self, window: &'a PermitWindow, priority: Priority) -> BoxFuture<'a, Result<Taken, Error>>;

    /// Ends the permit with this [id](Grant::id) when its call is over. The call waits for at most a second; then, or if
    /// the call is dropped meanwhile, the future is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Permits`](crate::ErrorKind::Permits) if it cannot be written, or the permit has ended. The error is
    /// logged, and the call does not fail. The lease ends the permit.
    fn settle<'a>(
        &'a self,
        window: &'a PermitWindow,
        id: u128,
        settlement: Settlement,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Called when the future of a call is dropped before its permit is settled; the call may have been sent. It must
    /// return at once. By default it does nothing, and the lease ends the permit.
    fn abandon(&self, window: &PermitWindow, id: u128) {
        let _ = (window, id);
    }

    /// Called when no call of this client waits for a permit of this window any more, nor a session of a user for its turn, though a call
    /// has been told to ask again, or permits were granted that none has used. No call was or will be sent with the permits in `unused`, so they are free for
    /// other clients at once. Also called when a permit was not used [in time](Grant::send_within); a call that still waits then asks again.
    /// It must return at once. By default each of them is abandoned.
    fn withdraw(&self, window: &PermitWindow, unused: &[u128]) {
        for id in unused {
            self.abandon(window, *id);
        }
    }

    /// Announces which sessions of users this client has waiting for permits of this window, in place of what it has announced before,
    /// and returns what the other clients have. Both are one step: of two clients that announce at the same time, one sees what the
    /// other has. So a session is refused at once that cannot be in time beside those of all clients, and the one whose credential
    /// expires first is opened first. By default nothing is kept: each client knows its own alone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Permits`](crate::ErrorKind::Permits) if the store cannot be read or written. A session that is to be added then
    /// fails with the error; those that wait go on.
    fn announce<'a>(
        &'a self,
        window: &'a PermitWindow,
        sessions: WaitingSessions,
    ) -> BoxFuture<'a, Result<OtherSessions, Error>> {
        let _ = (window, sessions);
        Box::pin(async { Ok(OtherSessions::default()) })
    }
}

impl<T: PermitStore + ?Sized> PermitStore for Arc<T> {
    fn take<'a>(&'a self, window: &'a PermitWindow, priority: Priority) -> BoxFuture<'a, Result<Taken, Error>> {
        (**self).take(window, priority)
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

    fn withdraw(&self, window: &PermitWindow, unused: &[u128]) {
        (**self).withdraw(window, unused);
    }

    fn announce<'a>(
        &'a self,
        window: &'a PermitWindow,
        sessions: WaitingSessions,
    ) -> BoxFuture<'a, Result<OtherSessions, Error>> {
        (**self).announce(window, sessions)
    }
}
