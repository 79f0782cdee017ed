//! The OAuth client of the partner and its callback URL: found, and created where they lack.
//!
//! One flight at a time reads and creates; calls with the same callback URL share it. It runs in a task of its own, which goes on when
//! its callers give up.

mod clients;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Id;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::Span;

use self::clients::{changed, none_at_all, only_active, registered};
use crate::api::Api;
use crate::error::{Error, ErrorKind, Sent};
use crate::feed::Acceptance;
use crate::operation::Operation;
use crate::reconcile::{InDoubt, InFlight, Reconcile, Reconciled};
use crate::sync::lock;
use crate::transport::call_budget::{CallBudget, MAX_TIMEOUT};
use crate::transport::connections::Reuse;
use crate::transport::runtime;
use crate::types::{
    CallbackUrl, CreateOauthCallbackUrlRequest, CreateOauthClientRequest, OauthCallbackUrlId, OauthClient,
    OauthClientId, Secret,
};

/// Finds the partner's OAuth client and its callback URL, and creates what lacks. Cheap to clone.
///
/// bunq provisions no user for a partner without an active OAuth client and a callback URL.
///
/// ```no_run
/// # async fn example(client: bunq_partner::Client) -> Result<(), bunq_partner::Error> {
/// let setup = client.oauth().ensure("https://partner.example.com/callback".parse()?).await?;
/// println!("OAuth client {}: {:?}", setup.client, setup.client_acceptance);
/// // The secret is given to whoever asks for it, and printed nowhere.
/// let secret = setup.secret.as_ref().map(|secret| secret.expose());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Oauth {
    api: Api,
    config: OauthConfig,
    flights: Arc<Flights>,
}

/// The times of the checks after a request whose outcome is in doubt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OauthConfig {
    pub(crate) poll_interval: Duration,
    pub(crate) late_arrival: Duration,
}

/// What there is after [`Oauth::ensure`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OauthSetup {
    /// bunq's id of the active OAuth client.
    pub client: OauthClientId,
    /// Whether the client was there [`Already`](Acceptance::Already), or was created.
    pub client_acceptance: Acceptance,
    /// bunq's id of the callback URL. bunq may show a URL without it.
    pub callback_url: Option<OauthCallbackUrlId>,
    /// Whether the callback URL was there [`Already`](Acceptance::Already), or was created.
    pub callback_url_acceptance: Acceptance,
    /// The client id of OAuth, if bunq shows it.
    pub client_id: Option<Secret>,
    /// The client secret of OAuth, if bunq shows it.
    pub secret: Option<Secret>,
}

/// `None` while it is in progress.
type Outcome = watch::Receiver<Option<Result<OauthSetup, Error>>>;

#[derive(Debug, Default)]
struct Flights {
    /// Those that have begun and not ended, each with the runtime of its task. They hold no lock that a caller waits for.
    begun: Mutex<HashMap<CallbackUrl, (Id, Outcome)>>,
    /// Held by the flight that reads and creates: the creations that may still arrive.
    in_flight: tokio::sync::Mutex<InFlight>,
}

/// The requests of a flight. If its task ends with its runtime, one of them may still arrive.
struct Requests<'a> {
    in_flight: &'a mut InFlight,
    late_arrival: Duration,
    are_known: bool,
}

impl Drop for Requests<'_> {
    fn drop(&mut self) {
        if !self.are_known {
            *self.in_flight = self.in_flight.and(InFlight::until(Instant::now() + self.late_arrival));
        }
    }
}

impl Oauth {
    pub(crate) fn new(api: Api, config: OauthConfig) -> Self {
        Self { api, config, flights: Arc::default() }
    }

    /// Sets the longest time of each operation, in place of [`ClientBuilder::operation_timeout`].
    ///
    /// [`ClientBuilder::operation_timeout`]: crate::ClientBuilder::operation_timeout
    #[must_use]
    pub fn operation_timeout(self, timeout: Duration) -> Self {
        Self { api: self.api.operation_timeout(timeout), ..self }
    }

