//! The settings of a client, and the checks that they pass before anything is sent.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use crate::api_key;
use crate::client::Client;
use crate::custody::{Custody, Records};
use crate::environment::{Environment, PLAIN_HTTP, check_base_url, is_loopback, plain_http_host};
use crate::error::Error;
use crate::operation::{Operation, RateLimit};
use crate::provisions::ProvisionsConfig;
use crate::retry::RetryPolicy;
use crate::sealing::{ApiKeySealer, KeySealer, Rekey, Rekeyed, SealedCustody, SealedStore, Sealing};
use crate::session::context::{ContextStore, Identity};
use crate::session::handshake::{Device, SigningKeys};
use crate::session::turns::Turns;
use crate::session::{Owner, Session, UserInstallation};
use crate::text::duration;
use crate::transport::Transport;
use crate::transport::call_budget::MAX_TIMEOUT;
use crate::transport::config::TransportConfig;
use crate::transport::http_config::HttpConfig;
use crate::transport::observer::ExchangeObserver;
use crate::transport::rate_limit::store::PermitStore;
use crate::transport::rate_limit::{LimitScope, RateLimits, Role};
use crate::transport::shutdown::Shutdown;
use crate::transport::signature::{SignatureError, SigningKey};
use crate::types::{DeviceDescription, PermittedIps, Secret};

/// The environment variables that bunq's partners already use.
const API_KEY_VARIABLE: &str = "BUNQ_API_KEY";
const ENVIRONMENT_VARIABLE: &str = "BUNQ_ENV";
const BASE_URL_VARIABLE: &str = "BUNQ_BASE_URL";

/// The rate limits that a client keeps to.
#[derive(Debug, Clone)]
struct Limits {
    /// Whether the document's limits apply to operations that are not in `set`.
    documented: bool,
    set: HashMap<&'static str, RateLimit>,
    scope: LimitScope,
    /// `None`: no other client shares the limits.
    permits: Option<Arc<dyn PermitStore>>,
}

/// A bank, and the key for it, both checked.
struct CheckedBank {
    api_key: Secret,
    url: Url,
    /// The host that plain HTTP is allowed to.
    plain_http: Option<String>,
}

/// Builds a [`Client`]. Settings that contradict each other are refused before anything is sent.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    environment: Environment,
    api_key: Option<Secret>,
    base_url: Option<String>,
    device_description: String,
    permitted_ips: PermittedIps,
    signing_keys: SigningKeys,
    /// `None` keeps the context in memory.
    store: Option<Arc<dyn ContextStore>>,
    custody: Option<Arc<dyn Custody>>,
    /// `None` seals with the API key.
    key_sealer: Option<Arc<dyn KeySealer>>,
    user_installation: UserInstallation,
    config: TransportConfig,
    observer: Option<Arc<dyn ExchangeObserver>>,
    provisions: ProvisionsConfig,
    limits: Limits,
}

impl ClientBuilder {
    pub(crate) fn new(environment: Environment) -> Self {
        Self {
            environment,
            api_key: None,
            base_url: None,
            device_description: env!("CARGO_PKG_NAME").to_string(),
            permitted_ips: PermittedIps::default(),
            signing_keys: SigningKeys::default(),
            store: None,
            custody: None,
            key_sealer: None,
            user_installation: UserInstallation::default(),
            config: TransportConfig::default(),
            observer: None,
            provisions: ProvisionsConfig::default(),
            limits: Limits { documented: true, set: HashMap::new(), scope: LimitScope::default(), permits: None },
        }
    }

    /// Takes the settings from environment variables. `variable` reads one.
    pub(crate) fn from_env(variable: impl Fn(&str) -> Option<Result<String, OsString>>) -> Result<Self, Error> {
        let text = |name: &str| {
            variable(name).transpose().map_err(|_| Error::invalid_input(name, "the environment variable is not text"))
        };
        let environment = match text(ENVIRONMENT_VARIABLE)? {
            Some(environment) => environment.parse()?,
            None => Environment::Sandbox,
        };
        let api_key = text(API_KEY_VARIABLE)?
            .ok_or_else(|| Error::invalid_input(API_KEY_VARIABLE, "set the environment variable to your API key"))?;
        let base_url = text(BASE_URL_VARIABLE)?;
        if base_url.is_some() && environment == Environment::Production {
            return Err(Error::invalid_input(
                BASE_URL_VARIABLE,
                "a variable does not decide where a production key is sent: unset it, or give the base URL to the builder",
            ));
        }
        // A trailing line end is not part of the key.
        Ok(Self { base_url, ..Self::new(environment).api_key(api_key.trim()) })
    }

