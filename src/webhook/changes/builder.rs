//! The settings of changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::intake::Intake;
use super::reads::Reads;
use super::shared::Shared;
use super::version::Digester;
use super::worker::Worker;
use super::{Bank, Changes};
use crate::error::Error;
use crate::transport::runtime;
use crate::types::NotificationCategory;
use crate::webhook::{HintJournal, Receiver};

/// The shortest and the longest interval that can be set.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The settings of [`Changes`]: see [`Client::changes`](crate::Client::changes).
#[must_use = "changes begin with `start`"]
pub struct ChangesBuilder {
    bank: Bank,
    journal: Arc<dyn HintJournal>,
    arrivals: watch::Receiver<u64>,
    place: Arc<Semaphore>,
    look_interval: Duration,
    net_interval: Duration,
    unconfirmed: Vec<NotificationCategory>,
    opens_sessions: bool,
}

impl ChangesBuilder {
    pub(crate) fn new<J: HintJournal>(bank: Bank, receiver: &Receiver<J>) -> Self {
        let journal: Arc<dyn HintJournal> = Arc::<J>::clone(receiver.journal());
        Self {
            bank,
            journal,
            arrivals: receiver.arrivals(),
            place: receiver.place_of_changes(),
            look_interval: Duration::from_secs(300),
            net_interval: Duration::from_secs(60),
            unconfirmed: Vec::new(),
            opens_sessions: false,
        }
    }

    /// How often it looks by itself for what no call has told, beside once at the start. The default is five minutes; from a second to a
    /// day.
    ///
    /// A look reads the pages of the provisions under way, up to 10,000 of them, and the failed deliveries that are new. At the start all
    /// that bunq lists are new: what they are about is read, and handed on unless the journal knows that it was. Of the users whose session
    /// is open, it reads the onboardings and inquiries that it has heard of and that are under way, one by one until the next look. What a
    /// look finds is read after what calls are about.
    pub fn look_interval(mut self, interval: Duration) -> Self {
        self.look_interval = interval;
        self
    }

    /// How often the waiters of the client poll while calls come, if that is more seldom than they would. The default is a minute; from a
    /// second to a day.
    pub fn net_interval(mut self, interval: Duration) -> Self {
        self.net_interval = interval;
        self
    }

    /// Hands on calls of these categories as [`Unconfirmed`](crate::webhook::ChangedObject::Unconfirmed) if nothing can be read of what they
    /// are about: no operation reads it, or the call lacks its id, or the user whose it is. Each is handed on by itself. By default it is
    /// no category, and such calls are [counted](crate::webhook::ChangesNumbers::ignored).
    ///
    /// So are those that bunq lists as failed, at each start again, as long as bunq lists them: they end with
    /// [`retry`](crate::Notifications::retry).
    pub fn unconfirmed(mut self, categories: impl IntoIterator<Item = NotificationCategory>) -> Self {
        self.unconfirmed = categories.into_iter().collect();
        self
    }

    /// Whether a call about a user in custody whose session is not open may open one, after all other sessions that are to be opened. A look
    /// opens none. If it cannot be opened, the call is handed on unconfirmed.
    /// bunq opens one in 30 seconds, and whoever knows the path of the receiver can name users. The default is no: such a call is handed on
    /// [unconfirmed](crate::webhook::ChangedObject::Unconfirmed).
    pub fn open_sessions(mut self, opens_sessions: bool) -> Self {
        self.opens_sessions = opens_sessions;
        self
    }

    /// Starts a task that reads what has changed, within the current runtime.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if an interval cannot be, or if other changes of the same receiver are
    /// not dropped yet. [`ErrorKind::Internal`](crate::ErrorKind::Internal) outside of a Tokio runtime.
    pub fn start(self) -> Result<Changes, Error> {
        let Self { bank, journal, arrivals, place, look_interval, net_interval, unconfirmed, opens_sessions } = self;
        for (name, interval) in [("look_interval", look_interval), ("net_interval", net_interval)] {
            if !(SHORTEST..=LONGEST).contains(&interval) {
                let problem = format_args!("{interval:?} is not from {SHORTEST:?} to {LONGEST:?}");
                return Err(Error::invalid_input(name, problem));
            }
        }
        runtime::check()?;
        let place = place.try_acquire_owned().map_err(|_| {
            let problem = "other changes of it are not dropped yet: only one task can take its hints from the journal";
            Error::invalid_input("receiver", problem)
        })?;
        let Bank { provisions, users, notifications, gate, api_key } = bank;
        let hearing = provisions.feed().hearing().begin(net_interval);
        let shared = Arc::new(Shared::new(journal));
        let intake = Intake { unconfirmed };
        let (digester, is_custody_lost) = (Digester::new(&api_key), false.into());
        let reads = Reads { provisions, users, digester, is_custody_lost, opens_sessions };
        let last_look = Default::default();
        let worker = Worker { shared, reads, intake, notifications, last_look, arrivals, look_interval, gate };
        Ok(Changes::new(worker, place, hearing))
    }
}

impl std::fmt::Debug for ChangesBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { look_interval, net_interval, unconfirmed, opens_sessions, .. } = self;
        let mut shown = f.debug_struct("ChangesBuilder");
        shown.field("look_interval", look_interval).field("net_interval", net_interval);
        shown.field("unconfirmed", unconfirmed).field("open_sessions", opens_sessions).finish_non_exhaustive()
    }
}