    /// Reads the OAuth clients, and returns the active one.
    ///
    /// # Errors
    ///
    /// [`Duplicate`](ErrorKind::Duplicate) if several are active.
    pub async fn find(&self) -> Result<Option<OauthClient>, Error> {
        only_active(self.list(self.api.budget()).await?)
    }

    /// Sees to it that the partner has one active OAuth client with this callback URL: reads first, adopts the active client, and
    /// creates only what lacks. Other callback URLs of the client stay.
    ///
    /// Any number of concurrent calls of this client and its clones create one OAuth client and one callback URL. The work goes on if the
    /// future is dropped. After a doubtful failure it reads [for a while](crate::ClientBuilder::late_arrival) before it
    /// sends a request again.
    ///
    /// Two processes do not know of each other. Let one of them call this, as a step of a deployment. If both create at the same time, bunq
    /// refuses the second OAuth client, which adopts the first; should bunq take both, each call that sees it fails with
    /// [`Duplicate`](ErrorKind::Duplicate). The same callback URL can be registered twice then. After a crash, a request of the process that has
    /// ended may still be on its way: wait for some seconds before you call this again.
    ///
    /// # Errors
    ///
    /// [`Duplicate`](ErrorKind::Duplicate) if several OAuth clients are active. [`Unattainable`](ErrorKind::Unattainable) if there are
    /// clients and none is active: it is for you to decide whether to activate one with
    /// [`update_oauth_client`](Api::update_oauth_client), or to create another with [`create_oauth_client`](Api::create_oauth_client). The same
    /// kind if the client that was read or created is not the active one any more when its callback URL is registered. The message names the
    /// clients.
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of a request is unknown. To call this again does no harm.
    pub async fn ensure(&self, callback_url: CallbackUrl) -> Result<OauthSetup, Error> {
        let own = runtime::current()?;
        loop {
            let (runtime, mut outcome) = self.join(&callback_url, own);
            // A runtime that is not run makes no progress.
            let longest = if runtime == own { MAX_TIMEOUT } else { self.api.budget().left() };
            let ended = timeout(longest, outcome.wait_for(Option::is_some)).await;
            match ended.map(|ended| ended.ok().and_then(|outcome| outcome.clone())) {
                Ok(Some(outcome)) => return outcome,
                // The runtime of its task has ended: this one begins another.
                Ok(None) if runtime != own => {}
                Ok(None) => return Err(Error::internal("the task that ensured an OAuth client was aborted")),
                Err(_) => {
                    let problem = "another runtime ensures the OAuth client, and that takes too long";
                    return Err(Error::new(ErrorKind::Timeout, Sent::No, problem));
                }
            }
        }
    }

    /// Returns the flight for this callback URL that is in progress, or begins one in the current runtime, `own`.
    fn join(&self, callback_url: &CallbackUrl, own: Id) -> (Id, Outcome) {
        let mut begun = lock(&self.flights.begun);
        if let Some(flight) = begun.get(callback_url).filter(|(_, outcome)| outcome.has_changed().is_ok()) {
            return flight.clone();
        }
        let (sender, outcome) = watch::channel(None);
        let (oauth, url) = (self.clone(), callback_url.clone());
        let task = async move {
            let done = oauth.set_up(&url).await;
            lock(&oauth.flights.begun).remove(&url);
            // Sending fails if every caller has given up.
            let _ = sender.send(Some(done));
        };
        runtime::spawn(Span::current(), Box::pin(task));
        begun.insert(callback_url.clone(), (own, outcome.clone()));
        (own, outcome)
    }

    async fn set_up(&self, url: &CallbackUrl) -> Result<OauthSetup, Error> {
        let budget = self.api.budget();
        let Ok(mut in_flight) = timeout(budget.left(), self.flights.in_flight.lock()).await else {
            let problem = "another callback URL is being registered, and that takes too long";
            return Err(Error::new(ErrorKind::Timeout, Sent::No, problem));
        };
        let read = async || none_at_all(self.list(budget).await?).map_err(Error::before_sending);
        let mut client = read().await?;
        let lacks = client.as_ref().is_none_or(|client| registered(client, url).is_none());
        if lacks && in_flight.is_any() {
            in_flight.over().await;
            client = read().await?;
        }
        let (client, client_acceptance) = match client {
            Some(client) => (client, Acceptance::Already),
            None => self.create_client(budget, &mut in_flight).await?,
        };
        let (callback_url, callback_url_acceptance) = match registered(&client, url) {
            Some(known) => (known.id, Acceptance::Already),
            None => self.register(client.id, url, budget, &mut in_flight).await?,
        };
        let OauthClient { id, client_id, secret, .. } = client;
        Ok(OauthSetup { client: id, client_acceptance, callback_url, callback_url_acceptance, client_id, secret })
    }