    /// Sets the API key.
    pub fn api_key(mut self, api_key: impl Into<Secret>) -> Self {
        self.api_key = Some(api_key.into());
        self
    }

    /// Sets the base URL, if it differs from the environment's: for a gateway of your own, or for a sandbox on
    /// loopback. Include the `/v1` at its end, as in bunq's own URLs.
    ///
    /// It must be HTTPS, except on loopback and to a host that [`allow_plain_http`](Self::allow_plain_http) names.
    pub fn base_url(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = Some(base_url.into());
        self
    }

    /// Allows a [base URL](Self::base_url) of plain HTTP on this host: for a sandbox in another container or on another machine of
    /// a network that you trust. Whoever is on the way can read and change everything, the API key included.
    ///
    /// `host` is a name or an IP address, without a port, and means exactly this host: names below it are others. It is compared as
    /// URLs compare hosts, so `SANDBOX` is `sandbox`. Another host in the base URL is an error. Connections use no proxy,
    /// neither the one that is set nor the environment's, and `build` reports the host as a warning of `tracing`. For a base URL of
    /// HTTPS or on loopback nothing changes.
    ///
    /// It is refused for production, for a key that does not begin with `sandbox_`, and for `bunq.com` and
    /// every name below it. No environment variable sets it.
    ///
    /// ```
    /// use bunq_partner::{Client, Environment};
    ///
    /// let client = Client::builder(Environment::Sandbox).api_key("sandbox_ci").base_url("http://sandbox:8080/v1");
    /// let client = client.allow_plain_http("sandbox").build()?;
    /// # Ok::<(), bunq_partner::Error>(())
    /// ```
    pub fn allow_plain_http(mut self, host: impl Into<String>) -> Self {
        self.config.plain_http = Some(host.into());
        self
    }

    /// Sets the name under which the device is registered with bunq. The default is `bunq-partner`.
    ///
    /// A device that an earlier run has registered and [stored](Self::context_store) keeps its name.
    pub fn device_description(mut self, description: impl Into<String>) -> Self {
        self.device_description = description.into();
        self
    }

    /// Sets the addresses from which bunq accepts the API key. The default is the address that the device is registered
    /// from.
    ///
    /// A device that an earlier run has registered and [stored](Self::context_store) keeps its addresses: to change
    /// them, remove the stored context.
    pub fn permitted_ips(mut self, permitted_ips: PermittedIps) -> Self {
        self.permitted_ips = permitted_ips;
        self
    }

    /// Sets what makes the key of each installation, which signs its requests. The default is
    /// [`SigningKey::generate`]. It runs on a thread that may block. If it fails, so does the call
    /// ([`ErrorKind::Internal`](crate::ErrorKind::Internal)).
    ///
    /// It is for keys that are made elsewhere, and for tests, in which a key takes longer than everything else. Each
    /// installation should have a key of its own: [`reinstall`](Client::reinstall) asks for another.
    pub fn signing_keys(
        mut self,
        make: impl Fn() -> Result<SigningKey, SignatureError> + Send + Sync + 'static,
    ) -> Self {
        self.signing_keys = SigningKeys(Arc::new(make));
        self
    }

