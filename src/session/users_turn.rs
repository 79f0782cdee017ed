//! Whose session it is, and how it has its turn among the others.

use std::any::Any;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Patience;
use super::context::OpenSession;
use super::forecast::Renewals;
use super::queue::{Stands, Wanted};
use super::turns::{PartnersTurn, Turns};
use crate::api::Api;
use crate::error::{Error, ErrorKind, Sent};
use crate::sync::lock;
use crate::transport::Transport;
use crate::transport::trouble::Trouble;
use crate::types::ProvisionId;

/// For how long the session of a user waits for its lock when it has its turn, and then for its permit. No other session is opened
/// meanwhile, and nobody else changes what is stored of the user; one attempt of whoever has the lock rarely takes longer.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Whose session it is.
#[derive(Debug)]
pub(crate) enum Owner {
    Partner(Turns),
    User(Box<UsersTurn>),
}

/// What opens a session.
pub(super) struct Work<P, A> {
    pub(super) is_prepared: bool,
    /// Makes what is missing before a session can be opened.
    pub(super) prepare: P,
    /// Makes it too if it is still missing, and opens a session: within a time, and before a deadline that orders it among the users
    /// of other clients. Both break off with what others have done meanwhile.
    pub(super) attempt: A,
}

/// How the session of a user has its turn.
pub(crate) struct UsersTurn {
    turns: Turns,
    id: ProvisionId,
    ticket: u64,
    is_withdrawn: AtomicBool,
    stands: Mutex<Stands>,
    /// When the credential expires, if it is not used before.
    expiry: Instant,
    /// A session was opened with the credential.
    is_activated: AtomicBool,
    /// For the call of the partner's own.
    look: Api,
    told: Box<Told>,
    /// What all share who act for the user.
    user: Weak<dyn Any + Send + Sync>,
}

/// Told of each session that was opened, and of each failure after which others go first.
type Told = dyn Fn(Result<Activation, &Error>) + Send + Sync;

/// Whether the session that was opened is the first one with its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Now,
    Before,
}

impl UsersTurn {
    /// `expiry`: when the credential expires, if it was not used yet. `look` calls as the partner.
    pub(crate) fn new(
        turns: Turns,
        id: ProvisionId,
        expiry: Option<Instant>,
        look: Api,
        told: impl Fn(Result<Activation, &Error>) + Send + Sync + 'static,
    ) -> Self {
        let (is_activated, is_withdrawn) = (AtomicBool::new(expiry.is_none()), false.into());
        let (ticket, expiry) = (turns.ticket(), expiry.unwrap_or_else(Instant::now));
        let (stands, told, user) = (Mutex::new(Stands::Usual), Box::new(told), Weak::<()>::new());
        Self { turns, id, ticket, is_withdrawn, stands, expiry, is_activated, look, told, user }
    }

    /// `user` lives as long as what is done with its session, whoever gives it up: so nobody makes another one meanwhile, and waits for
    /// the first.
    pub(crate) fn of<T: Send + Sync + 'static>(mut self, user: &Arc<T>) -> Self {
        self.user = Arc::<T>::downgrade(user);
        self
    }

    /// Its credential was replaced by another: it has no turn any more, whether it waits for one already or not.
    fn withdraw(&self) {
        self.is_withdrawn.store(true, Ordering::Relaxed);
        self.turns.withdraw(self.ticket);
    }

    /// By when the session must be opened: before the credential expires, or by the deadline, or else within the time of a call.
    fn deadline(&self, deadline: Option<Instant>, transport: &Transport) -> Instant {
        match self.is_activated.load(Ordering::Relaxed) {
            true => deadline.unwrap_or_else(|| Instant::now() + transport.config().operation_timeout),
            false => self.expiry,
        }
    }

    /// The session that is to be opened, if nothing has to be made before.
    fn wanted(&self, deadline: Option<Instant>, transport: &Transport) -> Wanted<'_> {
        let &Self { id, ticket, ref is_withdrawn, ref stands, .. } = self;
        let (deadline, is_renewal) = (self.deadline(deadline, transport), self.is_activated.load(Ordering::Relaxed));
        Wanted { id, ticket, deadline, is_renewal, is_prepared: true, is_withdrawn, stands }
    }

    fn waits(&self) -> Error {
        let problem = format_args!("the session of provision {} waits for its turn", self.id);
        Error::new(ErrorKind::RateLimited, Sent::No, problem)
    }

    fn shut_down(&self) -> Error {
        let problem = format_args!("the session of provision {} was not opened: the shutdown has begun", self.id);
        Error::new(ErrorKind::ShutDown, Sent::No, problem)
    }

    /// Opens the session in its turn.
    async fn open<T, P, O>(
        &self,
        transport: &Arc<Transport>,
        Work { is_prepared, prepare, attempt }: Work<
            impl Fn() -> P + Send,
            impl Fn(Duration, Option<Instant>) -> O + Send,
        >,
        trouble: &Trouble,
        deadline: Option<Instant>,
    ) -> Result<T, Error>
    where
        P: Future<Output = Result<ControlFlow<T>, Error>> + Send,
        O: Future<Output = Result<ControlFlow<T, T>, Error>> + Send,
    {
        let config = transport.config();
        let wanted = Wanted { is_prepared, ..self.wanted(deadline, transport) };
        let waits = self.waits();
        trouble.note(Some(waits.clone()));
        let prepare = move || {
            let (prepared, waits) = (prepare(), waits.clone());
            async move {
                let prepared = prepared.await;
                trouble.note(Some(prepared.as_ref().err().unwrap_or(&waits).clone()));
                prepared
            }
        };
        // Others go before a second attempt.
        let time = config.attempt_timeout;
        let open = move || {
            let standing = wanted.standing();
            attempt(time, (!standing.is_last).then_some(standing.deadline))
        };
        let look = || async { self.look.get_installation().await.map(drop) };
        let failed = |error: &Error| {
            trouble.note(Some(error.clone()));
            (self.told)(Err(error));
        };
        let opened = self.turns.open(wanted, prepare, open, look, failed);
        // After a shutdown the response to a request on the wire counts.
        match select(pin!(opened), pin!(transport.gate().emptied())).await {
            Either::Right(_) => Err(self.shut_down()),
            Either::Left((opened, _)) => {
                trouble.note(None);
                opened
            }
        }
    }
}

