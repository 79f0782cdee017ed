//! The OAuth client of the partner and its callback URL: found, and created where they lack.
//!
//! One flight at a time reads and creates; calls with the same callback URL share it. It runs in a task of its own, which goes on when
//! its callers give up.

mod clients;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Url;
use tokio::runtime::Id;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::Span;

use self::clients::{current, none_at_all, not_shown, only_active, registered};
use crate::api::Api;
use crate::error::{Error, ErrorKind, Sent};
use crate::feed::Acceptance;
use crate::operation::Operation;
use crate::reconcile::{InDoubt, InFlight, Reconcile, Reconciled, Requests, VerbConfig};
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
    config: VerbConfig,
    flights: Arc<Flights>,
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
    begun: Mutex<HashMap<Url, (Id, Outcome)>>,
    /// Held by the flight that reads and creates: the creations that may still arrive, or be shown.
    in_flight: tokio::sync::Mutex<InFlight>,
}

impl Oauth {
    pub(crate) fn new(api: Api, config: VerbConfig) -> Self {
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
    /// creates only what lacks. Other callback URLs of the client stay. A URL in another spelling, as of the host in capitals, is the same.
    ///
    /// Any number of concurrent calls of this client and its clones create one OAuth client and one callback URL. The work goes on if the
    /// future is dropped. After a doubtful failure it reads [for a while](crate::ClientBuilder::late_arrival) before it
    /// sends a request again. It returns when bunq shows what was created, which it awaits for as long.
    ///
    /// Two processes do not know of each other, and neither do two clients that are no clones, also with one context store. Let one of them
    /// call this, as a step of a deployment. If both create at the same time, and bunq refuses a second OAuth client, the second call adopts
    /// the first client; should bunq take both, each call that sees it fails with [`Duplicate`](ErrorKind::Duplicate). The same callback
    /// URL can be registered twice then. After a crash, a request of the process that has ended may still be on its way: wait for some
    /// seconds before you call this again.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it is no URL, as with a port above 65535. [`Duplicate`](ErrorKind::Duplicate) if several
    /// OAuth clients are active. [`Unattainable`](ErrorKind::Unattainable) if there are
    /// clients and none is active: it is for you to decide whether to activate one with
    /// [`update_oauth_client`](Api::update_oauth_client), or to create another with [`create_oauth_client`](Api::create_oauth_client). The same
    /// kind if the client that was read or created is not the active one any more when its callback URL is registered, or if bunq does not
    /// show what it says was created. The message names the clients.
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of a request is unknown. To call this again does no harm. If there is an
    /// active client, and its callback URL could not be registered, the error has the client: `error.last_seen::<OauthClient>()`.
    pub async fn ensure(&self, callback_url: CallbackUrl) -> Result<OauthSetup, Error> {
        let own = runtime::current()?;
        let url = Url::parse(callback_url.as_str()).map_err(|error| {
            Error::invalid_input("callback_url", format_args!("{}: {error}", callback_url.as_str()))
        })?;
        let budget = self.api.budget();
        loop {
            let (runtime, mut outcome, is_begun) = self.join(&callback_url, &url, own, budget);
            // Its flight ends in time by itself, and that of another call may not.
            let longest = if is_begun { MAX_TIMEOUT } else { budget.left() };
            let ended = timeout(longest, outcome.wait_for(Option::is_some)).await;
            match ended.map(|ended| ended.ok().and_then(|outcome| outcome.clone())) {
                Ok(Some(outcome)) => return outcome,
                // The runtime of its task has ended: this one begins another.
                Ok(None) if runtime != own => {}
                Ok(None) => return Err(Error::internal("the task that ensured an OAuth client was aborted")),
                Err(_) => {
                    let problem = "another call ensures the OAuth client, and takes longer than this one may";
                    return Err(Error::new(ErrorKind::Timeout, Sent::No, problem));
                }
            }
        }
    }

    /// Returns the flight for this callback URL that is in progress, or begins one in the current runtime, `own`, and whether it has
    /// begun one.
    fn join(&self, callback_url: &CallbackUrl, url: &Url, own: Id, budget: CallBudget) -> (Id, Outcome, bool) {
        let mut begun = lock(&self.flights.begun);
        if let Some((runtime, outcome)) = begun.get(url).filter(|(_, outcome)| outcome.has_changed().is_ok()) {
            return (*runtime, outcome.clone(), false);
        }
        let (sender, outcome) = watch::channel(None);
        let (oauth, callback_url, key) = (self.clone(), callback_url.clone(), url.clone());
        let task = async move {
            let done = oauth.set_up(callback_url, &key, budget).await;
            lock(&oauth.flights.begun).remove(&key);
            // Sending fails if every caller has given up.
            let _ = sender.send(Some(done));
        };
        runtime::spawn(Span::current(), Box::pin(task));
        begun.insert(url.clone(), (own, outcome.clone()));
        (own, outcome, true)
    }

    async fn set_up(&self, callback_url: CallbackUrl, url: &Url, budget: CallBudget) -> Result<OauthSetup, Error> {
        let problem = "another callback URL is being registered, and that takes too long";
        let mut in_flight = budget.lock(&self.flights.in_flight, problem).await?;
        let read = async || none_at_all(self.list(budget).await?).map_err(Error::before_sending);
        let mut client = read().await?;
        let lacks = client.as_ref().is_none_or(|client| registered(client, url, None).is_none());
        if lacks && in_flight.is_any() {
            in_flight.over_within(budget).await?;
            client = read().await?;
        }
        let (client, client_acceptance) = match client {
            Some(client) => (client, Acceptance::Already),
            None => self.create_client(budget, &mut in_flight).await?,
        };
        let (callback_url, callback_url_acceptance) = match registered(&client, url, None) {
            Some(known) => (known.id, Acceptance::Already),
            None => match self.register(client.id, callback_url, url, budget, &mut in_flight).await {
                Ok(registered) => registered,
                Err(error) => return Err(error.with_last_seen(Arc::new(client))),
            },
        };
        let OauthClient { id, client_id, secret, .. } = client;
        Ok(OauthSetup { client: id, client_acceptance, callback_url, callback_url_acceptance, client_id, secret })
    }

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
        let check = || async { Ok(none_at_all(self.check(budget).await?)?.map(|client| client.id)) };
        self.create(&Operation::CREATE_OAUTH_CLIENT, budget, in_flight, send, check, current).await
    }