    /// Sets where keys and tokens are stored between runs, usually a [`FileStore`](crate::FileStore). A restart within
    /// the life of the session then makes no authentication call, and processes that share the file share the session.
    ///
    /// By default, keys and tokens stay in memory and are lost with the client.
    pub fn context_store(mut self, store: impl ContextStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Sets where the credentials of users are kept, for [`Client::users`]: a [`FileCustody`](crate::FileCustody), or one of your own. The
    /// default is none, with which the client cannot act for users.
    pub fn custody(mut self, custody: impl Custody) -> Self {
        self.custody = Some(Arc::new(custody));
        self
    }

    /// Sets what seals the keys under which all is sealed that is kept in the [context store](Self::context_store) and in
    /// [custody](Self::custody): a key in a vault, for example. The default is an [`ApiKeySealer`] of the API key.
    ///
    /// When it changes, or the API key while that is the default, what was kept is refused until it is [sealed anew](Self::rekey). Texts of
    /// earlier versions, which are readable, are used as they are, and sealed when they are written next.
    pub fn key_sealer(mut self, sealer: impl KeySealer) -> Self {
        self.key_sealer = Some(Arc::new(sealer));
        self
    }

    /// Sets whose installation the sessions of [users](Client::users) belong to: [the user's own](UserInstallation::Own), the default,
    /// or [the partner's](UserInstallation::Partner). bunq's documents do not settle which of them it takes; `bunq-partner probe
    /// --create` asks it. A bank that takes the other kind refuses the user's first session, and the error names this setting.
    ///
    /// What users cost, with bunq's limits:
    ///
    /// |                                | `Own`                           | `Partner`         |
    /// |--------------------------------|---------------------------------|-------------------|
    /// | calls for the first session    | 3: installation, device, session | 1: session       |
    /// | calls for each later session   | 1                               | 1                 |
    /// | CPU time of the key            | 105 ms                          | none              |
    /// | memory of an open user         | 10 KiB                          | 2 KiB             |
    /// | 10,000 users: calls            | 30,000                          | 10,000            |
    /// | 10,000 users: CPU time of keys | 17.5 minutes                    | none              |
    /// | 10,000 users: time             | 3.5 days                        | 3.5 days          |
    ///
    /// The time is that of the sessions, of which one can be opened in 30 seconds; 10,000 installations take 1 h 40 min within
    /// their limit, beside it. Keys are made on threads that may block, so calls do not wait for them.
    ///
    /// With `Partner`, the key of the partner is not copied into [custody](Self::custody): set a [context store](Self::context_store)
    /// too, or a restart makes another installation, and each user needs another session. After a [`reinstall`](Client::reinstall) the
    /// next session of each user is opened under the new installation.
    ///
    /// Users that are in use stay so when the setting changes: an open session goes on until it ends. The next is tried in the new way
    /// and, because bunq may have bound the token to the installation that it was used with, opened in the old way if bunq refuses
    /// that. Such a user costs one refused call more for each session, until its token is [reset](crate::Users::reset).
    pub fn user_installation(mut self, installation: UserInstallation) -> Self {
        self.user_installation = installation;
        self
    }

    /// Sets how the client reaches bunq: proxy, certificates, addresses, and the headers that you can choose.
    pub fn http(mut self, http: HttpConfig) -> Self {
        self.config.http = http;
        self
    }

    /// Sets the longest time that connecting may take. The default is 10 seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// Sets the longest time that one attempt may take, from the request to the end of the response. The default is 30
    /// seconds.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.config.attempt_timeout = timeout;
        self
    }