impl Owner {
    /// Goes before all others if the session is the partner's, until it is dropped.
    pub(super) fn begin(&self) -> Option<PartnersTurn> {
        match self {
            Self::Partner(turns) => Some(turns.partner()),
            Self::User(_) => None,
        }
    }

    /// Somebody waits for the session, which is being opened already or is opened next. One that stands last goes up to its usual place
    /// for whoever waits as usual.
    ///
    /// # Errors
    ///
    /// [`RateLimited`](ErrorKind::RateLimited) if it cannot be in time there, or another that was admitted could not then.
    pub(super) fn is_wanted(&self, patience: Patience, is_going: bool, transport: &Transport) -> Result<(), Error> {
        let Self::User(turn) = self else { return Ok(()) };
        match (patience, is_going) {
            (Patience::Last(_), true) => {}
            (Patience::Last(_), false) => *lock(&turn.stands) = Stands::Last,
            (Patience::OfCall | Patience::Until(_), false) => *lock(&turn.stands) = Stands::Usual,
            (Patience::OfCall | Patience::Until(_), true) => {
                turn.turns.move_up(turn.wanted(patience.deadline(), transport))?;
            }
        }
        Ok(())
    }

    /// Waits until a session that stands last could be opened, or stands last no more.
    pub(super) async fn stand_last(
        &self,
        transport: &Transport,
        trouble: &Trouble,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let Self::User(turn) = self else { return Ok(()) };
        if *lock(&turn.stands) != Stands::Last {
            return Ok(());
        }
        trouble.note(Some(turn.waits()));
        let reached = turn.turns.reach(turn.wanted(deadline, transport));
        match select(pin!(reached), pin!(transport.gate().emptied())).await {
            Either::Left((reached, _)) => reached,
            Either::Right(_) => Err(turn.shut_down()),
        }
    }

    /// What lives until something is done with the session.
    pub(super) fn user(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        match self {
            Self::Partner(_) => None,
            Self::User(turn) => turn.user.upgrade(),
        }
    }

    /// Tells when this session is to be opened again, by the system clock.
    pub(super) fn is_due(&self, session: Option<&OpenSession>) {
        let Self::Partner(turns) = self else { return };
        let known = session.and_then(|session| session.renew_at.zip(session.opened_at));
        turns.partner_is_due(known.and_then(|(renew_at, opened_at)| {
            let until = |since| renew_at.duration_since(since).try_into().unwrap_or_default();
            Some(Renewals { next: Instant::now().checked_add(until(Timestamp::now()))?, every: until(opened_at) })
        }));
    }

    /// Notes that a session was opened with the credential of a user, whoever has opened it.
    pub(super) fn activated(&self) -> Activation {
        match self {
            Self::User(turn) if !turn.is_activated.swap(true, Ordering::Relaxed) => Activation::Now,
            Self::User(_) | Self::Partner(_) => Activation::Before,
        }
    }

    /// Opens the session by attempts, each within a time.
    pub(super) async fn open<T, P, O>(
        &self,
        transport: &Arc<Transport>,
        work: Work<impl Fn() -> P + Send, impl Fn(Duration, Option<Instant>) -> O + Send>,
        trouble: &Trouble,
        deadline: Option<Instant>,
    ) -> Result<T, Error>
    where
        P: Future<Output = Result<ControlFlow<T>, Error>> + Send,
        O: Future<Output = Result<ControlFlow<T, T>, Error>> + Send,
    {
        match self {
            Self::Partner(_) => match (work.attempt)(transport.config().operation_timeout, None).await? {
                ControlFlow::Break(ended) | ControlFlow::Continue(ended) => Ok(ended),
            },
            Self::User(user) => user.open(transport, work, trouble, deadline).await,
        }
    }

    /// For how long an attempt waits for the lock, and then for its permit, if others wait for it to end.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        match self {
            Self::Partner(_) => None,
            Self::User(_) => Some(LONGEST_WAIT),
        }
    }

    /// Tells that the session was opened. It is to be known by then: whoever hears it looks for it.
    pub(super) fn tell(&self, activation: Activation) {
        if let Self::User(user) = self {
            (user.told)(Ok(activation));
        }
    }

    /// Ends the wait for a turn if the session is a user's, now and later.
    pub(super) fn withdraw(&self) {
        if let Self::User(user) = self {
            user.withdraw();
        }
    }

    /// Whether the session is opened with a credential that was used before.
    pub(super) fn is_renewal(&self) -> bool {
        match self {
            Self::Partner(_) => true,
            Self::User(turn) => turn.is_activated.load(Ordering::Relaxed),
        }
    }
}

impl std::fmt::Debug for UsersTurn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UsersTurn").field("id", &self.id).finish_non_exhaustive()
    }
}