    async fn register(
        &self,
        id: OauthClientId,
        callback_url: CallbackUrl,
        url: &Url,
        budget: CallBudget,
        in_flight: &mut InFlight,
    ) -> Result<(Option<OauthCallbackUrlId>, Acceptance), Error> {
        let (api, new) = (self.api.until(budget), CreateOauthCallbackUrlRequest::new(callback_url));
        let send = |reuse| {
            let (api, new) = (api.over(reuse), &new);
            async move { Ok(Some(api.create_oauth_callback_url(id, new).await?.into_inner())) }
        };
        let check = || async {
            let client = current(id, self.check(budget).await?)?;
            Ok(registered(&client, url, None).map(|known| known.id))
        };
        let shown = |created: Option<_>, clients| {
            let client = current(id, clients)?;
            let known = registered(&client, url, created).ok_or_else(|| not_shown(&client, url))?;
            Ok(created.or(known.id))
        };
        self.create(&Operation::CREATE_OAUTH_CALLBACK_URL, budget, in_flight, send, check, shown).await
    }

    /// Sends a request until its outcome is known, and reads until the clients show what it has created.
    async fn create<T, R, S, C>(
        &self,
        operation: &Operation,
        budget: CallBudget,
        in_flight: &mut InFlight,
        send: impl FnMut(Reuse) -> S + Send,
        check: impl FnMut() -> C + Send,
        shown: impl Fn(T, Vec<OauthClient>) -> Result<R, Error> + Send,
    ) -> Result<(R, Acceptance), Error>
    where
        T: Copy + Send,
        S: Future<Output = Result<T, Error>> + Send,
        C: Future<Output = Result<Option<T>, Error>> + Send,
    {
        let VerbConfig { poll_interval, late_arrival } = self.config;
        let (policy, in_doubt) = (self.api.transport().policy(operation), InDoubt::RepeatAfterLateArrival);
        let mut requests = Requests::new(in_flight, late_arrival);
        let in_flight = requests.in_flight();
        let reconcile = Reconcile { policy, budget, poll_interval, late_arrival, in_doubt, in_flight };
        let outcome = reconcile.until_known(send, check).await;
        if outcome.is_err() {
            // It has added those that are in doubt.
            requests.are_known();
        }
        let Reconciled { done, acceptance, .. } = outcome?;
        let until = Instant::now() + late_arrival.min(budget.left());
        loop {
            let began = Instant::now();
            match shown(done, self.check(budget).await?) {
                Err(error) if error.kind() == ErrorKind::Unattainable && began < until => sleep(poll_interval).await,
                shown => {
                    let shown = shown?;
                    requests.are_known();
                    return Ok((shown, acceptance));
                }
            }
        }
    }

    async fn list(&self, budget: CallBudget) -> Result<Vec<OauthClient>, Error> {
        Ok(self.api.until(budget).list_oauth_clients().await?.into_inner())
    }

    /// Lists the clients to learn what became of a request.
    async fn check(&self, budget: CallBudget) -> Result<Vec<OauthClient>, Error> {
        self.list(self.api.check_by(budget)).await
    }
}