    /// Sets the longest time that a whole call may take: opening its session, waiting for a permit within the rate
    /// limit, all attempts and the pauses between them. The default is 2 minutes.
    ///
    /// A call that would have to wait longer than this fails at once. No attempt begins in the last second (or the last
    /// tenth, if that is less), because it would be cut short and leave the outcome in doubt. If the client has to
    /// check the outcome of a request and less time is left than an attempt takes, the check may exceed this time by
    /// the time of one attempt. Each of the calls that open a session has this time for itself. If the time ends while
    /// a session is being opened, the error is the last failure of the opening, if there was one. A
    /// [`Waiter`](crate::Waiter) has a timeout of its own.
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.config.operation_timeout = timeout;
        self
    }

    /// Sets the size of the largest response that the client reads, in bytes. The default is 4 MiB; a full page of
    /// provisions has less than 1 MiB. A call takes at most eight times this much memory, whatever the response
    /// contains.
    pub fn max_response_size(mut self, bytes: usize) -> Self {
        self.config.max_response_size = bytes;
        self
    }

    /// Sets the size of the largest file that the client sends, in bytes. The default is 16 MiB: bunq documents no bound. A larger
    /// file is refused before anything is sent. Bodies in JSON have no such bound. [`build`](Self::build) refuses zero.
    ///
    /// A file has to arrive within the time of one attempt: with a slow connection, set a longer
    /// [`attempt_timeout`](Self::attempt_timeout).
    pub fn max_upload_size(mut self, bytes: usize) -> Self {
        self.config.max_upload_size = bytes;
        self
    }

    /// Sets the size of the largest file that the client receives, in bytes: of a response that is bytes, such as that of
    /// [`get_attachment_content`](crate::Api::get_attachment_content). The default is 16 MiB. For all other responses there is
    /// [`max_response_size`](Self::max_response_size).
    pub fn max_download_size(mut self, bytes: usize) -> Self {
        self.config.max_download_size = bytes;
        self
    }

    /// Sets how much an [`Error`] keeps of what bunq adds to a refusal, in bytes. The default is 256 KiB. Of a longer text
    /// nothing is kept, and [`Error::details`] says so.
    pub fn max_refusal_details(mut self, bytes: usize) -> Self {
        self.config.max_refusal_details = bytes;
        self
    }

    /// Sets how often, and after which pauses, the client attempts a failed call again.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.config.retry = policy;
        self
    }

    /// Sets the longest pause between two polls of a [`Waiter`](crate::Waiter). The default is 2 seconds. A waiter can
    /// have [one of its own](crate::Waiter::poll_interval).
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.provisions.poll_interval = interval;
        self
    }

    /// Sets the share of bunq's rate limit of reads that all [nudges](crate::Feed::nudge), and the reads that bunq's calls cause, take
    /// together at most, whether they are about the partner's provisions or about its users: over 0, and 1 at most. The default is 0.5, which is a page or a read every 2 seconds.
    pub fn nudge_share(mut self, share: f64) -> Self {
        self.provisions.nudge_share = share;
        self
    }

    /// Sets how long a request to create a provision may still take to arrive at bunq after it has failed in doubt. The
    /// default is 10 seconds.
    ///
    /// For that time [`create`](crate::Provisions::create) searches for the provision before it sends the request
    /// again. A request that arrives later makes a second user. The waiter finds that user if it exists by the time
    /// that the first one is ready.
    ///
    /// [`Oauth::ensure`](crate::Oauth::ensure) reads for that time too, after such a request and until bunq shows what it has created.
    pub fn late_arrival(mut self, time: Duration) -> Self {
        self.provisions.late_arrival = time.min(MAX_TIMEOUT);
        self
    }

    /// Sets the rate limit of an operation, in place of the document's: at most `calls` within any period of the length
    /// `per`.
    ///
    /// bunq counts a call at some time between its sending and the response. So a call counts until `per` has passed since its
    /// response, and of the limit a client uses `per / (per + exchange)` at most, by how long an exchange takes. With periods of 3
    /// seconds, as most of bunq's limits have:
    ///
    /// | an exchange | of the limit |
    /// |------------:|-------------:|
    /// |        1 ms |       99.9 % |
    /// |       10 ms |       99.6 % |
    /// |       30 ms |       99.0 % |
    /// |      100 ms |       96.8 % |
    ///
    /// A program near the bank has all of it.
    pub fn rate_limit(mut self, operation: &Operation, calls: u32, per: Duration) -> Self {
        self.limits.set.insert(operation.id, RateLimit { calls, per });
        self
    }

    /// Removes all rate limits, including those that were set before. Limits that are [set](Self::rate_limit)
    /// afterwards apply. Use it for a server without limits, such as a sandbox on loopback.
    pub fn without_rate_limits(mut self) -> Self {
        self.limits.documented = false;
        self.limits.set.clear();
        self
    }

    /// Sets by what bunq counts calls: by [address](LimitScope::Address), the default, or by [session](LimitScope::Session).
    ///
    /// By address the calls of a partner and all its users share the limits, and take turns: a user with a thousand calls delays the
    /// call of another user by one. By session each user has limits of its own for the calls that take a session. Calls that open
    /// sessions share the limits either way, and those of the partner's own session go first. [`rate_limit`](Self::rate_limit),
    /// [`without_rate_limits`](Self::without_rate_limits) and [`permits`](Self::permits) mean users too.
    pub fn limits_are_per(mut self, scope: LimitScope) -> Self {
        self.limits.scope = scope;
        self
    }

    /// Sets where permits within the rate limits come from, for limits that other clients share: a [`MemoryPermits`](crate::MemoryPermits)
    /// for those of one process, or a [`PermitStore`] of your own for those of many machines. By default only the client's clones
    /// and its users' clients share its limits.
    ///
    /// An operation [without a limit](Self::without_rate_limits) takes no permit.
    pub fn permits(mut self, store: impl PermitStore) -> Self {
        self.limits.permits = Some(Arc::new(store));
        self
    }

    /// Sets the handle by which the client is shut down. After [`Shutdown::begin`] no request of it begins, those of its session, its
    /// waiters, its bulk operations and its users' clients included. A call that waits for its turn, the session or another attempt
    /// fails at once with [`ShutDown`](crate::ErrorKind::ShutDown), and a waiter, or a verb that finds out what became of its
    /// request, with its next read. Requests that are on the wire go on.
    pub fn shutdown(mut self, shutdown: &Shutdown) -> Self {
        self.config.shutdown = shutdown.clone();
        self
    }

    /// Sets an observer, which sees each verified exchange: for example a [`ReceiptFile`](crate::ReceiptFile). The
    /// default is none. [`Exchange::for_user`](crate::Exchange::for_user) says for which user a call was made.
    pub fn observer(mut self, observer: impl ExchangeObserver) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Builds the client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the API key is missing, empty, surrounded by
    /// white space or of the other environment, if the base URL is invalid, or neither HTTPS nor loopback nor
    /// [allowed](Self::allow_plain_http), if plain HTTP may not be allowed to the host, if the device description or the
    /// list of permitted addresses is empty, if a timeout, a size or a rate limit is zero, if the share of nudges is not
    /// over 0 and at most 1, if an environment variable of a proxy or of certificates cannot be used, or if the
    /// [`HttpConfig`] contains something that cannot be used;
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if TLS cannot be set up on this machine.
    pub fn build(self) -> Result<Client, Error> {
        let CheckedBank { api_key, url, plain_http } = self.bank()?;
        if let Some(host) = plain_http.filter(|_| url.scheme() == "http" && !is_loopback(&url)) {
            tracing::warn!(host, "calls are sent by plain HTTP: whoever is on the way can read and change them");
        }
        if self.permitted_ips == PermittedIps::Only(Vec::new()) {
            return Err(Error::invalid_input(
                "permitted_ips",
                "the list is empty, so that no address could use the key",
            ));
        }
        let config = self.config.checked()?;
        let share = self.provisions.nudge_share;
        if !(share > 0.0 && share <= 1.0) {
            return Err(Error::invalid_input(
                "nudge_share",
                format_args!("{share} is not greater than 0 and at most 1"),
            ));
        }
        let Limits { documented, set, scope, permits } = self.limits;
        check_rate_limits(&set)?;
        let limits = Arc::new(RateLimits::new(documented, set, scope, permits));
        let base_url = url.as_str().trim_end_matches('/');
        let identity = Identity::new(self.environment, base_url, &api_key);
        let sealing = sealing(self.key_sealer, &api_key, &identity)?;
        let api_key_fingerprint = identity.api_key_fingerprint().into();
        let caller = limits.caller(base_url.into(), api_key_fingerprint, Role::Partner);
        let transport = Arc::new(Transport::new(&url, limits, caller, config, self.observer)?);
        let description = DeviceDescription::try_from(self.device_description)
            .map_err(|error| Error::invalid_input("device_description", error.rule()))?;
        let Self { user_installation, permitted_ips, signing_keys, .. } = self;
        let device = Device { api_key, user_installation: None, description, permitted_ips, signing_keys };
        let turns =
            Turns::new(Arc::clone(transport.limits()), transport.caller(), transport.config().operation_timeout);
        let records = self.custody.map(|custody| {
            let custody = Arc::new(SealedCustody::new(custody, sealing.clone()));
            Records::new(custody, identity.clone(), transport.config().operation_timeout)
        });
        let store = self.store.map(|store| -> Arc<dyn ContextStore> { Arc::new(SealedStore::new(store, sealing)) });
        let owner = Owner::Partner(turns.clone());
        let session = Session::new(Arc::clone(&transport), device, identity, store, owner, None);
        Ok(Client::new(self.environment, transport, session, self.provisions, turns, records, user_installation))
    }

    /// Seals anew, for this API key and this [key sealer](Self::key_sealer), what is in the [context store](Self::context_store) and in
    /// [custody](Self::custody) and was sealed by `old`; also what an earlier version has kept readable, for this API key or that of an
    /// `old` [`ApiKeySealer`]. Nothing is sent.
    ///
    /// Do it when the API key or the key sealer changes, with the new one in this builder: without it the tokens of users, which bunq
    /// shows once, cannot be opened any more. Each text is replaced at once, under its lock, so it may end at any point: call it again,
    /// and it goes on. What neither key opens is left as it is, and named.
    ///
    /// Of the partner's own context, a new API key keeps the installation; the client registers its device and opens a session for
    /// it. Clients with the old key that are still running get errors. Stop them before: a user that one of them takes into custody
    /// meanwhile is sealed with the old key.
    ///
    /// ```no_run
    /// use bunq_partner::{ApiKeySealer, Client, Environment, FileCustody, FileStore, Secret};
    ///
    /// # async fn run(old: Secret, new: Secret) -> Result<(), bunq_partner::Error> {
    /// let client = Client::builder(Environment::Production).api_key(new).context_store(FileStore::new("bunq.json"));
    /// let client = client.custody(FileCustody::new("users"));
    /// let rekeyed = client.clone().rekey(ApiKeySealer::new(old)).await?;
    /// for refused in &rekeyed.refused {
    ///     eprintln!("{refused}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) as for [`build`](Self::build), and if there is neither a context store
    /// nor a custody; [`ErrorKind::Context`](crate::ErrorKind::Context) if one of them cannot be used, or a key cannot be asked. What was
    /// sealed anew until then stays so.
    pub async fn rekey(self, old: impl KeySealer) -> Result<Rekeyed, Error> {
        let CheckedBank { api_key, url, .. } = self.bank()?;
        if self.store.is_none() && self.custody.is_none() {
            return Err(Error::invalid_input(
                "custody",
                "there is nothing to seal anew: name a custody, or a context store",
            ));
        }
        let patience = self.config.checked()?.operation_timeout;
        let identity = Identity::new(self.environment, url.as_str().trim_end_matches('/'), &api_key);
        let new = sealing(self.key_sealer, &api_key, &identity)?;
        let old = Sealing::new(Arc::new(old), identity.clone())?;
        Rekey::new(old, new, identity, patience).run(self.store.as_deref(), self.custody.as_deref()).await
    }

    /// Checks whose client it is, and where it calls.
    fn bank(&self) -> Result<CheckedBank, Error> {
        let missing = || Error::invalid_input("api_key", "it is missing: give one to the builder");
        let api_key = self.api_key.clone().ok_or_else(missing)?;
        api_key::check(&api_key, self.environment)?;
        let plain_http = self.config.plain_http.as_deref();
        let plain_http = plain_http.map(|host| check_plain_http(host, self.environment, &api_key)).transpose()?;
        let url =
            check_base_url(self.base_url.as_deref().unwrap_or(self.environment.base_url()), plain_http.as_deref())?;
        Ok(CheckedBank { api_key, url, plain_http })
    }
}

