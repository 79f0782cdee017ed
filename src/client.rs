//! The client of a partner.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, unfold};

use crate::api::{Api, RequestPreview};
use crate::builder::ClientBuilder;
use crate::custody::Records;
use crate::environment::Environment;
use crate::error::Error;
use crate::feed::Feed;
use crate::notifications::Notifications;
use crate::oauth::Oauth;
use crate::operation::Operation;
use crate::provisions::{Provisions, ProvisionsConfig};
use crate::session::handshake::{Device, delete_session};
use crate::session::turns::Turns;
use crate::session::{ContextSummary, Session, SessionUser, UserInstallation};
use crate::transport::Transport;
use crate::users::{UserDevice, Users};
use crate::variables::environment_variable;
#[cfg(feature = "webhook")]
use crate::webhook::{Bank, ChangesBuilder, HintJournal, Receiver};

/// A client of bunq's Partner API, for one API key.
///
/// Cheap to clone: all clones share the connections, the rate limits and one session, which the first call that needs
/// it opens. Must be used within a Tokio runtime.
///
/// A process has one client for each bank and API key: what two clients know, they do not share. Two of one key have two sessions, and the
/// sessions of their [users](Self::users) are opened in two orders, neither of which knows the deadlines of the other; clone one instead.
///
/// Several runtimes can share one client, for example a `static` in tests with a runtime each, and each runtime can end
/// at any time. Each runtime has its own connections; when a runtime ends that ran a shared task, another runtime takes
/// the task over. If a session is being opened in a runtime that exists but is not being run, such as a
/// `current_thread` runtime outside of `block_on`, other calls wait for it for as long as a call may take.
///
/// ```no_run
/// # async fn example() -> Result<(), bunq_partner::Error> {
/// use bunq_partner::{Client, Environment, FileStore, ProvisionId};
///
/// let client = Client::builder(Environment::Sandbox)
///     .api_key("sandbox_…")
///     .context_store(FileStore::new("bunq-context.json"))
///     .build()?;
/// let provision = client.provisions().get(ProvisionId::try_from(123_u64)?).await?;
/// println!("{}", provision.status);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    session: Session,
    provisions: Provisions,
    oauth: Oauth,
    notifications: Notifications,
    users: Users,
    api: Api,
}

impl Client {
    pub(crate) fn new(
        environment: Environment,
        transport: Arc<Transport>,
        session: Session,
        provisions: ProvisionsConfig,
        turns: Turns,
        records: Option<Records>,
        user_installation: UserInstallation,
    ) -> Self {
        let api = Api::new(Arc::clone(&transport), Arc::new(session.clone()));
        let feed = Feed::new(api.clone(), provisions.nudge_share);
        let oauth = Oauth::new(api.clone(), provisions.of_verbs());
        let notifications = Notifications::new(api.clone(), provisions.of_verbs(), environment, Default::default());
        let provisions = Provisions::new(api.clone(), feed, provisions);
        let Device { description, permitted_ips, signing_keys, .. } = session.device();
        let (description, permitted_ips) = (description.clone(), permitted_ips.clone());
        let (partner, signing_keys) = (session.clone(), signing_keys.clone());
        let device = UserDevice { partner, installation: user_installation, description, permitted_ips, signing_keys };
        let users = Users::new(environment, api.clone(), provisions.clone(), turns, device, records);
        Self { transport, session, provisions, oauth, notifications, users, api }
    }

    /// Starts to build a client for `environment`.
    pub fn builder(environment: Environment) -> ClientBuilder {
        ClientBuilder::new(environment)
    }

    /// Starts to build a client from environment variables of the process: the API key from `BUNQ_API_KEY`, the
    /// environment from `BUNQ_ENV`, which is `sandbox` (the default) or `production`, and the [base
    /// URL](ClientBuilder::base_url) of a sandbox from `BUNQ_BASE_URL`, if it is set. An empty variable is not set.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if `BUNQ_API_KEY` is not set, a variable is not text, `BUNQ_ENV` is something else,
    /// or `BUNQ_BASE_URL` is set in production: a variable does not decide where a production key is sent.
    pub fn builder_from_env() -> Result<ClientBuilder, Error> {
        ClientBuilder::from_env(|name| environment_variable(name).map(OsString::into_string))
    }

    /// Returns the base URL of all calls, without a slash at its end.
    pub fn base_url(&self) -> &str {
        self.transport.base_url()
    }

    /// Makes an HTTP client that reaches the base URL as this client does, for requests that this crate does not make: see
    /// [`HttpConfig::reqwest_client`](crate::HttpConfig::reqwest_client). It has connections of its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if it cannot be made any more, although this client could.
    #[cfg(feature = "reqwest-builder")]
    pub fn reqwest_client(&self) -> Result<reqwest::Client, Error> {
        self.transport.new_http()
    }