    /// Creates an OAuth client, and reads it.
    async fn create_client(
        &self,
        budget: CallBudget,
        in_flight: &mut InFlight,
    ) -> Result<(OauthClient, Acceptance), Error> {
        let (api, new) = (self.api.until(budget), CreateOauthClientRequest::new());
        let send = |reuse| {
            let (api, new) = (api.over(reuse), &new);
            async move { Ok(api.create_oauth_client(new).await?.into_inner()) }
        };
        let check = || async { Ok(none_at_all(self.list(self.check_by(budget)).await?)?.map(|client| client.id)) };
        let Reconciled { done: id, acceptance, .. } =
            self.reconcile(&Operation::CREATE_OAUTH_CLIENT, budget, in_flight, send, check).await?;
        Ok((self.reread(id, budget).await?, acceptance))
    }

    /// Registers a callback URL.
    async fn register(
        &self,
        id: OauthClientId,
        url: &CallbackUrl,
        budget: CallBudget,
        in_flight: &mut InFlight,
    ) -> Result<(Option<OauthCallbackUrlId>, Acceptance), Error> {
        let (api, new) = (self.api.until(budget), CreateOauthCallbackUrlRequest::new(url.clone()));
        let send = |reuse| {
            let (api, new) = (api.over(reuse), &new);
            async move { Ok(Some(api.create_oauth_callback_url(id, new).await?.into_inner())) }
        };
        let check = || async { Ok(registered(&self.reread(id, budget).await?, url).map(|known| known.id)) };
        let Reconciled { done, acceptance, .. } =
            self.reconcile(&Operation::CREATE_OAUTH_CALLBACK_URL, budget, in_flight, send, check).await?;
        Ok((done, acceptance))
    }

    /// Sends a request until its outcome is known.
    async fn reconcile<T, S, C>(
        &self,
        operation: &Operation,
        budget: CallBudget,
        in_flight: &mut InFlight,
        send: impl FnMut(Reuse) -> S + Send,
        check: impl FnMut() -> C + Send,
    ) -> Result<Reconciled<T>, Error>
    where
        T: Send,
        S: Future<Output = Result<T, Error>> + Send,
        C: Future<Output = Result<Option<T>, Error>> + Send,
    {
        let OauthConfig { poll_interval, late_arrival } = self.config;
        let (policy, in_doubt) = (self.api.transport().policy(operation), InDoubt::RepeatAfterLateArrival);
        let mut requests = Requests { in_flight, late_arrival, are_known: false };
        let in_flight = &mut *requests.in_flight;
        let reconcile = Reconcile { policy, budget, poll_interval, late_arrival, in_doubt, in_flight };
        let outcome = reconcile.until_known(send, check).await;
        requests.are_known = true;
        outcome
    }

    async fn list(&self, budget: CallBudget) -> Result<Vec<OauthClient>, Error> {
        Ok(self.api.until(budget).list_oauth_clients().await?.into_inner())
    }

    /// Reads the client of this id, which must still be the only active one.
    async fn reread(&self, id: OauthClientId, budget: CallBudget) -> Result<OauthClient, Error> {
        let clients = self.list(self.check_by(budget)).await?;
        let problem = changed(id, &clients);
        only_active(clients)?.filter(|client| client.id == id).ok_or(problem)
    }

    /// The budget of a check, which gets the time of an attempt: to stay in doubt is worse than to be late.
    fn check_by(&self, budget: CallBudget) -> CallBudget {
        budget.with_time_for(self.api.transport().config().attempt_timeout)
    }
}