/// Seals with the API key, unless another key is set.
fn sealing(sealer: Option<Arc<dyn KeySealer>>, api_key: &Secret, identity: &Identity) -> Result<Sealing, Error> {
    let sealer = sealer.unwrap_or_else(|| Arc::new(ApiKeySealer::new(api_key.clone())));
    Sealing::new(sealer, identity.clone())
}

/// Checks that plain HTTP may be allowed, and returns the host as it is in a URL.
fn check_plain_http(host: &str, environment: Environment, api_key: &Secret) -> Result<String, Error> {
    let host = plain_http_host(host)?;
    let problem = match environment {
        Environment::Production => "production is reached by HTTPS alone",
        Environment::Sandbox if !api_key::is_of_sandbox(api_key) => "it is for keys that begin with `sandbox_` alone",
        Environment::Sandbox => return Ok(host),
    };
    Err(Error::invalid_input(PLAIN_HTTP, problem))
}

fn check_rate_limits(set: &HashMap<&'static str, RateLimit>) -> Result<(), Error> {
    let is_impossible = |limit: &RateLimit| limit.calls == 0 || limit.per.is_zero() || limit.per > MAX_TIMEOUT;
    let Some((operation, RateLimit { calls, per })) = set.iter().find(|(_, limit)| is_impossible(limit)) else {
        return Ok(());
    };
    let rule = "cannot be kept: set at least one call within a period of up to a year";
    Err(Error::invalid_input(
        &format!("rate_limit of {operation}"),
        format_args!("{calls} calls per {} {rule}", duration(*per)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The base URL of a client that is built from these variables.
    fn from(variables: &[(&str, &str)]) -> Result<String, String> {
        let find =
            |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| Ok(value.to_string()));
        let client = ClientBuilder::from_env(find).and_then(ClientBuilder::build);
        client.map(|client| client.base_url().to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environments_variables_are_those_that_partners_use() {
        test_timeout::start();
        let (sandbox, production) = (Environment::Sandbox.base_url(), Environment::Production.base_url());
        for (variables, base_url) in [
            (vec![("BUNQ_API_KEY", "sandbox_1")], sandbox),
            (vec![("BUNQ_API_KEY", "sandbox_1"), ("BUNQ_ENV", "sandbox")], sandbox),
            (vec![("BUNQ_API_KEY", "1"), ("BUNQ_ENV", "production")], production),
            (vec![("BUNQ_API_KEY", "sandbox_1"), ("BUNQ_BASE_URL", "http://localhost:1/v1")], "http://localhost:1/v1"),
        ] {
            assert_eq!(from(&variables).as_deref(), Ok(base_url));
        }
    }

    #[test]
    fn a_wrong_variable_is_named() {
        test_timeout::start();
        let refusal = |variables: &[(&str, &str)]| from(variables).unwrap_err();
        assert_eq!(refusal(&[]), "BUNQ_API_KEY: set the environment variable to your API key");
        assert_eq!(
            refusal(&[("BUNQ_API_KEY", "1"), ("BUNQ_ENV", "Production")]),
            "environment: `Production` is neither `sandbox` nor `production`"
        );
        assert!(refusal(&[("BUNQ_API_KEY", "1")]).starts_with("api_key: it is a key of the production environment"));
        assert_eq!(
            refusal(&[("BUNQ_API_KEY", "1"), ("BUNQ_ENV", "production"), ("BUNQ_BASE_URL", "https://example.com/v1")]),
            "BUNQ_BASE_URL: a variable does not decide where a production key is sent: unset it, or give the base URL to the builder"
        );
        assert_eq!(
            refusal(&[("BUNQ_API_KEY", "sandbox_1"), ("BUNQ_BASE_URL", "http://example.com/v1")]),
            "base_url: `http://example.com/v1` is neither HTTPS nor on loopback"
        );
        let error = ClientBuilder::from_env(|_| Some(Err(OsString::new()))).unwrap_err();
        assert_eq!(error.to_string(), "BUNQ_ENV: the environment variable is not text");
    }

    #[test]
    fn a_slash_at_the_end_of_the_base_url_is_not_doubled() {
        test_timeout::start();
        let builder = ClientBuilder::new(Environment::Sandbox).api_key("sandbox_1");
        assert_eq!(builder.base_url("http://localhost:1/v1//").build().unwrap().base_url(), "http://localhost:1/v1");
    }
}