    /// Returns a fingerprint of the API key, which identifies the key and reveals nothing of it. Journals and stored
    /// contexts contain it too: use it to tell which key your own records belong to.
    pub fn api_key_fingerprint(&self) -> &str {
        self.transport.api_key_fingerprint()
    }

    /// Returns the operations on provisions that take more than one call: create, find, close, reset, wait and list.
    pub fn provisions(&self) -> Provisions {
        self.provisions.clone()
    }

    /// Returns the operations on the partner's OAuth client and its callback URL: find them, and create what lacks. bunq provisions no
    /// user without both.
    pub fn oauth(&self) -> Oauth {
        self.oauth.clone()
    }

    /// Returns the notification filters of the partner: bunq calls their URLs when a provision changes. What happens to a user otherwise is
    /// told by the filters of [that user](crate::UserClient::notifications).
    pub fn notifications(&self) -> Notifications {
        self.notifications.clone()
    }

    /// Returns the users of the partner: their credentials are activated and kept, and there is a client for each. All clones of this
    /// client have the same users, whose sessions are opened in one order.
    pub fn users(&self) -> Users {
        self.users.clone()
    }

    /// Begins to hand on what bunq's calls to a receiver say has changed, as it is read over the verified API.
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client) -> Result<(), bunq_partner::Error> {
    /// use bunq_partner::Environment;
    /// use bunq_partner::webhook::{ChangedObject, FileHintJournal, HintJournalBounds, Receiver};
    /// use futures_util::StreamExt as _;
    ///
    /// let journal = FileHintJournal::open("/var/lib/acme/hints", HintJournalBounds::default()).await?;
    /// // The receiver is a service of `tower`: give a clone of it to your server.
    /// let receiver = Receiver::builder(Environment::Sandbox, "a-secret-segment-of-the-path").build(journal)?;
    /// let mut changes = client.changes(&receiver).start()?;
    /// while let Some(change) = changes.next().await {
    ///     match change.object() {
    ///         ChangedObject::Provision(provision) => println!("{}: {}", provision.id, provision.status),
    ///         other => println!("{other:?}"),
    ///     }
    ///     change.done().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// - **At least once.** A change stays in the journal until it is [`done`](crate::webhook::Change::done), also over a crash, for as long
    ///   as the journal keeps an entry: an hour, unless its bounds say otherwise. Dropped before, it is handed on again.
    /// - **In order.** States of one object come one after the other, and never an older one after a newer one, by the `updated` that was
    ///   read; an equal one comes only if its content differs. What lies between two reads may be skipped. Over a crash, this holds for what the
    ///   journal keeps. States of different objects come in the order of arrival, as far as reads go; one that is never done holds up its
    ///   own object alone.
    /// - **Confirmed.** bunq does not sign its calls, so nothing of a call is believed. It costs one read at the most, and calls about one object
    ///   cost one read a second at the most. All reads together take [a share](crate::ClientBuilder::nudge_share) of the rate limit, so
    ///   that whoever knows the path of the receiver cannot take more. What bunq does not show to this client is counted, not handed on. Forged
    ///   and real calls are told apart by nothing else: a flood of forged ones delays the real ones.
    /// - **Users.** A call about a user who is not in [custody](crate::ClientBuilder::custody) is counted. If no session of the user is
    ///   open, it is handed on [unconfirmed](crate::webhook::ChangedObject::Unconfirmed), unless one is opened before it is taken.
    /// - **Lost calls.** At the start and every five minutes it [looks](crate::webhook::ChangesBuilder::look_interval) by itself for deliveries
    ///   that have failed, and for what is under way. Changes that begin and end between two looks, and whose calls bunq neither makes nor
    ///   lists as failed, are not found.
    /// - **Waiting.** While there are changes, the waiters of this client hear of what is read, and poll once a minute only, as a
    ///   [safety net](crate::webhook::ChangesBuilder::net_interval). Those for an onboarding or an inquiry do so once a call has told a
    ///   change of one of the same user's: until then, the user may have no filter.
    ///
    /// Up to 1,000 changes wait to be taken. When there are so many, nothing more is read: take them, and work on them in tasks of your own
    /// if that takes long. [The guide](crate::guide::webhooks) has the server around the receiver, and what to look at in operation.
    #[cfg(feature = "webhook")]
    pub fn changes<J: HintJournal>(&self, receiver: &Receiver<J>) -> ChangesBuilder {
        let bank = Bank {
            provisions: self.provisions(),
            users: self.users(),
            notifications: self.notifications(),
            gate: self.transport.gate().clone(),
            api_key: self.session.device().api_key.clone(),
        };
        ChangesBuilder::new(bank, receiver)
    }

    /// Returns the typed methods of all operations of the OpenAPI document.
    pub fn api(&self) -> Api {
        self.api.clone()
    }

    /// Opens a session now if none is open. Without it, the first call opens one.
    ///
    /// Call it at the start of a program to learn at once whether bunq accepts the API key. A stored session that has not expired is used without asking bunq.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn open_session(&self) -> Result<(), Error> {
        self.session.open().await
    }

    /// Makes a new installation, with its own keys, and opens a session with it. They replace those in memory or in the
    /// [context store](ClientBuilder::context_store).
    ///
    /// Call it when bunq has forgotten the installation, as after bunq has emptied its sandbox, or when bunq's
    /// signatures are not valid any more because the stored key is damaged or out of date. A client without a store
    /// does it by itself when bunq refuses the installation. It never does it because of an invalid signature: it would
    /// then trust whoever made that signature.
    ///
    /// One call is enough for all clients that share a store. Before one of their calls fails because a signature is
    /// not valid, or because a refused session cannot be renewed, the client reads the store once, and uses the stored
    /// context if it is of another installation. Concurrent calls of `reinstall` share one new installation, also
    /// across processes: a call takes over what another has stored meanwhile, if bunq accepts it.
    ///
    /// # Errors
    ///
    /// [`Context`](crate::ErrorKind::Context) if the stored context belongs to another client or cannot be read. It is not
    /// replaced then: remove it.
    pub async fn reinstall(&self) -> Result<(), Error> {
        self.session.reinstall().await
    }

    /// Returns the user that the session acts for. Most of bunq's paths begin with the id of that user. Opens a session if
    /// none is open.
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client) -> Result<(), bunq_partner::Error> {
    /// let user = client.user().await?;
    /// println!("/user/{}/… is a {:?}", user.id, user.kind);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidResponse`](crate::ErrorKind::InvalidResponse) if bunq did not name the user when the session was opened, nor when it was
    /// opened again for that.
    pub async fn user(&self) -> Result<SessionUser, Error> {
        self.session.user().await
    }

    /// Returns how long a call of `operation` would wait for its permit within bunq's rate limit if it began now. It
    /// sends nothing, and does not know of calls that others make from the same address. If other clients share the limit through a
    /// [`PermitStore`](crate::PermitStore), it knows what the store has told the first call that waits, and not how many calls of
    /// other clients wait.
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client) {
    /// use std::time::Duration;
    /// use bunq_partner::Operation;
    ///
    /// if client.expected_wait(&Operation::UPDATE_PROVISION) > Duration::from_secs(30) {
    ///     println!("others are closing: try again later");
    /// }
    /// # }
    /// ```
    pub fn expected_wait(&self, operation: &Operation) -> Duration {
        self.transport.expected_wait(operation)
    }

    /// Yields the failures of attempts, from now on: each failure that [may pass](Error::is_retryable), also if the
    /// call goes on with another attempt. Of failures that come between two polls, it yields the last.
    ///
    /// While a [`Bulk`](crate::Bulk) operation or a [`Waiter`](crate::Waiter) goes on through an outage, this tells
    /// what it waits for: a name, a port, a certificate, or bunq.
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client) {
    /// use futures_util::StreamExt as _;
    ///
    /// let failures = client.failures();
    /// tokio::spawn(failures.for_each(async |failure| eprintln!("it is tried again: {failure}")));
    /// # }
    /// ```
    pub fn failures(&self) -> impl Stream<Item = Error> + Send + use<> {
        unfold(self.transport.health().failures(), async |mut failure| {
            failure.changed().await.ok()?;
            let error = failure.borrow_and_update().clone()?;
            Some((error, failure))
        })
    }

    /// Returns what the client knows from earlier calls, in memory or in the [context
    /// store](ClientBuilder::context_store), without asking bunq; `None` if it knows nothing.
    ///
    /// # Errors
    ///
    /// [`Context`](crate::ErrorKind::Context) if the stored context cannot be read or belongs to another client.
    pub async fn context(&self) -> Result<Option<ContextSummary>, Error> {
        self.session.context().await
    }

    /// Ends the session at bunq, if there is one, including one that a [context store](ClientBuilder::context_store)
    /// has from an earlier run. The next call opens a new one.
    ///
    /// Call it when the work is done and the context is not stored: otherwise the session and its token live on for a
    /// week.
    ///
    /// # Errors
    ///
    /// If it fails, the session stays in use. If bunq refuses the session, and refuses it again when the client checks
    /// it, the session has already ended, and this succeeds.
    pub async fn end_session(&self) -> Result<(), Error> {
        self.session.end().await
    }

    /// Returns the request with which [`end_session`](Self::end_session) would end the session, and sends nothing.
    ///
    /// # Errors
    ///
    /// As [`Api::preview`].
    pub fn preview_end_session(&self) -> Result<RequestPreview, Error> {
        self.api().preview_of(delete_session)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url()).finish_non_exhaustive()
    }
}
